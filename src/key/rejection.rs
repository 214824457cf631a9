use std::fmt;

/// The server was not set up to tell where a connection comes from: a mistake in wiring.
///
/// Answered with 500, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingPeer;

impl fmt::Display for MissingPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no peer address in the request: serve with \
             `into_make_service_with_connect_info::<SocketAddr>()`, or put \
             `rate_limit::PeerAddr(address)` into the request's extensions",
        )
    }
}

impl std::error::Error for MissingPeer {}
