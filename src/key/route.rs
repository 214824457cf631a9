use http::request::Parts;

use super::{Key, KeyError, KeyExtractor};
use crate::axum_parts;

/// By the route that axum has found, as its pattern: `/users/{id}` is one for all ids.
///
/// Where axum has found none there is no key: for a fallback, in a layer around the whole router
/// and not by `Router::layer`, outside of a service that was nested by `nest_service`, and without
/// the feature `axum`.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::Request;
/// use tower::ServiceExt;
/// use tower_redis_kit::rate_limit::{MatchedRoute, Quota, RateLimitLayer};
/// use tower_redis_kit::{Store, StoreLayer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let app = Router::new()
///     .route("/users/{id}", get(|| async {}))
///     .route("/", get(|| async {}))
///     .layer(RateLimitLayer::new("route", Quota::per_minute(1), MatchedRoute))
///     .layer(StoreLayer::new(Store::memory()));
///
/// for (path, status) in [("/users/1", 200), ("/users/2", 429), ("/", 200)] {
///     let request = Request::get(path).body(Body::empty()).unwrap();
///     assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status);
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MatchedRoute;

impl KeyExtractor for MatchedRoute {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(axum_parts::route(head).map(Key::route))
    }
}
