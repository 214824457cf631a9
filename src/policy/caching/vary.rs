use http::header::VARY;
use http::{HeaderMap, HeaderName};

/// The request fields that a response was chosen by (RFC 9110, 12.5.5), and their values in the
/// request it was chosen for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vary {
    names: Vec<HeaderName>,
    values: [u8; 32],
}

impl Vary {
    /// `None` when the response was chosen by something that no later request can match: `*`, or a
    /// name that is no field name.
    pub(crate) fn of(response: &HeaderMap, request: &HeaderMap) -> Option<Vary> {
        let mut names = Vec::new();
        for value in response.get_all(VARY) {
            for name in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                if !name.is_empty() {
                    names.push(HeaderName::from_bytes(name).ok().filter(|name| name != "*")?);
                }
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let values = digest(&names, request);
        Some(Vary { names, values })
    }

    pub(crate) fn from_parts(names: Vec<HeaderName>, values: [u8; 32]) -> Vary {
        Vary { names, values }
    }

    pub(crate) fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// A digest of the values: what tells two variants of one response apart.
    pub(crate) fn values(&self) -> &[u8; 32] {
        &self.values
    }

    /// The same fields with the values that `request` has.
    pub(crate) fn in_request(&self, request: &HeaderMap) -> Vary {
        Vary { names: self.names.clone(), values: digest(&self.names, request) }
    }

    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.names.is_empty() || self.values == digest(&self.names, request)
    }
}

/// Distinct values have distinct digests: every part is preceded by its length, and the values of a
/// field by their number.
fn digest(names: &[HeaderName], request: &HeaderMap) -> [u8; 32] {
    let mut parts = Vec::new();
    for name in names {
        parts.push(request.get_all(name).iter().count().to_be_bytes().to_vec());
        parts.extend(request.get_all(name).iter().map(|value| value.as_bytes().to_vec()));
    }
    crate::policy::digest(parts.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_matches_when_the_named_fields_are_the_same() {
        let response = fields(&[("vary", "Accept-Encoding, accept")]);
        let vary = Vary::of(&response, &fields(&[("accept", "text/html")])).unwrap();
        assert!(vary.matches(&fields(&[("accept", "text/html"), ("x", "y")])));
        assert!(!vary.matches(&fields(&[("accept", "text/plain")])));
        assert!(!vary.matches(&fields(&[("accept", "text/html"), ("accept-encoding", "")])));
    }

    #[test]
    fn what_no_request_can_match_is_none() {
        for value in ["*", "accept, *", "no name"] {
            assert_eq!(Vary::of(&fields(&[("vary", value)]), &HeaderMap::new()), None, "{value}");
        }
    }
}
