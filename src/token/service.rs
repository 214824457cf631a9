use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::layer::{Plan, Refused, Settings};
use super::{ResponseFuture, Verifier};
use crate::refusal::{refusal, unavailable};
use crate::store::Asking;

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
        let settings = &self.settings;
        let plan = settings.plan(&mut head);
        let request = Request::from_parts(head, body);
        match plan {
            Err(refused) => ResponseFuture::refused(refused.response(settings)),
            Ok(Plan::Pass) => ResponseFuture::calling(self.inner.call(request)),
            Ok(Plan::Check(store, token)) => match store.ask(token.check()) {
                Asking::Answered(Some(answer)) => match settings.apply(&token, answer) {
                    Ok(()) => ResponseFuture::calling(self.inner.call(request)),
                    Err(refused) => ResponseFuture::refused(refused.response(settings)),
                },
                asking => {
                    // The service that was polled ready goes into the future; its clone, which
                    // was not, stays to be polled.
                    let clone = self.inner.clone();
                    let ready = mem::replace(&mut self.inner, clone);
                    ResponseFuture::asking(settings.clone(), asking, token, ready, request)
                }
            },
        }
    }
}

impl Refused {
    pub(super) fn response<B: Default, V>(self, settings: &Settings<V>) -> Response<B> {
        match self {
            Refused::Unauthorized(reason) => reason.response(settings.realm.as_deref()),
            Refused::Unavailable(error) => unavailable(error),
            Refused::Miswired(missing) => refusal(StatusCode::INTERNAL_SERVER_ERROR, missing),
        }
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
