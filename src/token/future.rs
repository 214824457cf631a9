use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::Token;
use super::layer::Settings;
use crate::policy::revocation::Revocations;
use crate::store::Asking;

pin_project! {
    /// The response of a [`CheckToken`](super::CheckToken) service.
    pub struct ResponseFuture<S, V, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, S::Future, V, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, V, ReqBody, ResBody> {
        Asking {
            settings: Arc<Settings<V>>,
            asking: Asking<Revocations>,
            token: Token,
            call: Option<(S, Request<ReqBody>)>,
        },
        Calling { #[pin] future: F },
        Refused { response: Option<Response<ResBody>> },
    }
}

impl<S, V, ReqBody, ResBody> ResponseFuture<S, V, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn asking(
        settings: Arc<Settings<V>>,
        asking: Asking<Revocations>,
        token: Token,
        service: S,
        request: Request<ReqBody>,
    ) -> Self {
        let call = Some((service, request));
        ResponseFuture { state: State::Asking { settings, asking, token, call } }
    }

    pub(super) fn calling(future: S::Future) -> Self {
        ResponseFuture { state: State::Calling { future } }
    }

    pub(super) fn refused(response: Response<ResBody>) -> Self {
        ResponseFuture { state: State::Refused { response: Some(response) } }
    }
}

impl<S, V, ReqBody, ResBody> Future for ResponseFuture<S, V, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Asking { settings, asking, token, call } => {
                    let answer = ready!(Pin::new(asking).poll(cx));
                    let (mut service, request) = call.take().expect("called once");
                    match settings.apply(token, answer) {
                        Ok(()) => State::Calling { future: service.call(request) },
                        Err(refused) => {
                            State::Refused { response: Some(refused.response(settings)) }
                        }
                    }
                }
                StateProj::Calling { future } => return future.poll(cx),
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after it was ready")));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, V, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, V, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
