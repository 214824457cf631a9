use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::layer::Settings;
use super::{ResponseFuture, Session};
use crate::MissingStore;
use crate::personal::Personal;
use crate::refusal::refusal;
use crate::store_layer::find;

/// The service that [`SessionLayer`](super::SessionLayer) makes.
#[derive(Clone, Debug)]
pub struct WithSession<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> WithSession<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> WithSession<S> {
        WithSession { inner, settings }
    }

    /// The request's session, of which nothing is loaded yet.
    fn plan<B>(&self, request: &mut Request<B>) -> Result<Session, MissingStore> {
        let store = find(self.settings.store.as_ref(), request.extensions())?.clone();
        let presented = self.settings.cookie.id(request.headers());
        let personal = Personal::of(request.extensions_mut());
        Ok(Session::new(store, self.settings.clone(), presented, personal))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WithSession<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.plan(&mut request) {
            Ok(session) => {
                request.extensions_mut().insert(session.clone());
                ResponseFuture::calling(self.inner.call(request), session)
            }
            Err(missing) => {
                ResponseFuture::done(refusal(StatusCode::INTERNAL_SERVER_ERROR, missing))
            }
        }
    }
}
