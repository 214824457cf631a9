use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::layer::Settings;
use super::{Cache, CacheBody, ResponseFuture, key};
use crate::personal::Personal;
use crate::policy::caching::{Lookup, lookup};
use crate::refusal::refusal;
use crate::store::keys::Fingerprint;
use crate::store_layer::find;
use crate::{MissingStore, Store};

/// The service that [`CacheLayer`](super::CacheLayer) makes.
#[derive(Clone, Debug)]
pub struct WithCache<S> {
    inner: S,
    settings: Arc<Settings>,
}

/// What a request asks of the cache, and with what.
pub(super) struct Plan {
    pub(super) lookup: Lookup,
    pub(super) store: Store,
    pub(super) uri: Fingerprint,
    pub(super) settings: Arc<Settings>,
}

impl<S> WithCache<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> WithCache<S> {
        WithCache { inner, settings }
    }

    fn plan(&self, head: &Parts, body: &impl Body) -> Result<Plan, MissingStore> {
        Ok(Plan {
            lookup: lookup(head, !body.is_end_stream()),
            store: find(self.settings.store.as_ref(), &head.extensions)?.clone(),
            uri: key::uri(head),
            settings: self.settings.clone(),
        })
    }
}

impl Plan {
    /// Puts into a request that goes to its handler what the handler may want, and gives back where
    /// it will be marked that the answer is about one person.
    pub(super) fn enter(&self, head: &mut Parts) -> Personal {
        head.extensions.insert(Cache::new(self.store.clone()));
        Personal::of(&mut head.extensions)
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WithCache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let plan = match self.plan(&head, &body) {
            Ok(plan) => plan,
            Err(missing) => {
                let response = refusal::<(), _>(StatusCode::INTERNAL_SERVER_ERROR, missing);
                return ResponseFuture::done(response.map(|()| CacheBody::empty()));
            }
        };
        match plan.lookup {
            Lookup::Bypass | Lookup::Invalidate => {
                plan.enter(&mut head);
                let request = Request::from_parts(head, body);
                ResponseFuture::passing(plan, self.inner.call(request))
            }
            Lookup::Stored | Lookup::Refresh => {
                // The service that was polled ready goes into the future; its clone, which was
                // not, stays to be polled.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::looking(plan, ready, head, body)
            }
        }
    }
}
