use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use serde::Serialize;
use tower_service::Service;

use super::report::StoreState;
use super::{PageBody, answer};
use crate::Store;

/// A page that says whether this process should be sent requests: 503 while a store is away that
/// its routes need.
///
/// It asks the stores what they know of themselves and no server, so it answers in microseconds,
/// also while Redis hangs. A store notices a hanging server after three missed deadlines in a row,
/// of calls or of the heartbeat that there is every few seconds anyway.
///
/// ```
/// use http::{Request, StatusCode};
/// use tower::ServiceExt;
/// use tower_redis_kit::Store;
/// use tower_redis_kit::health::Readiness;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, away) = (Store::memory(), Store::connect_lazy("redis://127.0.0.1:1")?);
///
/// // Routes go on without a cache.
/// let ready = Readiness::new().needs("sessions", here.clone()).uses("cache", away.clone());
/// assert_eq!(ready.oneshot(Request::new(())).await?.status(), StatusCode::OK);
///
/// let unready = Readiness::new().needs("sessions", away).uses("cache", here);
/// let response = unready.oneshot(Request::new(())).await?;
/// assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
/// assert_eq!(response.headers()["retry-after"], "1");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Readiness {
    stores: Arc<Vec<Named>>,
}

#[derive(Clone, Debug)]
struct Named {
    name: Box<str>,
    store: Store,
    is_needed: bool,
}

#[derive(Serialize)]
struct Page<'a> {
    status: &'static str,
    stores: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    needed: bool,
    #[serde(flatten)]
    state: StoreState,
}

impl Readiness {
    /// A page that is ready until something is needed.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// A store without which routes cannot do their work: while it is away the page says 503.
    pub fn needs(self, name: &str, store: Store) -> Readiness {
        self.with(name, store, true)
    }

    /// A store that routes go on without: it is on the page, and never makes it 503.
    pub fn uses(self, name: &str, store: Store) -> Readiness {
        self.with(name, store, false)
    }

    fn with(mut self, name: &str, store: Store, is_needed: bool) -> Readiness {
        Arc::make_mut(&mut self.stores).push(Named { name: name.into(), store, is_needed });
        self
    }

    fn page(&self) -> (StatusCode, Page<'_>) {
        let mut is_ready = true;
        let mut stores = Vec::with_capacity(self.stores.len());
        for Named { name, store, is_needed } in &*self.stores {
            let health = store.health();
            is_ready &= health.is_up() || !is_needed;
            stores.push(Entry { name, needed: *is_needed, state: StoreState::of(&health) });
        }
        match is_ready {
            true => (StatusCode::OK, Page { status: "ready", stores }),
            false => (StatusCode::SERVICE_UNAVAILABLE, Page { status: "unready", stores }),
        }
    }
}

impl<B> Service<Request<B>> for Readiness {
    type Response = Response<PageBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<PageBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.method();
        ready(Ok(answer::refuse(method).unwrap_or_else(|| {
            let (status, page) = self.page();
            answer::page(method, status, &page)
        })))
    }
}
