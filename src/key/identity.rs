use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::request::Parts;
use http::{HeaderValue, Method};

use super::{KeyError, KeyExtractor};
use crate::store::keys::{Fingerprint, Subject};

/// Who a limit counts: everything with the same key shares a quota.
///
/// Holds an address or a fingerprint, never the text it was made of. What extractors make of a
/// request can be made here as well, by whoever resets a limit or asks about it:
///
/// | extractor | its key |
/// |---|---|
/// | [`PeerIp`](super::PeerIp), [`ClientIp`](super::ClientIp) | [`Key::address`], [`Key::network`] |
/// | [`Header`](super::Header), a text of a closure | [`Key::named`] |
/// | [`SessionField`](crate::session::SessionField), [`TokenSubject`](crate::token::TokenSubject) | [`Key::named`] |
/// | [`MatchedRoute`](super::MatchedRoute), [`ByMethod`](super::ByMethod) | [`Key::route`], [`Key::method`] |
/// | a tuple of extractors | [`Key::all`] |
/// | a key, as the extractor of one quota for everybody | itself |
///
/// ```
/// use tower_redis_kit::rate_limit::Key;
///
/// assert_eq!(Key::named("ada"), Key::from("ada"));
/// assert_ne!(Key::named("GET"), Key::method(&http::Method::GET));
/// assert_eq!(format!("{:?}", Key::named("ada")), "Key(..)");
/// ```
///
/// # Security
/// Whatever is named alike is the same caller, wherever the name comes from: that is how
/// `Key::named("ada")` in code meets the session of Ada. In one limit, do not take a name from a
/// verified source for some requests and from one that a client can make up for others, or put a
/// word before one of them: `Key::all([Key::named("api key"), Key::named(value)])`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) Subject);

/// What a single customer usually has of IPv6.
pub(super) const CUSTOMER: u8 = 64;

impl Key {
    /// The key of an address. An IPv4 address mapped into IPv6 is the IPv4 address. Of other IPv6
    /// addresses the first 64 bits count: a single customer usually has all the rest.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::Key;
    ///
    /// let key = |text: &str| Key::address(text.parse().unwrap());
    /// assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    /// assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
    /// assert_ne!(key("2001:db8:0:1::1"), key("2001:db8::1"));
    /// ```
    #[must_use]
    #[inline]
    pub fn address(address: IpAddr) -> Key {
        Key::network(address, CUSTOMER)
    }

    /// The key of an address, of which the first `ipv6_prefix` bits count if it is IPv6: 48 where
    /// customers have a whole site, 128 for each address by itself.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::Key;
    ///
    /// let key = |text: &str, bits| Key::network(text.parse().unwrap(), bits);
    /// assert_eq!(key("2001:db8:0:1::1", 48), key("2001:db8:0:2::1", 48));
    /// assert_ne!(key("2001:db8::1", 128), key("2001:db8::2", 128));
    /// assert_ne!(key("192.0.2.1", 0), key("192.0.2.2", 0));
    /// ```
    ///
    /// # Panics
    /// When an IPv6 prefix is longer than 128 bits.
    #[must_use]
    #[inline]
    pub fn network(address: IpAddr, ipv6_prefix: u8) -> Key {
        check_ipv6_prefix(ipv6_prefix);
        Key(Subject::Address(match address {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(v4),
                None => {
                    // No bit is left of a prefix of none.
                    let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix)).unwrap_or(0);
                    IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
                }
            },
        }))
    }

    /// The key of anything else, such as an account or an API key, by its bytes.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::Key;
    ///
    /// assert_eq!(Key::named("7"), Key::from(7));
    /// ```
    #[must_use]
    pub fn named(name: impl AsRef<[u8]>) -> Key {
        Key::fingerprint(&[name.as_ref()])
    }

    /// The key of a route, by its pattern: what [`MatchedRoute`](super::MatchedRoute) makes.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::Key;
    ///
    /// assert_ne!(Key::route("/users/{id}"), Key::named("/users/{id}"));
    /// ```
    #[must_use]
    pub fn route(pattern: &str) -> Key {
        Key::tagged("route", pattern.as_bytes())
    }

    /// The key of a method: what [`ByMethod`](super::ByMethod) makes.
    ///
    /// `HEAD` is `GET`, since handlers answer it so. Methods that HTTP does not define are all one:
    /// a client can make up any number of them.
    ///
    /// ```
    /// use http::Method;
    /// use tower_redis_kit::rate_limit::Key;
    ///
    /// assert_eq!(Key::method(&Method::HEAD), Key::method(&Method::GET));
    /// assert_ne!(Key::method(&Method::POST), Key::method(&Method::GET));
    /// let made_up = |name: &[u8]| Key::method(&Method::from_bytes(name).unwrap());
    /// assert_eq!(made_up(b"FOO"), made_up(b"BAR"));
    /// ```
    #[must_use]
    pub fn method(method: &Method) -> Key {
        let name = match *method {
            Method::GET | Method::HEAD => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            Method::TRACE => "TRACE",
            Method::CONNECT => "CONNECT",
            _ => "",
        };
        Key::tagged("method", name.as_bytes())
    }

    /// One key of several, in this order: what a tuple of extractors makes.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::Key;
    ///
    /// let key = |parts: [&str; 2]| Key::all(parts.map(Key::named));
    /// assert_eq!(key(["ada", "upload"]), key(["ada", "upload"]));
    /// assert_ne!(key(["ada", "upload"]), key(["upload", "ada"]));
    /// assert_ne!(key(["a", "b"]), key(["ab", ""]));
    /// ```
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Key>) -> Key {
        // The first byte of a part says how long it is, so parts never run together.
        let mut bytes = Vec::with_capacity(3 * 17);
        for Key(subject) in parts {
            match subject {
                Subject::Address(IpAddr::V4(v4)) => {
                    bytes.push(b'4');
                    bytes.extend(v4.octets());
                }
                Subject::Address(IpAddr::V6(v6)) => {
                    bytes.push(b'6');
                    bytes.extend(v6.octets());
                }
                Subject::Named(fingerprint) => {
                    bytes.push(b'n');
                    bytes.extend(fingerprint.as_bytes());
                }
            }
        }
        Key::tagged("all", &bytes)
    }

    /// A key of one source, and no other's: a name is one part, and this is two.
    pub(crate) fn tagged(source: &'static str, bytes: &[u8]) -> Key {
        Key::fingerprint(&[source.as_bytes(), bytes])
    }

    fn fingerprint(parts: &[&[u8]]) -> Key {
        Key(Subject::Named(Fingerprint::of(parts)))
    }
}

