use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use tower_service::Service;

use super::readings::Readings;
use super::report::Report;
use super::{Contents, PageBody, ResponseFuture, Status, answer};
use crate::Store;
use crate::policy::monitoring::{Demands, assess};

/// A page about one store: how it is doing, and what somebody should do about it.
///
/// The server is asked once a second at most, however many look: one `INFO` for a flood of
/// requests. A reading is the newest there is, with its age; while the server is away, the last one
/// that there was. Rates are of the time since the reading before.
///
/// The page's `status` is `ok`, `warning`, `critical` or `down`: see [`Status`]. Each of its
/// `findings` is a [`Finding`](super::Finding), whose text names what to do. The response is 503
/// while the store is down, and 200 otherwise: what is only critical still works.
///
/// ```
/// use http::{Request, StatusCode};
/// use http_body_util::BodyExt;
/// use tower::ServiceExt;
/// use tower_redis_kit::Store;
/// use tower_redis_kit::health::Details;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let details = Details::new(Store::memory());
/// let response = details.oneshot(Request::new(())).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// let page = response.into_body().collect().await?.to_bytes();
/// let page: serde_json::Value = serde_json::from_slice(&page)?;
/// assert_eq!(page["status"], "ok");
/// assert_eq!(page["store"]["up"], true);
/// assert_eq!(page["reading"]["software"], "in_process");
/// assert_eq!(page["reading"]["memory"]["limit"], "256.00 MiB");
/// # Ok(()) }
/// ```
///
/// # Access lists
/// It needs `INFO` and `PING`; a user that may not is answered 200, with a finding in the place of
/// the details. `CONFIG GET save` tells whether snapshots are due; it is tried once a connection,
/// and where it is refused that is judged by what comes of it.
///
/// # Cancel safety
/// A client that leaves makes nobody ask more often.
#[derive(Clone)]
#[must_use]
pub struct Details {
    store: Store,
    demands: Demands,
    readings: Arc<Readings>,
}

impl Details {
    /// A page about `store`, which is taken to hold what must not be forgotten.
    pub fn new(store: Store) -> Details {
        Details { store, demands: Demands::default(), readings: Arc::default() }
    }

    /// What the store holds, by which eviction and persistence are judged. [`Contents::Lasting`]
    /// unless set.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::health::{Contents, Details};
    ///
    /// // Nothing but a response cache: a server that evicts is just right for it.
    /// let details = Details::new(Store::memory()).contents(Contents::Disposable);
    /// assert!(format!("{details:?}").contains("Disposable"));
    /// ```
    pub fn contents(mut self, contents: Contents) -> Details {
        self.demands.contents = contents;
        self
    }

    /// The share of looked-up keys that should be there, from 0 to 1; fewer is a warning, once there
    /// were 1,000 look-ups between two readings. 0.5 unless set, and 0 for no such warning: where
    /// most look-ups are checks of tokens, or limits of callers who come once, missing is usual.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::health::Details;
    ///
    /// let details = Details::new(Store::memory()).min_hit_rate(0.9);
    /// assert!(format!("{details:?}").contains("0.9"));
    /// ```
    ///
    /// # Panics
    /// When it is no number from 0 to 1.
    pub fn min_hit_rate(mut self, share: f64) -> Details {
        assert!((0.0..=1.0).contains(&share), "a hit rate is from 0 to 1 (got {share})");
        self.demands.min_hit_rate = share;
        self
    }

    async fn answer(self, method: Method) -> Response<PageBody> {
        let (health, latest) = self.readings.latest(&self.store, &self.demands).await;
        let findings = assess(&latest.observed(&health), &self.demands);
        let status = match Status::of(&findings) {
            Status::Down => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        answer::page(&method, status, &Report::new(&health, &latest, &findings))
    }
}

impl<B> Service<Request<B>> for Details {
    type Response = Response<PageBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let method = request.method();
        match answer::refuse(method) {
            Some(refusal) => ResponseFuture::done(refusal),
            None => ResponseFuture::answering(self.clone().answer(method.clone())),
        }
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Details")
            .field("store", &self.store)
            .field("demands", &self.demands)
            .finish_non_exhaustive()
    }
}
