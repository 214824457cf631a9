use std::net::SocketAddr;

use http::request::Parts;

use super::{Key, KeyExtractor, MissingPeer};
use crate::axum_parts;

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
