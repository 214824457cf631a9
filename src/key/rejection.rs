use std::fmt;

use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use crate::{StoreError, refusal};

/// Why it cannot be told who is asking.
///
/// A limit answers with it, and the reason is in the response's extensions: this, and
/// [`MissingPeer`] or [`StoreError`] as such.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The server was not set up to tell where a connection comes from: 500.
    MissingPeer(MissingPeer),
    /// Something else is not set up as it must be: 500. The text names the fix.
    Miswired(&'static str),
    /// The store, in which the answer is, cannot answer: 503 with `Retry-After`.
    Unavailable(StoreError),
}

impl KeyError {
    /// The answer of a layer, with an empty body.
    pub(crate) fn refusal<B: Default>(self) -> http::Response<B> {
        const MISTAKE: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        let mut response = match &self {
            KeyError::MissingPeer(missing) => refusal::refusal(MISTAKE, *missing),
            KeyError::Miswired(_) => refusal::refusal(MISTAKE, self.clone()),
            KeyError::Unavailable(error) => refusal::unavailable(error.clone()),
        };
        response.extensions_mut().insert(self);
        response
    }
}

impl From<MissingPeer> for KeyError {
    fn from(missing: MissingPeer) -> KeyError {
        KeyError::MissingPeer(missing)
    }
}

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> KeyError {
        KeyError::Unavailable(error)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::MissingPeer(missing) => missing.fmt(f),
            KeyError::Miswired(fix) => f.write_str(fix),
            KeyError::Unavailable(error) => {
                write!(f, "who is asking is in the store, and it cannot answer: {error}")
            }
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            KeyError::MissingPeer(missing) => Some(missing),
            KeyError::Miswired(_) => None,
            KeyError::Unavailable(error) => Some(error),
        }
    }
}

/// So that a handler can use `?` on [`ClientIp::address`](super::ClientIp::address).
impl IntoResponse for KeyError {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        self.refusal()
    }
}

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
