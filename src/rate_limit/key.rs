use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::request::Parts;
use http::{HeaderName, HeaderValue};

use super::MissingPeer;
use crate::axum_parts;
use crate::store::keys::{Fingerprint, Subject};

/// Who a limit counts: everything with the same key shares a quota.
///
/// Holds an address or a fingerprint, never the text it was made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub(super) Subject);

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

/// Tells from a request's head who is asking.
///
/// A closure will do: `|head: &http::request::Parts| head.headers.get("x-tenant").cloned()`.
/// It gives whatever is [`Into<Key>`](Key): an address, a text, a header's value. `None` means that
/// this limit does not concern the request: it passes.
pub trait KeyExtractor: Send + Sync + 'static {
    /// The key of a request.
    ///
    /// # Errors
    /// When the server was wired so that the key cannot be known.
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer>;
}

impl<F, K> KeyExtractor for F
where
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    K: Into<Key>,
{
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer> {
        Ok(self(head).map(Into::into))
    }
}

/// By the address that the connection comes from.
///
/// Behind a proxy that is the proxy's address: all its clients are one caller. Headers that name a
/// client are not looked at, because any client can send them.
///
/// In axum, serve with `into_make_service_with_connect_info::<SocketAddr>()`. With plain hyper, put
/// [`PeerAddr`] into the request's extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerIp;

/// The address that a request's connection comes from, for [`PeerIp`] where there is no axum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl KeyExtractor for PeerIp {
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer> {
        let peer = head.extensions.get::<PeerAddr>().map(|peer| peer.0);
        match peer.or_else(|| axum_parts::peer(head)) {
            Some(peer) => Ok(Some(Key::address(peer.ip()))),
            None => Err(MissingPeer),
        }
    }
}

/// By the value of a header, such as an API key. A request without it passes.
///
/// The value is only used as a fingerprint: it is in no key and no log.
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
}

impl KeyExtractor for Header {
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer> {
        Ok(head.headers.get(&self.name).map(Key::named))
    }
}
