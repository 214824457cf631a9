use std::fmt;

use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use crate::{StoreError, refusal};

/// Why a session could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The store cannot answer: 503 with `Retry-After`.
    Store(StoreError),
    /// The field holds something else than was asked for, or the value cannot be JSON: 500.
    Type {
        /// The field's name.
        field: String,
    },
    /// The session would become larger than the layer allows: 413.
    TooLarge,
    /// Another request ended or rotated the session, or its time ran out, before this one could save
    /// its changes: 409.
    Ended,
    /// Changes of other requests came first, again and again: 503.
    Contended,
    /// The response has left already, so a change could no longer be saved: 500.
    ResponseSent,
    /// The operating system gave no random bytes for a new id: 500.
    NoRandomness,
}

impl SessionError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            SessionError::Store(_) | SessionError::Contended => StatusCode::SERVICE_UNAVAILABLE,
            SessionError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            SessionError::Ended => StatusCode::CONFLICT,
            SessionError::Type { .. } | SessionError::ResponseSent | SessionError::NoRandomness => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The answer of the layer itself, with an empty body.
    pub(super) fn refusal<B: Default>(self) -> http::Response<B> {
        match self {
            SessionError::Store(error) => refusal::unavailable(error),
            error => refusal::refusal(error.status(), error),
        }
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> SessionError {
        SessionError::Store(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Store(error) => write!(f, "the session store: {error}"),
            SessionError::Type { field } => {
                write!(f, "the session's field {field:?} has another type, or is no JSON")
            }
            SessionError::TooLarge => f.write_str("the session is too large"),
            SessionError::Ended => f.write_str("the session was ended or rotated meanwhile"),
            SessionError::Contended => f.write_str("too many requests change the session at once"),
            SessionError::ResponseSent => {
                f.write_str("the session was changed after the response had left")
            }
            SessionError::NoRandomness => f.write_str("no random bytes for a session id"),
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SessionError::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl IntoResponse for SessionError {
    fn into_response(self) -> Response {
        if self.status().is_server_error() {
            tracing::error!(error = %self, "session");
        }
        self.refusal()
    }
}

/// A handler asks for its session, but there is no layer to keep one: a mistake in wiring.
///
/// Answered with 500, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingSession;

impl fmt::Display for MissingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no session in the request: add `SessionLayer::new()` around this route")
    }
}

impl std::error::Error for MissingSession {}

impl IntoResponse for MissingSession {
    fn into_response(self) -> Response {
        refusal::mistake(self)
    }
}
