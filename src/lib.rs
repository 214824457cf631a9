//! Rate limiting, sessions, token revocation and response caching for tower, axum and hyper, on
//! Redis or in process.
//!
//! The layers share one [`Store`]. Each is a plain [`tower_layer::Layer`]: it works in axum's
//! `Router::layer` and `MethodRouter::layer`, and in front of any service that takes an
//! [`http::Request`] and answers an [`http::Response`].
//!
//! | layer | does | in handlers |
//! |---|---|---|
//! | [`RateLimitLayer`](rate_limit::RateLimitLayer) | answers 429 when a quota is used up | |
//! | [`ConcurrencyLimitLayer`](rate_limit::ConcurrencyLimitLayer) | answers 429 when too much is under way | |
//! | [`SessionLayer`](session::SessionLayer) | keeps what belongs to one browser | [`Session`](session::Session) |
//! | [`RevocationLayer`](token::RevocationLayer) | verifies bearer tokens and refuses revoked ones | [`Claims`](token::Claims), [`Token`](token::Token) |
//! | [`CacheLayer`](cache::CacheLayer) | answers again what may be answered again | [`CacheTags`](cache::CacheTags), [`Cache`](cache::Cache) |
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower::ServiceExt;
//! use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
//! use tower_redis_kit::session::{Session, SessionError, SessionLayer};
//! use tower_redis_kit::{Store, StoreLayer};
//!
//! async fn visits(session: Session) -> Result<String, SessionError> {
//!     let visits = session.get::<u32>("visits").await?.unwrap_or(0) + 1;
//!     session.insert("visits", visits).await?;
//!     Ok(format!("visit {visits}"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Redis where `REDIS_URL` is set, this process where it is not.
//! let store = Store::from_env().await?;
//! let app = Router::new()
//!     .route("/", get(visits))
//!     .layer(SessionLayer::new())
//!     .layer(RateLimitLayer::new("api", Quota::per_second(5), Header::new("x-api-key")))
//!     // The last layer added is the first a request meets.
//!     .layer(StoreLayer::new(store));
//!
//! let request = http::Request::get("/").header("x-api-key", "k").body(axum::body::Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.headers()["ratelimit"], "\"api\";r=4;t=1");
//! assert!(response.headers().contains_key("set-cookie"));
//! # Ok(()) }
//! ```
//!
//! What the layers do not do by themselves is in [`toolbox`]: the store in handlers and background
//! work, on Redis or in process like everything else.
//!
//! # When Redis is away
//! No call waits for it longer than the store's [deadline](StoreBuilder::deadline), and once the
//! connection counts as lost its answer takes microseconds. Then, unless told otherwise: a rate
//! limit goes on in process, a session that is used answers 503, a token answers 503 and never 401,
//! and the cache lets every request through to its handler. Service is whole again by itself.
//!
//! # Features
//! - `axum` (default): read the peer's address that axum leaves in a request.
//! - `compression` (default): compress large [values](toolbox::Values).
//! - `jwt`: [`token::Jwt`], a verifier of JSON Web Tokens.
//! - `metrics`: counters and times by the metrics facade; `docs/metrics.md` lists them.
//! - `tls`: `rediss://`, by rustls with the crypto provider that the application installed.
//! - `tls-ring`: `tls`, with the provider `ring` where none is installed.
//! - `time-zones`: quotas by the days and months of [a place](rate_limit::Quota::in_time_zone).

#![deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod cache;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod rate_limit;
pub mod session;
pub mod token;
pub mod toolbox;

mod axum_parts;
mod gate;
mod key;
mod observe;
mod personal;
mod policy;
mod refusal;
mod stopwatch;
mod store;
mod store_layer;

/// The client that the store is built on, for [`Store::raw`].
pub use redis;
pub use store::{Health, HealthWatch, Store, StoreBuilder, StoreError};
pub use store_layer::{MissingStore, ProvideStore, StoreLayer};
