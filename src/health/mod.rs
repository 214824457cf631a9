//! Pages for those who look after a service: is it alive, is it ready, and how is its Redis doing.
//!
//! Three plain services with JSON bodies, for axum's `route_service` or any hyper server.
//!
//! | page | answers | asks |
//! |---|---|---|
//! | [`Liveness`] | 200 as long as the process answers | nobody |
//! | [`Readiness`] | 503 while a store is away that routes *need* | nobody: what the stores know of themselves |
//! | [`Details`] | what `INFO` says, and what is to be done about it; 503 when the store is down | the server, once a second at most |
//!
//! ```
//! use axum::{Router, body::Body};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_redis_kit::Store;
//! use tower_redis_kit::health::{Details, Liveness, Readiness};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (store, cache_store) = (Store::memory(), Store::memory());
//! let app: Router = Router::new()
//!     .route_service("/live", Liveness::new())
//!     .route_service(
//!         "/ready",
//!         Readiness::new().needs("sessions", store.clone()).uses("cache", cache_store.clone()),
//!     )
//!     .route_service("/health", Details::new(store.clone()));
//!
//! for path in ["/live", "/ready", "/health"] {
//!     let request = Request::get(path).body(Body::empty()).unwrap();
//!     let response = app.clone().oneshot(request).await.unwrap();
//!     assert_eq!(response.status(), StatusCode::OK);
//!     assert_eq!(response.headers()["content-type"], "application/json");
//!     assert_eq!(response.headers()["cache-control"], "no-store");
//! }
//! # }
//! ```
//!
//! # Answers
//! To `GET` and `HEAD`; 405 with `Allow` to anything else. Never to be cached.
//!
//! # When the store cannot answer
//! The pages do: none of them waits for longer than the store's
//! [deadline](crate::StoreBuilder::deadline), and none waits at all once the store knows that its
//! server is away.
//!
//! # Security
//! No page shows a key, a value, an address or anything of a log-in. [`Details`] does show how busy
//! and how large the server is: serve it where your monitoring can reach it and others cannot.

mod answer;
mod body;
mod details;
mod future;
mod liveness;
mod readiness;
mod readings;
mod report;

pub use self::body::PageBody;
pub use self::details::Details;
pub use self::future::ResponseFuture;
pub use self::liveness::Liveness;
pub use self::readiness::Readiness;
pub use crate::policy::monitoring::{
    ByteSize, Contents, EvictionPolicy, Finding, Interval, Lookups, MemoryBasis, MemoryLimit,
    MemoryUse, Mode, Persistence, Replication, Role, ServerInfo, Severity, ShelfInfo, Software,
    Status, Traffic,
};
