//! Answers again what may be answered again, by the rules of RFC 9111 for shared caches.
//!
//! A handler says how long its answer is good for, in `Cache-Control`, and may tag it; a purge by
//! tag takes it out again at once, everywhere.
//!
//! ```
//! use axum::{Router, body::Body, response::IntoResponse, routing::get};
//! use http::{Request, header::CACHE_CONTROL};
//! use tower::ServiceExt;
//! use tower_redis_kit::cache::{Cache, CacheLayer, CacheTags};
//! use tower_redis_kit::{Store, StoreError, StoreLayer};
//!
//! async fn article() -> impl IntoResponse {
//!     ([(CACHE_CONTROL, "max-age=60")], CacheTags::new(["articles", "article-7"]), "text")
//! }
//!
//! async fn publish(cache: Cache) -> Result<String, StoreError> {
//!     Ok(format!("{} dropped", cache.purge_tag("article-7").await?))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let app = Router::new()
//!     .route("/articles/7", get(article))
//!     .route("/publish", get(publish))
//!     .layer(CacheLayer::new())
//!     .layer(StoreLayer::new(Store::memory()));
//!
//! let get = |path: &str| app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
//! let body = |response: http::Response<Body>| axum::body::to_bytes(response.into_body(), 99);
//! let first = get("/articles/7").await.unwrap();
//! assert_eq!(first.headers()["cache-status"], "tower-redis-kit; fwd=uri-miss; stored");
//! // A response is stored when its body has been read to the end.
//! body(first).await.unwrap();
//! let again = get("/articles/7").await.unwrap();
//! assert_eq!(again.headers()["cache-status"], "tower-redis-kit; hit; ttl=60");
//! assert_eq!(body(get("/publish").await.unwrap()).await.unwrap(), "1 dropped");
//! # }
//! ```
//!
//! # What is stored
//! Answers to `GET` of a status that may be reused, whose lifetime is stated by `s-maxage`,
//! `max-age` or `Expires`, without `no-store`, `no-cache`, `private`, `Vary: *` or `Set-Cookie`,
//! for requests without `no-store`. With `Authorization` in the request, only with `public`,
//! `s-maxage` or `must-revalidate`; after the handler looked at a [session](crate::session), only
//! with `public`. `Vary` is kept to. Whatever is in doubt is not stored.
//!
//! What is stored answers `GET` and `HEAD`, also with 304 for `If-None-Match` and
//! `If-Modified-Since`. A request that changes something (any unsafe method) drops what is stored
//! for its URI, unless it failed.
//!
//! `Cache-Status` (RFC 9211) says in each response what the cache did.
//!
//! # What it costs
//! A hit is one command. A miss adds one when the body has ended; the body's last part leaves when
//! the store has answered, so a client that has the whole of it finds it stored.
//!
//! # When the store cannot answer
//! The request goes to its handler.
//!
//! # Cancel safety
//! What a client leaves behind half read is not stored. A request that changes something drops what
//! is stored for its URI after its handler has answered: if the client leaves before that, purge by
//! tag in the handler.
//!
//! # Security
//! A response is stored under its host, path and query, as they came to the
//! [`StoreLayer`](crate::StoreLayer): keep that outside of nested routers, which cut their prefix
//! off. A request with content is never answered from the cache, nor its answer stored. Behind a
//! proxy, let only the hosts that you serve pass: each made-up `Host` is an entry of its own,
//! though a short-lived one.

mod body;
mod extract;
mod future;
mod handle;
mod key;
mod layer;
mod response;
mod service;
mod tags;

pub use self::body::CacheBody;
pub use self::future::ResponseFuture;
pub use self::handle::Cache;
pub use self::layer::CacheLayer;
pub use self::service::WithCache;
pub use self::tags::CacheTags;
