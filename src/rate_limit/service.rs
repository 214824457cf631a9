use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::layer::{Miswired, Plan, Settings, Verdict};
use super::{Limited, ResponseFuture, fields};
use crate::policy::gcra::Decision;
use crate::refusal::{refusal, unavailable};
use crate::store::Asking;

/// The service that [`RateLimitLayer`](super::RateLimitLayer) makes.
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> RateLimit<S> {
        RateLimit { inner, settings }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let plan = self.settings.plan(&head);
        let request = Request::from_parts(head, body);
        let settings = &self.settings;
        match plan {
            Err(miswired) => ResponseFuture::refused(settings, miswired.response()),
            Ok(Plan::Pass) => ResponseFuture::calling(settings, self.inner.call(request), None),
            Ok(Plan::Ask(store, take)) => match store.ask(take.clone()) {
                Asking::Answered(Some(answer)) => match settings.apply(&take, answer).pass() {
                    Ok(decision) => {
                        ResponseFuture::calling(settings, self.inner.call(request), decision)
                    }
                    Err(refused) => ResponseFuture::refused(settings, refused.response(settings)),
                },
                asking => {
                    // The service that was polled ready goes into the future; its clone, which
                    // was not, stays to be polled.
                    let clone = self.inner.clone();
                    let ready = mem::replace(&mut self.inner, clone);
                    ResponseFuture::asking(settings, asking, take, ready, request)
                }
            },
        }
    }
}

/// Why the handler is not called.
pub(super) enum Refused {
    Limited(Decision),
    Unavailable(crate::StoreError),
}

impl Verdict {
    /// The decision to report, if there was one, or why not to pass.
    pub(super) fn pass(self) -> Result<Option<Decision>, Refused> {
        match self {
            Verdict::Decided(decision) if decision.allowed => Ok(Some(decision)),
            Verdict::Decided(decision) => Err(Refused::Limited(decision)),
            Verdict::Pass => Ok(None),
            Verdict::Unavailable(error) => Err(Refused::Unavailable(error)),
        }
    }
}

impl Refused {
    pub(super) fn response<B: Default>(self, settings: &Settings) -> Response<B> {
        let decision = match self {
            Refused::Limited(decision) => decision,
            Refused::Unavailable(error) => return unavailable(error),
        };
        let retry_after = decision.retry_after;
        let reason = Limited { limit: settings.name.clone(), retry_after };
        let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, reason);
        let headers = response.headers_mut();
        fields::append(headers, &settings.name, &settings.policy_field, &decision);
        if let Some(wait) = retry_after {
            fields::retry_after(headers, wait);
        }
        response
    }
}

impl Miswired {
    fn response<B: Default>(self) -> Response<B> {
        match self {
            Miswired::Store(missing) => refusal(StatusCode::INTERNAL_SERVER_ERROR, missing),
            Miswired::Peer(missing) => refusal(StatusCode::INTERNAL_SERVER_ERROR, missing),
        }
    }
}
