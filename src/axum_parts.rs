//! What axum leaves in a request that its core crate has no type for.

use std::net::SocketAddr;

use http::request::Parts;

#[cfg(feature = "axum")]
pub(crate) fn peer(head: &Parts) -> Option<SocketAddr> {
    use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
    let known = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    // What axum's own extractor goes by in the tests of an application.
    known.or_else(|| head.extensions.get::<MockConnectInfo<SocketAddr>>().map(|info| info.0))
}

#[cfg(not(feature = "axum"))]
pub(crate) fn peer(_: &Parts) -> Option<SocketAddr> {
    None
}

/// The pattern of the route that a request has met, with those of the routers around it.
#[cfg(feature = "axum")]
pub(crate) fn route(head: &Parts) -> Option<&str> {
    head.extensions.get::<axum::extract::MatchedPath>().map(|path| path.as_str())
}

#[cfg(not(feature = "axum"))]
pub(crate) fn route(_: &Parts) -> Option<&str> {
    None
}
