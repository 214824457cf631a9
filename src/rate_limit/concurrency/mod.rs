//! Answers 429 when too many requests of somebody are under way at the same time, in all processes
//! together.
//!
//! A request takes a permit before the inner service is called, and gives it back when the body of
//! its response has ended or was dropped: by an error, a client that hangs up, or a handler that is
//! cancelled.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Request;
//! use tower::ServiceExt;
//! use tower_redis_kit::Store;
//! use tower_redis_kit::rate_limit::{ConcurrencyLimitLayer, Header};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let limit = ConcurrencyLimitLayer::new("exports", 1, Header::new("x-api-key"))
//!     .with_store(Store::memory());
//! let app = Router::new().route("/", get(|| async { "a long table" })).layer(limit);
//!
//! let request = || Request::get("/").header("x-api-key", "k").body(Body::empty()).unwrap();
//! let first = app.clone().oneshot(request()).await.unwrap();
//! assert_eq!(first.headers()["ratelimit-policy"], "\"exports\";q=1;qu=\"concurrent-requests\"");
//! assert_eq!(first.headers()["ratelimit"], "\"exports\";r=0");
//!
//! let second = app.clone().oneshot(request()).await.unwrap();
//! assert_eq!(second.status(), 429);
//!
//! // Its body has not been read: until now it was under way.
//! drop(first);
//! assert_eq!(app.oneshot(request()).await.unwrap().status(), 200);
//! # }
//! ```
//!
//! # Leases
//! A permit is held for a [lease](ConcurrencyLimitLayer::lease), which one task in each process
//! renews for all that it holds, at each third. When a process dies, its permits are free after a
//! lease; when the store is [shut down](crate::Store::shutdown), at once. What could not be given
//! back, or may have been taken when the answer was lost, is given back in the background when the
//! store can be asked again.
//!
//! When the store was away for longer than a lease, or came back empty, a permit may be somebody
//! else's by then. The request that had it goes on. It is given one again as soon as there is one,
//! which is looked for at each third of a lease; until then more requests are under way than the
//! limit says.
//!
//! # Answers
//! Fields and refusals are those of [rate limits](super#answers), but the field `RateLimit` has no
//! `t`, since nobody knows when a permit is free; `Retry-After` says a second.
//!
//! # When the store cannot answer
//! See [`Fallback`](super::Fallback). With `Local`, which it is unless set, this process admits as
//! many as the limit says, those included that are under way with a permit. Requests that were
//! admitted meanwhile have none when the store is back, and are not counted there.
//!
//! # What it cannot do
//! A connection that is upgraded is counted until its response has ended, not until it is closed. A
//! response whose body is kept somewhere, unread, is under way. A permit is on its way back when the
//! end of its response leaves: in this process the next request comes after it, but another process
//! may be asked a round trip sooner.
//!
//! # Cancel safety
//! A client that leaves has its permit given back, also if the store has not answered yet.

mod fields;
mod future;
mod gate;
mod layer;
mod service;

pub use self::future::ResponseFuture;
pub(super) use self::gate::Occupied;
pub use self::layer::ConcurrencyLimitLayer;
pub use self::service::ConcurrencyLimit;
