//! Verifies bearer tokens and refuses those that were revoked.
//!
//! A [`Verifier`] says what a token is; the layer asks the store whether it, or its subject as a
//! whole, was revoked, in one command.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use axum::{Router, body::Body, routing::{get, post}};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_redis_kit::token::{Claims, InvalidToken, RevocationLayer, Token};
//! use tower_redis_kit::{Store, StoreError, StoreLayer};
//!
//! /// A real one checks a signature: see `Jwt`.
//! fn verify(token: &str) -> Result<(Token, String), InvalidToken> {
//!     let name = token.strip_prefix("token-of-").ok_or(InvalidToken)?;
//!     let expires_at = SystemTime::now() + Duration::from_secs(60);
//!     Ok((Token::new(token, expires_at).subject(name), name.to_owned()))
//! }
//!
//! async fn log_out(token: Token, store: Store) -> Result<&'static str, StoreError> {
//!     store.revoke(token).await?;
//!     Ok("goodbye")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let app = Router::new()
//!     .route("/me", get(|Claims(name): Claims<String>| async { name }))
//!     .route("/log-out", post(log_out))
//!     .layer(RevocationLayer::new(verify))
//!     .layer(StoreLayer::new(Store::memory()));
//!
//! let with_token = |request: http::request::Builder| {
//!     request.header("authorization", "Bearer token-of-ada").body(Body::empty()).unwrap()
//! };
//! let me = app.clone().oneshot(with_token(Request::get("/me"))).await.unwrap();
//! assert_eq!(me.status(), StatusCode::OK);
//! app.clone().oneshot(with_token(Request::post("/log-out"))).await.unwrap();
//! let me = app.oneshot(with_token(Request::get("/me"))).await.unwrap();
//! assert_eq!(me.status(), StatusCode::UNAUTHORIZED);
//! # }
//! ```
//!
//! # Answers
//! By RFC 6750, 3: without a token 401 with `WWW-Authenticate: Bearer`; with one that is invalid or
//! revoked, 401 with `error="invalid_token"`; with more than one, 400 with
//! `error="invalid_request"`. The body is empty; the reason is [`Unauthorized`] in the response's
//! extensions.
//!
//! # When the store cannot answer
//! 503 with `Retry-After`, never 401: a client that is told 401 throws its token away. See
//! [`Fallback`].
//!
//! # Security
//! Neither the token nor its id nor its subject is in any key or log, only their fingerprints. The
//! token is verified before the store is asked, so what anybody can make up costs no command.

mod bearer;
mod claims;
mod extract;
mod future;
mod gate;
#[cfg(feature = "jwt")]
mod jwt;
mod key;
mod layer;
mod rejection;
mod revoke;
mod service;

#[cfg(fuzzing)]
pub(crate) use self::bearer::fuzz as fuzz_bearer;
pub use self::claims::{Claims, InvalidToken, Token, Verifier};
pub use self::future::ResponseFuture;
#[cfg(feature = "jwt")]
pub use self::jwt::Jwt;
pub use self::key::TokenSubject;
pub use self::layer::{Fallback, RevocationLayer};
pub use self::rejection::{MissingClaims, Unauthorized};
pub use self::revoke::{Revocation, Subject};
pub use self::service::CheckToken;
