use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response};
use tower_layer::Layer;

use super::ConcurrencyLimit;
use crate::Store;
use crate::key::RequestMatcher;
use crate::rate_limit::answer::Documents;
use crate::rate_limit::refusal::RefuseWith;
use crate::rate_limit::{Fallback, Fields, KeyExtractor, Limited, Unit, WithoutKey, fields};
use crate::store::verbs::{Semaphore, check_limit_name};

/// Limits how many requests of each caller may be under way at the same time. See the
/// [module](super) for an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConcurrencyLimitLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) semaphore: Arc<Semaphore>,
    pub(super) key: Arc<dyn KeyExtractor>,
    pub(super) without_key: WithoutKey,
    pub(super) is_shadow: bool,
    pub(super) allowed: Option<Arc<dyn RequestMatcher>>,
    pub(super) fallback: Fallback,
    pub(super) fields: Fields,
    pub(super) policy_field: HeaderValue,
    pub(super) documents: Documents,
    pub(super) refuse_with: Option<Arc<RefuseWith>>,
    pub(super) store: Option<Store>,
}

const LEASE: Duration = Duration::from_secs(30);

/// Below that, an ordinary hiccup of the network ends a lease.
const SHORTEST: Duration = Duration::from_millis(100);

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl ConcurrencyLimitLayer {
    /// As many `permits` for each key.
    ///
    /// Limits of the same name share them, also among processes on one Redis. Where these say
    /// different numbers, as during a deployment, each admits by its own.
    ///
    /// # Panics
    /// When `permits` is 0, or `name` is none: as for [`Limit::new`](crate::rate_limit::Limit::new).
    pub fn new(name: &str, permits: u32, key: impl KeyExtractor) -> ConcurrencyLimitLayer {
        check_limit_name(name);
        assert!(permits > 0, "a limit of no request at all lets nobody in");
        ConcurrencyLimitLayer {
            settings: Arc::new(Settings {
                semaphore: Arc::new(Semaphore { name: name.into(), permits, lease: LEASE }),
                key: Arc::new(key),
                without_key: WithoutKey::default(),
                is_shadow: false,
                allowed: None,
                fallback: Fallback::default(),
                fields: Fields::default(),
                policy_field: fields::policy(name, permits, None, Unit::ConcurrentRequests),
                documents: Documents::default(),
                refuse_with: None,
                store: None,
            }),
        }
    }

    /// How long a permit is held after its process's last sign of life. 30 s unless set.
    ///
    /// It is renewed at each third of that. A short time lets others in soon when a process dies; a
    /// long one survives a longer outage of Redis.
    ///
    /// # Panics
    /// When it is less than 100 ms, or more than a day.
    pub fn lease(self, lease: Duration) -> ConcurrencyLimitLayer {
        assert!(
            (SHORTEST..=LONGEST).contains(&lease),
            "a lease is {SHORTEST:?} to a day (got {lease:?})"
        );
        self.with(|settings| Arc::make_mut(&mut settings.semaphore).lease = lease)
    }

    /// What to do while the store cannot answer. [`Fallback::Local`] unless set.
    pub fn fallback(self, fallback: Fallback) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.fallback = fallback)
    }

    /// How clients are told what remains. [`Fields::default`] unless set; what is older says
    /// nothing.
    pub fn fields(self, fields: Fields) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.fields = fields)
    }

    /// The response to a request that is refused, in the place of the problem document: as for
    /// [rate limits](crate::rate_limit::RateLimitLayer::refuse_with).
    pub fn refuse_with(
        self,
        response: impl Fn(&Limited, &Parts) -> Response<Bytes> + Send + Sync + 'static,
    ) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.refuse_with = Some(Arc::new(response)))
    }

    /// What becomes of a request without a key. [`WithoutKey::Pass`] unless set.
    pub fn without_key(self, without_key: WithoutKey) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.without_key = without_key)
    }

    /// Counts, but refuses nobody: as a [rate limit's shadow](crate::rate_limit::Limit::shadow). A
    /// request that it would have refused has no permit.
    pub fn shadow(self) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.is_shadow = true)
    }

    /// Requests that need no permit: as for [rate limits](crate::rate_limit::RateLimitLayer::allow).
    pub fn allow(self, requests: impl RequestMatcher) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.allowed = Some(Arc::new(requests)))
    }

    /// Counts in this store instead of the request's.
    pub fn with_store(self, store: Store) -> ConcurrencyLimitLayer {
        self.with(|settings| settings.store = Some(store))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> ConcurrencyLimitLayer {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit::new(inner, self.settings.clone())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("semaphore", &self.semaphore)
            .field("is_shadow", &self.is_shadow)
            .field("fallback", &self.fallback)
            .field("fields", &self.fields)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
