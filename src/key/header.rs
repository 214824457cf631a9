use std::collections::HashSet;
use std::fmt;

use http::request::Parts;
use http::{HeaderName, HeaderValue};

use super::{Key, KeyError, KeyExtractor, RequestMatcher};
use crate::store::keys::Fingerprint;

/// By the value of a header, such as an API key. A request without it, or with an empty one, has no
/// key.
///
/// The value is only used as a fingerprint: it is in no key and no log. If the header is there
/// several times, the first counts, which is what a handler gets by `headers.get(name)`.
///
/// ```
/// use http::Request;
/// use tower_redis_kit::rate_limit::{Header, Key, KeyExtractor};
///
/// let by_api_key = Header::new("x-api-key");
/// let request = Request::get("/").header("x-api-key", "one").header("x-api-key", "two");
/// let head = request.body(()).unwrap().into_parts().0;
/// assert_eq!(by_api_key.key(&head), Ok(Some(Key::named("one"))));
/// ```
///
/// # Security
/// A client that sends another value is another caller. Count by what is known to be an API key of
/// yours: put the limit inside of what checks it, or a limit [by address](super::ClientIp) around
/// it. An address that a proxy writes into a header of its own, such as `CF-Connecting-IP`, is
/// better read by a closure that gives an `IpAddr`: as a text, each address of a customer's network
/// would be a caller by itself.
#[derive(Clone, Debug)]
pub struct Header {
    name: HeaderName,
}

impl Header {
    /// By the header of this name.
    ///
    /// # Panics
    /// When `name` is not a header name in lower case.
    #[must_use]
    pub fn new(name: &'static str) -> Header {
        Header { name: HeaderName::from_static(name) }
    }

    /// Whether the value is one of these, for lists of callers that a limit lets pass or refuses.
    ///
    /// Values are compared by their fingerprints. An empty one is nobody's: neither in the request
    /// nor in a list that was left empty in the configuration.
    ///
    /// ```
    /// use http::Request;
    /// use tower_redis_kit::rate_limit::{Header, RequestMatcher};
    ///
    /// let partner = Header::new("x-api-key").is_one_of(["k1", "k2"]);
    /// let head = |key| Request::get("/").header("x-api-key", key).body(()).unwrap().into_parts().0;
    /// assert!(partner.matches(&head("k2")));
    /// assert!(!partner.matches(&head("k3")));
    /// ```
    #[must_use]
    pub fn is_one_of(self, values: impl IntoIterator<Item: AsRef<[u8]>>) -> HeaderIsOneOf {
        let values = values.into_iter();
        let values = values.filter_map(|value| fingerprint(value.as_ref())).collect();
        HeaderIsOneOf { header: self, values }
    }

    fn value<'a>(&self, head: &'a Parts) -> Option<&'a HeaderValue> {
        head.headers.get(&self.name)
    }
}

impl KeyExtractor for Header {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(self.value(head).filter(|value| !value.is_empty()).map(Key::named))
    }
}

/// What [`Header::is_one_of`] makes.
#[derive(Clone)]
pub struct HeaderIsOneOf {
    header: Header,
    values: HashSet<Fingerprint>,
}

impl RequestMatcher for HeaderIsOneOf {
    fn matches(&self, head: &Parts) -> bool {
        let value = self.header.value(head).and_then(|value| fingerprint(value.as_bytes()));
        value.is_some_and(|value| self.values.contains(&value))
    }
}

fn fingerprint(value: &[u8]) -> Option<Fingerprint> {
    (!value.is_empty()).then(|| Fingerprint::of(&[value]))
}

/// How many values, and none of them.
impl fmt::Debug for HeaderIsOneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderIsOneOf")
            .field("header", &self.header)
            .field("values", &self.values.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn matches(list: &[&str], sent: &[&str]) -> bool {
        let mut request = Request::get("/");
        for value in sent {
            request = request.header("x-api-key", *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        Header::new("x-api-key").is_one_of(list).matches(&head)
    }

    #[test]
    fn an_empty_value_is_nobodys() {
        assert!(!matches(&[""], &[""]));
        assert!(!matches(&["", "k"], &[]));
        assert!(matches(&["", "k"], &["k"]));
        let head = Request::get("/").header("x-api-key", "").body(()).unwrap().into_parts().0;
        assert_eq!(Header::new("x-api-key").key(&head), Ok(None));
    }

    #[test]
    fn only_the_first_of_several_counts() {
        assert!(matches(&["k"], &["k", "other"]));
        assert!(!matches(&["k"], &["other", "k"]));
    }

    #[test]
    fn debug_shows_no_value() {
        let list = Header::new("x-api-key").is_one_of(["secret"]);
        assert_eq!(
            format!("{list:?}"),
            r#"HeaderIsOneOf { header: Header { name: "x-api-key" }, values: 1 }"#
        );
    }
}