#[inline]
#[track_caller]
pub(super) fn check_ipv6_prefix(bits: u8) {
    assert!(bits <= 128, "a prefix of an IPv6 address is 0 to 128 bits (got {bits})");
}

/// By [`Key::address`].
impl From<IpAddr> for Key {
    #[inline]
    fn from(address: IpAddr) -> Key {
        Key::address(address)
    }
}

/// By [`Key::named`].
impl From<&str> for Key {
    fn from(name: &str) -> Key {
        Key::named(name)
    }
}

/// By [`Key::named`].
impl From<String> for Key {
    fn from(name: String) -> Key {
        Key::named(name)
    }
}

macro_rules! from_numbers {
    ($($number:ty),+) => { $(
        /// By [`Key::named`], of its decimal digits.
        impl From<$number> for Key {
            fn from(number: $number) -> Key {
                Key::named(number.to_string())
            }
        }
    )+ };
}
from_numbers!(u32, u64, u128, i32, i64);

/// By [`Key::named`].
impl From<HeaderValue> for Key {
    fn from(value: HeaderValue) -> Key {
        Key::named(value)
    }
}

/// Everybody has this key, and shares one quota.
impl KeyExtractor for Key {
    fn key(&self, _: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(Some(*self))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_named_by_its_digits() {
        let keys = [Key::from(7), Key::from(7_u64), Key::from(7_u32), Key::from(7_u128)];
        assert_eq!(keys, [Key::named("7"); 4]);
        assert_eq!(Key::from(-7_i64), Key::named("-7"));
    }

    #[test]
    fn a_key_is_everybodys() {
        let head = http::Request::new(()).into_parts().0;
        assert_eq!(Key::named("all").key(&head), Ok(Some(Key::named("all"))));
    }

    fn keys() -> impl Strategy<Value = Key> {
        let leaf = prop_oneof![
            any::<IpAddr>().prop_map(|address| Key::network(address, 128)),
            "[a-c]{0,3}".prop_map(Key::named),
            "/[a-c]{0,2}".prop_map(|pattern| Key::route(&pattern)),
            Just(Key::method(&Method::GET)),
        ];
        leaf.prop_recursive(3, 12, 3, |part| prop::collection::vec(part, 0..4).prop_map(Key::all))
    }

    proptest! {
        #[test]
        fn of_an_ipv6_address_only_the_prefix_counts(bits: u128, other: u128, prefix in 0u8..=128) {
            // Far from the mapped IPv4 addresses, of which all bits count.
            let address = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits | 1 << 127));
            let mask = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let inside = bits & !mask | other & mask;
            prop_assert_eq!(
                Key::network(address(bits), prefix),
                Key::network(address(inside), prefix)
            );
            if prefix >= 2 {
                let outside = bits ^ 1 << (128 - prefix);
                prop_assert_ne!(
                    Key::network(address(bits), prefix),
                    Key::network(address(outside), prefix)
                );
            }
        }

        #[test]
        fn lists_of_different_keys_are_different_keys(
            lists in prop::collection::vec(prop::collection::vec(keys(), 0..4), 2..20)
        ) {
            let mut known = HashMap::new();
            for list in lists {
                let first = known.entry(Key::all(list.iter().copied())).or_insert(list.clone());
                prop_assert_eq!(&*first, &list);
                if let [one] = list[..] {
                    prop_assert_ne!(Key::all([one]), one);
                }
            }
        }
    }

    #[test]
    fn sources_do_not_run_together() {
        let sources = [
            Key::named("GET"),
            Key::named("method"),
            Key::method(&Method::GET),
            Key::route("GET"),
            Key::all([]),
            Key::all([Key::named("GET")]),
            Key::named(""),
        ];
        for (at, one) in sources.iter().enumerate() {
            assert!(sources[..at].iter().all(|other| other != one), "the {at}th");
        }
    }

    #[test]
    #[should_panic(expected = "0 to 128 bits (got 129)")]
    fn no_ipv6_address_has_129_bits() {
        let _ = Key::network(IpAddr::from([192, 0, 2, 1]), 129);
    }
}
