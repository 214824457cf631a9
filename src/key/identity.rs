use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderValue;

use crate::store::keys::{Fingerprint, Subject};

/// Who a limit counts: everything with the same key shares a quota.
///
/// Holds an address or a fingerprint, never the text it was made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) Subject);

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
    pub fn address(address: IpAddr) -> Key {
        Key(Subject::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        }))
    }

    /// The key of anything else, such as an account or an API key, by its bytes.
    #[must_use]
    pub fn named(name: impl AsRef<[u8]>) -> Key {
        Key(Subject::Named(Fingerprint::of(&[name.as_ref()])))
    }
}

/// By [`Key::address`].
impl From<IpAddr> for Key {
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

/// By [`Key::named`].
impl From<HeaderValue> for Key {
    fn from(value: HeaderValue) -> Key {
        Key::named(value)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").finish_non_exhaustive()
    }
}
