use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::ResponseFuture;
use super::gate::ConcurrencyGate;
use super::layer::Settings;
use crate::gate::Gated;
use crate::rate_limit::LimitBody;

/// The service that [`ConcurrencyLimitLayer`](super::ConcurrencyLimitLayer) makes.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> ConcurrencyLimit<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> ConcurrencyLimit<S> {
        ConcurrencyLimit { inner, settings }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ConcurrencyLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<LimitBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let mut gate = ConcurrencyGate::new(self.settings.clone());
        let plan = gate.plan(&self.settings, &head);
        ResponseFuture::new(Gated::call(&mut self.inner, (head, body), gate, plan))
    }
}
