use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// The directives of a `Cache-Control` field that a shared cache acts on (RFC 9111, 5.2).
///
/// Of a directive that comes twice with different values, or with a value that is no number of
/// seconds, the most restrictive reading counts (RFC 9111, 4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
}

impl CacheControl {
    /// Reads a request's or a response's field. A request without one is read by its `Pragma`
    /// (RFC 9111, 5.4).
    pub(crate) fn of(headers: &HeaderMap) -> CacheControl {
        let mut found = CacheControl::default();
        if !headers.contains_key(CACHE_CONTROL) {
            let pragma = headers.get_all(PRAGMA).iter().flat_map(|value| members(value.as_bytes()));
            for (name, _) in pragma {
                found.no_cache |= name.eq_ignore_ascii_case(b"no-cache");
            }
            return found;
        }
        for value in headers.get_all(CACHE_CONTROL) {
            for (name, argument) in members(value.as_bytes()) {
                found.read(name, argument);
            }
        }
        found
    }

    fn read(&mut self, name: &[u8], argument: Option<&[u8]>) {
        match name.to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            // `no-cache="field"` and `private="field"` restrict only those fields; taken as if
            // they restricted all.
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => shorten(&mut self.max_age, argument),
            b"s-maxage" => shorten(&mut self.s_maxage, argument),
            b"min-fresh" => {
                let seconds = argument.and_then(delta_seconds).unwrap_or(Duration::MAX);
                self.min_fresh = Some(self.min_fresh.map_or(seconds, |known| known.max(seconds)));
            }
            _ => {}
        }
    }
}

/// Keeps the shorter of two ages; an unreadable one is zero.
fn shorten(known: &mut Option<Duration>, argument: Option<&[u8]>) {
    let age = argument.and_then(delta_seconds).unwrap_or_default();
    *known = Some(known.map_or(age, |known| known.min(age)));
}

/// RFC 9111, 1.2.2: a number too large counts as 2^31.
pub(crate) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    const LARGEST: u64 = 1 << 31;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')).min(LARGEST)
    });
    Some(Duration::from_secs(seconds))
}

/// The members of a list field as `name` and `name=argument`; a comma inside a quoted argument does
/// not end it.
fn members(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.iter().position(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => return true,
                _ => {}
            }
            false
        });
        let (member, tail) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &[][..]),
        };
        rest = tail;
        let member = member.trim_ascii();
        Some(match member.iter().position(|&byte| byte == b'=') {
            Some(at) => {
                let argument = member[at + 1..].trim_ascii();
                let unquoted = argument.strip_prefix(b"\"").and_then(|a| a.strip_suffix(b"\""));
                (member[..at].trim_ascii(), Some(unquoted.unwrap_or(argument)))
            }
            None => (member, None),
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> CacheControl {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, value.parse().unwrap());
        CacheControl::of(&headers)
    }

    #[test]
    fn directives_are_read_in_any_case_and_spacing() {
        let found = read(" Public ,MAX-AGE=60, s-maxage = \"30\",, x=\"a, no-store\" ");
        assert!(found.public && !found.no_store);
        assert_eq!(found.max_age, Some(Duration::from_secs(60)));
        assert_eq!(found.s_maxage, Some(Duration::from_secs(30)));
    }

    #[test]
    fn doubtful_ages_are_the_shortest() {
        assert_eq!(read("max-age=60, max-age=5").max_age, Some(Duration::from_secs(5)));
        for unreadable in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=a"] {
            assert_eq!(read(unreadable).max_age, Some(Duration::ZERO), "{unreadable}");
        }
        let largest = Duration::from_secs(1 << 31);
        assert_eq!(read("max-age=99999999999999999999999").max_age, Some(largest));
    }

    #[test]
    fn qualified_restrictions_restrict_all() {
        assert!(read("private=\"set-cookie\"").private);
        assert!(read("no-cache=\"a, b\", public").no_cache);
    }

    #[test]
    fn pragma_counts_only_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(PRAGMA, "no-cache".parse().unwrap());
        assert!(CacheControl::of(&headers).no_cache);
        headers.insert(CACHE_CONTROL, "max-age=1".parse().unwrap());
        assert!(!CacheControl::of(&headers).no_cache);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(value in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(CACHE_CONTROL, value);
                CacheControl::of(&headers);
            }
        }
    }
}
