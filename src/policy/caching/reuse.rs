use std::time::Duration;

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, request};

use super::CacheControl;

/// What a request asks of the cache before anything is known of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// A stored response may answer it.
    Stored,
    /// No stored response may answer it, but its answer may be stored.
    Refresh,
    /// The cache has no part in it.
    Bypass,
    /// It may change what is stored (RFC 9111, 4.4).
    Invalidate,
}

/// `content` says that the request has some: it is no part of the key, so an answer that may depend
/// on it is nobody else's (RFC 9110, 9.3.1, gives it no meaning, but handlers may read it).
pub(crate) fn lookup(request: &request::Parts, content: bool) -> Lookup {
    if !request.method.is_safe() {
        return Lookup::Invalidate;
    }
    let readable = request.method == Method::GET || request.method == Method::HEAD;
    let asked = CacheControl::of(&request.headers);
    if !readable || content || asked.no_store || request.headers.contains_key(RANGE) {
        Lookup::Bypass
    } else if asked.no_cache || asked.max_age == Some(Duration::ZERO) {
        Lookup::Refresh
    } else {
        Lookup::Stored
    }
}

/// Whether a response of this age is fresh, and as fresh as the request wants it (RFC 9111, 4.2 and
/// 5.2.1).
pub(crate) fn is_fresh_enough(request: &HeaderMap, age: Duration, lifetime: Duration) -> bool {
    let asked = CacheControl::of(request);
    let left = lifetime.saturating_sub(age);
    left > Duration::ZERO
        && asked.max_age.is_none_or(|max_age| age <= max_age)
        && asked.min_fresh.is_none_or(|min_fresh| left >= min_fresh)
}

/// Whether the client's copy is still the stored one (RFC 9110, 13.1.2 and 13.1.3).
pub(crate) fn is_not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let etag = stored.get(ETAG).map(|etag| opaque_tag(etag.as_bytes()));
        return request.get_all(IF_NONE_MATCH).iter().any(|value| {
            // `*` asks whether there is anything at all.
            value.as_bytes().trim_ascii() == b"*"
                || entity_tags(value.as_bytes()).any(|tag| Some(tag) == etag)
        });
    }
    let date = |headers: &HeaderMap, name| {
        httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
    };
    match (date(request, IF_MODIFIED_SINCE), date(stored, LAST_MODIFIED)) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// The tags of a list, without their weakness: a conditional GET compares weakly.
fn entity_tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let open = list.iter().position(|&byte| byte == b'"')?;
        let length = list[open + 1..].iter().position(|&byte| byte == b'"')?;
        let tag = &list[open..open + length + 2];
        list = &list[open + length + 2..];
        Some(tag)
    })
}

fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn looked_up(method: &str, headers: &[(&str, &str)]) -> Lookup {
        let mut request = http::Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        lookup(&request.body(()).unwrap().into_parts().0, false)
    }

    #[test]
    fn a_request_says_what_it_wants_of_the_cache() {
        assert_eq!(looked_up("GET", &[]), Lookup::Stored);
        assert_eq!(looked_up("HEAD", &[]), Lookup::Stored);
        assert_eq!(looked_up("OPTIONS", &[]), Lookup::Bypass);
        assert_eq!(looked_up("GET", &[("range", "bytes=0-1")]), Lookup::Bypass);
        assert_eq!(looked_up("GET", &[("cache-control", "no-store")]), Lookup::Bypass);
        assert_eq!(looked_up("GET", &[("cache-control", "no-cache")]), Lookup::Refresh);
        assert_eq!(looked_up("GET", &[("cache-control", "max-age=0")]), Lookup::Refresh);
        assert_eq!(looked_up("GET", &[("pragma", "no-cache")]), Lookup::Refresh);
        let with_content = http::Request::get("/").body(()).unwrap().into_parts().0;
        assert_eq!(lookup(&with_content, true), Lookup::Bypass);
        assert_eq!(looked_up("POST", &[]), Lookup::Invalidate);
        assert_eq!(looked_up("PURGE", &[]), Lookup::Invalidate);
    }

    #[test]
    fn a_request_can_want_it_fresher() {
        let of = |asked, age, lifetime| {
            let headers = fields(&[("cache-control", asked)]);
            is_fresh_enough(&headers, Duration::from_secs(age), Duration::from_secs(lifetime))
        };
        assert!(of("x", 59, 60));
        assert!(!of("x", 60, 60));
        assert!(of("max-age=10", 10, 60));
        assert!(!of("max-age=10", 11, 60));
        assert!(!of("min-fresh=30", 31, 60));
    }

    #[test]
    fn a_matching_validator_means_not_modified() {
        let stored =
            fields(&[("etag", "W/\"a,b\""), ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")]);
        let asks = |name, value| is_not_modified(&fields(&[(name, value)]), &stored);
        assert!(asks("if-none-match", "\"x\", \"a,b\""));
        assert!(asks("if-none-match", "*"));
        assert!(!asks("if-none-match", "\"a\""));
        assert!(!asks("if-none-match", "\""));
        assert!(asks("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT"));
        assert!(!asks("if-modified-since", "Sun, 31 Dec 2023 00:00:00 GMT"));
        assert!(!asks("if-modified-since", "yesterday"));
    }

    #[test]
    fn a_star_matches_whatever_is_stored() {
        let asked = fields(&[("if-none-match", "*")]);
        assert!(is_not_modified(&asked, &HeaderMap::new()));
        assert!(!is_not_modified(&fields(&[("if-none-match", "\"x\"")]), &HeaderMap::new()));
    }

    #[test]
    fn if_none_match_overrules_if_modified_since() {
        let stored = fields(&[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")]);
        let asked = fields(&[
            ("if-none-match", "\"x\""),
            ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ]);
        assert!(!is_not_modified(&asked, &stored));
    }
}
