use std::fmt;

use axum_core::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use crate::refusal::{self, refusal};

/// Why a request was answered with 401 or 400; in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unauthorized {
    /// There is no bearer token.
    Missing,
    /// There is more than one `Authorization` field: 400.
    Repeated,
    /// The verifier does not accept the token, or it is malformed.
    Invalid,
    /// The token would be valid for longer than a revocation is remembered, 397 days.
    TooLongLived,
    /// The token was revoked.
    Revoked,
}

impl Unauthorized {
    /// RFC 6750, 3 and 3.1: a request without a token is told no more than what is needed.
    pub(super) fn response<B: Default>(self, realm: Option<&str>) -> http::Response<B> {
        let (status, error) = match self {
            Unauthorized::Missing => (StatusCode::UNAUTHORIZED, None),
            Unauthorized::Repeated => (StatusCode::BAD_REQUEST, Some("invalid_request")),
            Unauthorized::Invalid | Unauthorized::TooLongLived | Unauthorized::Revoked => {
                (StatusCode::UNAUTHORIZED, Some("invalid_token"))
            }
        };
        let mut challenge = "Bearer".to_owned();
        let mut separator = " ";
        let description = self.to_string();
        let parameters = [
            ("realm", realm),
            ("error", error),
            ("error_description", error.map(|_| description.as_str())),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                challenge.push_str(&format!("{separator}{name}=\"{value}\""));
                separator = ", ";
            }
        }
        let mut response = refusal(status, self);
        let challenge = HeaderValue::try_from(challenge).expect("the realm is checked when set");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unauthorized::Missing => "a bearer token is needed",
            Unauthorized::Repeated => "there is more than one Authorization field",
            Unauthorized::Invalid => "the token is not valid",
            Unauthorized::TooLongLived => "the token is valid for too long",
            Unauthorized::Revoked => "the token was revoked",
        })
    }
}

impl std::error::Error for Unauthorized {}

/// A handler asks for claims of a type that no layer has put there: a mistake in wiring.
///
/// Answered with 500, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingClaims;

impl fmt::Display for MissingClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no such claims in the request: add `RevocationLayer::new(verifier)` around this \
             route, with a verifier of this type of claims; where it is `.optional()`, extract \
             `Option<Claims<T>>`",
        )
    }
}

impl std::error::Error for MissingClaims {}

impl IntoResponse for MissingClaims {
    fn into_response(self) -> Response {
        refusal::mistake(self)
    }
}
