use std::net::{IpAddr, SocketAddr};

use http::request::Parts;

use super::{AddressIsIn, Addresses, ClientIp, Key, KeyError, KeyExtractor, MissingPeer};
use crate::axum_parts;

/// By the address that the connection comes from.
///
/// Behind a proxy that is the proxy's address: all its clients are one caller. Headers that name a
/// client are not looked at, because any client can send them: [`ClientIp`] does, as far as proxies
/// are trusted.
///
/// In axum, serve with `into_make_service_with_connect_info::<SocketAddr>()`. With plain hyper, put
/// [`PeerAddr`] into the request's extensions.
///
/// ```
/// use http::Request;
/// use tower_redis_kit::rate_limit::{Key, KeyError, KeyExtractor, PeerAddr, PeerIp};
///
/// let mut head = Request::new(()).into_parts().0;
/// assert!(matches!(PeerIp.key(&head), Err(KeyError::MissingPeer(_))));
/// let peer = PeerAddr("192.0.2.1:4711".parse().unwrap());
/// head.extensions.insert(peer);
/// assert_eq!(PeerIp.key(&head), Ok(Some(Key::address(peer.0.ip()))));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerIp;

/// The address that a request's connection comes from, for [`PeerIp`] and [`ClientIp`] where there
/// is no axum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerIp {
    /// The same, but of an IPv6 address the first `bits` count instead of 64: the
    /// [`ClientIp`] that trusts nobody.
    ///
    /// # Panics
    /// When `bits` are more than 128.
    pub fn ipv6_prefix(self, bits: u8) -> ClientIp {
        ClientIp::hops(0).ipv6_prefix(bits)
    }

    /// Whether the address is one of these; see [`ClientIp::is_in`].
    ///
    /// # Panics
    /// When one of them is no address and no network.
    pub fn is_in<A>(self, addresses: A) -> AddressIsIn
    where
        A: TryInto<Addresses, Error: std::fmt::Display>,
    {
        ClientIp::hops(0).is_in(addresses)
    }
}

impl KeyExtractor for PeerIp {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(Some(Key::address(address(head)?)))
    }
}

/// What [`PeerAddr`] says goes before what axum knows.
pub(super) fn address(head: &Parts) -> Result<IpAddr, MissingPeer> {
    let peer = head.extensions.get::<PeerAddr>().map(|peer| peer.0);
    let peer = peer.or_else(|| axum_parts::peer(head)).ok_or(MissingPeer)?;
    Ok(peer.ip().to_canonical())
}
