//! Answers 429 when somebody has used up a quota.
//!
//! A limit is a name, a [`Quota`] and a key: what counts as one caller. The layer takes a request's
//! [cost](Limit::cost) from the caller's quota, atomically, in one command: of
//! [several limits](RateLimitLayer::all) too, of which none is charged when one refuses. In code, a
//! [`Limiter`] does the same.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
//! use tower_redis_kit::{Store, StoreLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let app = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(RateLimitLayer::new("hello", Quota::per_minute(2), Header::new("x-api-key")))
//!     .layer(StoreLayer::new(Store::memory()));
//!
//! let request = || Request::get("/").header("x-api-key", "k").body(Body::empty()).unwrap();
//! for _ in 0..2 {
//!     assert_eq!(app.clone().oneshot(request()).await.unwrap().status(), StatusCode::OK);
//! }
//! let refused = app.oneshot(request()).await.unwrap();
//! assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(refused.headers()["retry-after"], "30");
//! # }
//! ```
//!
//! # Who is counted
//! A [`KeyExtractor`] says it: [`ClientIp`] behind proxies and [`PeerIp`] without, a [`Header`],
//! the user of a session by [`SessionField`](crate::session::SessionField) or of a token by
//! [`TokenSubject`](crate::token::TokenSubject), [`MatchedRoute`] and [`ByMethod`], a closure,
//! several of them in a tuple, or one [or](KeyExtractor::or) another.
//!
//! # Where it stands
//! Inside of a CORS layer, whose preflights have no key and whose fields a 429 needs as well. By
//! `Router::layer` it counts what no route is found for, by `route_layer` only what reaches one.
//! Two limits of one name around one another charge a request twice.
//!
//! # Answers
//! Every response carries `RateLimit-Policy` and `RateLimit`, structured fields by a draft of the
//! IETF ([`Fields`] has others): `"hello";q=2;w=60` and `"hello";r=1;t=30`, where `t` is the number
//! of seconds until the whole burst is there again or, when refused, until the request may be
//! repeated. Until then `r` requests, at least, are free. They are appended, so limits around one
//! another all show. [Shadows](Limit::shadow) do not, nor do limits that nothing is known of, as
//! with [`Fallback::Allow`].
//!
//! With [`allowances`](RateLimitLayer::allowances) handlers are told as well.
//! [`legacy_fields`](RateLimitLayer::legacy_fields) adds `X-RateLimit-*`. A page of another origin
//! reads none of these unless `Access-Control-Expose-Headers` names them.
//!
//! A refusal is a 429 with `Retry-After`, in seconds, rounded up, and never earlier than a `t`
//! beside it: a limit that did not refuse leaves out one that is later. There is no `Retry-After`
//! when waiting does not help, as the request costs more than there ever is. The body is a problem
//! document (RFC 9457) of a type that the draft defines: `quota-exceeded`, or
//! `abnormal-usage-detected` where somebody is [locked out](Quota::lockout) or blocked.
//! `violated-policies` has the limits that refused, and `detail` says why in words:
//!
//! ```json
//! {
//!   "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
//!   "title": "Request cannot be satisfied as assigned quota has been exceeded",
//!   "status": 429,
//!   "detail": "the limit \"hello\" is used up",
//!   "violated-policies": ["hello"]
//! }
//! ```
//!
//! [`refuse_with`](RateLimitLayer::refuse_with) answers something else. The reason, [`Limited`], is
//! in the response's extensions.
//!
//! The 503 of [`Fallback::Refuse`] is that of every layer, and no problem of type
//! `temporary-reduced-capacity`: that one names quotas which were exceeded, and nothing was
//! counted.
//!
//! Neither a 429 nor any of these fields is stored by [`CacheLayer`](crate::cache::CacheLayer).
//!
//! # At the same time
//! How many requests are under way together is bounded by a [`ConcurrencyLimitLayer`]: see
//! [`concurrency`].
//!
//! # When the store cannot answer
//! See [`Fallback`]. By default the limit goes on in this process.
//!
//! # Cancel safety
//! A client that leaves before the answer has spent its request.

mod allowance;
mod answer;
mod body;
mod choice;
pub mod concurrency;
mod extract;
mod fallback;
mod fields;
mod future;
mod gate;
mod layer;
mod limit;
mod limiter;
mod partition;
mod refusal;
mod rejection;
mod service;
mod settle;
mod single;

pub use self::allowance::{Allowance, Allowances};
pub use self::body::LimitBody;
pub use self::choice::{ChooseLimits, Limits, LiveLimits, RouteLimits};
pub use self::concurrency::ConcurrencyLimitLayer;
pub use self::fallback::Fallback;
pub use self::fields::Fields;
pub use self::future::ResponseFuture;
pub use self::layer::RateLimitLayer;
pub use self::limit::{Limit, Unit, WithoutKey};
pub use self::limiter::Limiter;
pub use self::rejection::{
    Blocked, Limited, MissingAllowances, MissingCharge, MissingKey, Violation,
};
pub use self::service::RateLimit;
pub use self::settle::{Charge, Finished};
pub use crate::key::{
    AddressIsIn, Addresses, ByMethod, ClientIp, Header, HeaderIsOneOf, InvalidAddress, Key,
    KeyError, KeyExtractor, KeyFuture, MatchedRoute, MissingPeer, Or, PeerAddr, PeerIp,
    RequestMatcher,
};
#[cfg(feature = "time-zones")]
pub use crate::policy::UnknownTimeZone;
pub use crate::policy::{InvalidQuota, Quota};
