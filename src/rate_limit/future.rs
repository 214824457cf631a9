use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::fields;
use super::layer::Settings;
use crate::policy::gcra::{Decision, Taken};
use crate::store::Asking;
use crate::store::verbs::Take;

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit) service.
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        settings: Arc<Settings>,
        #[pin]
        state: State<S, S::Future, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, ReqBody, ResBody> {
        Asking { asking: Asking<Taken>, take: Take, call: Option<(S, Request<ReqBody>)> },
        Calling { #[pin] future: F, decision: Option<Decision> },
        Refused { response: Option<Response<ResBody>> },
    }
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn asking(
        settings: &Arc<Settings>,
        asking: Asking<Taken>,
        take: Take,
        service: S,
        request: Request<ReqBody>,
    ) -> Self {
        let call = Some((service, request));
        ResponseFuture { settings: settings.clone(), state: State::Asking { asking, take, call } }
    }

    pub(super) fn calling(
        settings: &Arc<Settings>,
        future: S::Future,
        decision: Option<Decision>,
    ) -> Self {
        ResponseFuture { settings: settings.clone(), state: State::Calling { future, decision } }
    }

    pub(super) fn refused(settings: &Arc<Settings>, response: Response<ResBody>) -> Self {
        let response = Some(response);
        ResponseFuture { settings: settings.clone(), state: State::Refused { response } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Asking { asking, take, call } => {
                    let answer = ready!(Pin::new(asking).poll(cx));
                    let (mut service, request) = call.take().expect("called once");
                    match this.settings.apply(take, answer).pass() {
                        Ok(decision) => State::Calling { future: service.call(request), decision },
                        Err(refused) => {
                            State::Refused { response: Some(refused.response(this.settings)) }
                        }
                    }
                }
                StateProj::Calling { future, decision } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(decision) = decision {
                        let Settings { name, policy_field, .. } = &**this.settings;
                        fields::append(response.headers_mut(), name, policy_field, decision);
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after it was ready")));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
