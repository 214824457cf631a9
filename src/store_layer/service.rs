use std::task::{Context, Poll};

use http::request::Parts;
use http::{Extensions, Request, Uri};
use tower_service::Service;

use super::MissingStore;
use crate::Store;

/// The service that [`StoreLayer`](super::StoreLayer) makes.
#[derive(Clone, Debug)]
pub struct ProvideStore<S> {
    inner: S,
    store: Store,
}

impl<S> ProvideStore<S> {
    pub(super) fn new(inner: S, store: Store) -> ProvideStore<S> {
        ProvideStore { inner, store }
    }
}

impl<S, ReqBody> Service<Request<ReqBody>> for ProvideStore<S>
where
    S: Service<Request<ReqBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> S::Future {
        let target = request.uri().clone();
        let extensions = request.extensions_mut();
        extensions.get_or_insert_with(|| Target(target));
        extensions.insert(self.store.clone());
        self.inner.call(request)
    }
}

/// The URI that came with the request: a router that nests others cuts its prefix off.
#[derive(Clone, Debug)]
struct Target(Uri);

/// The request's URI as it came, as far out as a [`StoreLayer`](super::StoreLayer) saw it.
pub(crate) fn target(head: &Parts) -> &Uri {
    head.extensions.get::<Target>().map_or(&head.uri, |target| &target.0)
}

/// The store pinned to a layer, or else the request's. Never another one in its place: a store in
/// memory would multiply every limit by the number of processes and miss revocations.
pub(crate) fn find<'a>(
    pinned: Option<&'a Store>,
    extensions: &'a Extensions,
) -> Result<&'a Store, MissingStore> {
    pinned.or_else(|| extensions.get()).ok_or_else(|| {
        tracing::error!("{MissingStore}");
        MissingStore
    })
}
