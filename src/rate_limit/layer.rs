use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tower_layer::Layer;

use super::choice::Choice;
use super::refusal::RefuseWith;
use super::{ChooseLimits, Fallback, Fields, KeyExtractor, Limit, Limited, Limits, RateLimit};
use crate::Store;
use crate::key::RequestMatcher;
use crate::policy::Quota;

/// Limits how many requests each caller may make. See the [module](super) for an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) limits: Choice,
    pub(super) fallback: Fallback,
    pub(super) fields: Fields,
    pub(super) legacy_fields: bool,
    pub(super) tells_handlers: bool,
    pub(super) refuse_with: Option<Arc<RefuseWith>>,
    pub(super) allowed: Option<Arc<dyn RequestMatcher>>,
    pub(super) blocked: Option<Arc<dyn RequestMatcher>>,
    pub(super) store: Option<Store>,
}

impl RateLimitLayer {
    /// A limit of this name and quota for each key: [`RateLimitLayer::all`] of one
    /// [`Limit::new`].
    ///
    /// # Panics
    /// As [`Limit::new`].
    pub fn new(name: &str, quota: Quota, key: impl KeyExtractor) -> RateLimitLayer {
        RateLimitLayer::all(Limit::new(name, quota, key))
    }

    /// Several limits in one decision: ten a second and a thousand an hour, by address and by user.
    /// When one refuses, none is charged; the answer names every one that is used up. One command
    /// and one round trip on Redis, whatever their number; on a cluster, one for each subject, all
    /// at the same time.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{Limit, PeerIp, Quota, RateLimitLayer};
    ///
    /// let layer = RateLimitLayer::all([
    ///     Limit::new("second", Quota::per_second(10), PeerIp),
    ///     Limit::new("hour", Quota::per_hour(1_000), PeerIp),
    /// ]);
    /// ```
    ///
    /// # Panics
    /// When two limits have one name.
    pub fn all(limits: impl Into<Limits>) -> RateLimitLayer {
        RateLimitLayer::with_choice(Choice::All(limits.into()))
    }

    /// Limits that are chosen for each request: by route ([`RouteLimits`](super::RouteLimits)), by
    /// what its caller has paid for (a closure), or changed while the service runs
    /// ([`LiveLimits`](super::LiveLimits)).
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{Header, Limit, Quota, RateLimitLayer};
    ///
    /// let limit = |name, quota| Limit::new(name, quota, Header::new("x-api-key"));
    /// let free = limit("free", Quota::per_minute(10));
    /// let paid = limit("paid", Quota::per_minute(1_000));
    /// let layer = RateLimitLayer::by(move |head: &http::request::Parts| {
    ///     let has_paid = head.headers.get("x-plan").is_some_and(|plan| plan == "paid");
    ///     Some(if has_paid { paid.clone() } else { free.clone() })
    /// });
    /// ```
    pub fn by(choose: impl ChooseLimits) -> RateLimitLayer {
        RateLimitLayer::with_choice(Choice::By(Arc::new(choose)))
    }

    fn with_choice(limits: Choice) -> RateLimitLayer {
        RateLimitLayer {
            settings: Arc::new(Settings {
                limits,
                fallback: Fallback::default(),
                fields: Fields::default(),
                legacy_fields: false,
                tells_handlers: false,
                refuse_with: None,
                allowed: None,
                blocked: None,
                store: None,
            }),
        }
    }

    /// What to do while the store cannot answer. [`Fallback::Local`] unless set.
    pub fn fallback(self, fallback: Fallback) -> RateLimitLayer {
        self.with(|settings| settings.fallback = fallback)
    }

    /// How clients are told what remains. [`Fields::default`] unless set.
    pub fn fields(self, fields: Fields) -> RateLimitLayer {
        self.with(|settings| settings.fields = fields)
    }

