use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::Verifier;
use super::gate::TokenGate;
use crate::gate::Gated;

pin_project! {
    /// The response of a [`CheckToken`](super::CheckToken) service.
    pub struct ResponseFuture<S, V, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
        V: Verifier,
        ResBody: Default,
    {
        #[pin]
        gated: Gated<S, ReqBody, ResBody, TokenGate<V>>,
    }
}

impl<S, V, ReqBody, ResBody> ResponseFuture<S, V, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    V: Verifier,
    ResBody: Default,
{
    pub(super) fn new(gated: Gated<S, ReqBody, ResBody, TokenGate<V>>) -> Self {
        ResponseFuture { gated }
    }
}

impl<S, V, ReqBody, ResBody> Future for ResponseFuture<S, V, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
    V: Verifier,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().gated.poll(cx)
    }
}

impl<S, V, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, V, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    V: Verifier,
    ResBody: Default,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
