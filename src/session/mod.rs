//! Keeps what belongs to one browser between its requests.
//!
//! ```
//! use axum::{Router, routing::post};
//! use tower_redis_kit::session::{Session, SessionError, SessionLayer};
//! use tower_redis_kit::{Store, StoreLayer};
//!
//! async fn log_in(session: Session) -> Result<&'static str, SessionError> {
//!     // A new id, so that one planted before the log-in is worth nothing after it.
//!     session.rotate().await?;
//!     session.insert("user", "ada").await?;
//!     Ok("welcome")
//! }
//!
//! async fn log_out(session: Session) -> Result<&'static str, SessionError> {
//!     session.destroy().await?;
//!     Ok("goodbye")
//! }
//!
//! let app: Router = Router::new()
//!     .route("/log-in", post(log_in))
//!     .route("/log-out", post(log_out))
//!     .layer(SessionLayer::new())
//!     .layer(StoreLayer::new(Store::memory()));
//! ```
//!
//! # What it costs
//! A request whose handler does not look at its session costs nothing. The first look loads it, in
//! one command; a change saves it, in one more, before the response's head leaves. Without a cookie
//! there is nothing to load, and without a change nothing is saved and no cookie set.
//!
//! A response of 500 and above says that the handler failed: its changes are dropped. A session
//! that it ended stays ended.
//!
//! # Concurrent requests
//! A save carries the changes, not the fields as they were loaded: of two requests of one session
//! that change different fields, both changes stand; of one field, the later save wins. A request
//! that changes a session which another request has ended or rotated meanwhile is answered 409:
//! what is ended stays ended, and nothing is acknowledged that was not saved.
//!
//! # When the store cannot answer
//! What needs the store fails with [`SessionError`], which answers 503 with `Retry-After`; the
//! cookie is not touched, so nobody is logged out. See [`Fallback`] for going on without sessions.
//!
//! # Security
//! The cookie holds 256 random bits. The store knows it by a fingerprint, so what is read there
//! opens no session. An id that the store does not know is never taken over. By default the cookie
//! is `__Host-session` with `Secure`, `HttpOnly`, `SameSite=Lax` and `Path=/`, and a response for
//! which the session was looked at has `Vary: Cookie`.

mod cookie;
mod extract;
mod future;
mod handle;
mod key;
mod layer;
mod rejection;
mod service;

pub use ::cookie::SameSite;

#[cfg(fuzzing)]
pub(crate) use self::cookie::fuzz as fuzz_cookie;

pub use self::future::ResponseFuture;
pub use self::handle::{Session, Status};
pub use self::key::SessionField;
pub use self::layer::{Fallback, SessionLayer};
pub use self::rejection::{MissingSession, SessionError};
pub use self::service::WithSession;