    /// Tells clients by `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` as
    /// well.
    ///
    /// They are of one limit: that with the least remaining and, of these, the latest reset, also
    /// of layers inside of this one. The reset is a number of seconds from now, and no time of day
    /// as some services send: until the whole quota is there again or, when refused, until the
    /// request may be repeated.
    pub fn legacy_fields(self) -> RateLimitLayer {
        self.with(|settings| settings.legacy_fields = true)
    }

    /// Tells handlers as well, by the extractor [`Allowances`](super::Allowances): for a page that
    /// says how many are left, or a service that does less for who has used up nearly all.
    ///
    /// ```
    /// use axum::{Router, body::Body, routing::get};
    /// use http::Request;
    /// use http_body_util::BodyExt;
    /// use tower::ServiceExt;
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::{Allowances, Header, Quota, RateLimitLayer};
    ///
    /// async fn search(allowances: Allowances) -> String {
    ///     let left = allowances.get("search").map_or(0, |search| search.remaining());
    ///     format!("{left} of {} left", allowances.capacity("search").unwrap_or(0))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = RateLimitLayer::new("search", Quota::per_day(20), Header::new("x-api-key"))
    ///     .allowances()
    ///     .with_store(Store::memory());
    /// let app = Router::new().route("/", get(search)).layer(layer);
    /// let request = Request::get("/").header("x-api-key", "k").body(Body::empty()).unwrap();
    /// let response = app.oneshot(request).await.unwrap();
    /// assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "19 of 20 left");
    /// # }
    /// ```
    pub fn allowances(self) -> RateLimitLayer {
        self.with(|settings| settings.tells_handlers = true)
    }

    /// The response to a request that is limited, by the reason and the request's head, in the place
    /// of the problem document: not to one that is [blocked](RateLimitLayer::block), has no key, or
    /// comes while the store is away. The fields are added to it, and `Retry-After` unless it has
    /// one that is no earlier, in seconds.
    ///
    /// ```
    /// use http::header::ACCEPT;
    /// use http::request::Parts;
    /// use http::{Response, StatusCode};
    /// use tower_redis_kit::rate_limit::{Limited, PeerIp, Quota, RateLimitLayer};
    ///
    /// let layer = RateLimitLayer::new("api", Quota::per_second(10), PeerIp)
    ///     .refuse_with(|limited: &Limited, head: &Parts| {
    ///         let wants_page = head.headers.get(ACCEPT).is_some_and(|it| it == "text/html");
    ///         let words = if wants_page { "<h1>Slow down</h1>".into() } else { limited.to_string() };
    ///         let mut response = Response::new(words.into());
    ///         *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    ///         response
    ///     });
    /// ```
    pub fn refuse_with(
        self,
        response: impl Fn(&Limited, &Parts) -> Response<Bytes> + Send + Sync + 'static,
    ) -> RateLimitLayer {
        self.with(|settings| settings.refuse_with = Some(Arc::new(response)))
    }

    /// Requests that meet no limit: the health checks of a load balancer, an office's address.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{PeerIp, Quota, RateLimitLayer};
    ///
    /// let layer = RateLimitLayer::new("api", Quota::per_second(10), PeerIp)
    ///     .allow(|head: &http::request::Parts| head.uri.path() == "/health");
    /// ```
    pub fn allow(self, requests: impl RequestMatcher) -> RateLimitLayer {
        self.with(|settings| settings.allowed = Some(Arc::new(requests)))
    }

    /// Requests that are answered with 403, whatever their number, with
    /// [`Blocked`](super::Blocked) in the response's extensions. The store is not asked. Who is
    /// allowed is not blocked.
    pub fn block(self, requests: impl RequestMatcher) -> RateLimitLayer {
        self.with(|settings| settings.blocked = Some(Arc::new(requests)))
    }

    /// Counts in this store instead of the request's.
    pub fn with_store(self, store: Store) -> RateLimitLayer {
        self.with(|settings| settings.store = Some(store))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> RateLimitLayer {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, self.settings.clone())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("fallback", &self.fallback)
            .field("fields", &self.fields)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
