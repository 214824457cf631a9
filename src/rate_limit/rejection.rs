use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a request was answered with 429; in the response's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    pub(super) limit: Arc<str>,
    pub(super) retry_after: Option<Duration>,
}

impl Limited {
    /// The name of the limit that refused.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// Until the request may be repeated; `None` when no waiting will help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit {:?} is used up", self.limit)
    }
}

impl std::error::Error for Limited {}

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
