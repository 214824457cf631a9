use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::gate::TokenGate;
use super::layer::Settings;
use super::{ResponseFuture, Verifier};
use crate::gate::Gated;

/// The service that [`RevocationLayer`](super::RevocationLayer) makes.
pub struct CheckToken<S, V> {
    inner: S,
    settings: Arc<Settings<V>>,
}

impl<S, V> CheckToken<S, V> {
    pub(super) fn new(inner: S, settings: Arc<Settings<V>>) -> CheckToken<S, V> {
        CheckToken { inner, settings }
    }
}

impl<S, V, ReqBody, ResBody> Service<Request<ReqBody>> for CheckToken<S, V>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    V: Verifier,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S, V, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let mut gate = TokenGate::new(self.settings.clone());
        let plan = gate.plan(&mut head);
        ResponseFuture::new(Gated::call(&mut self.inner, (head, body), gate, plan))
    }
}

/// Derived, it would ask the verifier to be `Clone`.
impl<S: Clone, V> Clone for CheckToken<S, V> {
    fn clone(&self) -> CheckToken<S, V> {
        CheckToken { inner: self.inner.clone(), settings: self.settings.clone() }
    }
}

impl<S: fmt::Debug, V> fmt::Debug for CheckToken<S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckToken")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}
