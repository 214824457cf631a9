//! What the layers that ask before they call have in common: one question to the store, and then
//! either the inner service or a refusal.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::store::verbs::Verb;
use crate::store::{Asking, Portable};
use crate::{Store, StoreError};

/// One request at a layer that asks before it calls.
pub(crate) trait Gate {
    type Verb: Portable;
    type Refusal;

    /// The *apply* step: whether the store's answer lets the request pass.
    fn open(
        &mut self,
        answer: Result<<Self::Verb as Verb>::Answer, StoreError>,
    ) -> Result<(), Self::Refusal>;

    /// The response to a request that may not pass.
    fn refuse<B: Default>(&self, refusal: Self::Refusal) -> Response<B>;

    /// The response to one that did, on its way out.
    fn leave<B>(&self, _response: &mut Response<B>) {}
}

/// What a request needs to know before it may pass: the outcome of a layer's *plan* step.
pub(crate) enum Plan<V> {
    /// Nothing: it is none of the layer's business.
    Pass,
    Ask(Store, V),
}

pin_project! {
    pub(crate) struct Gated<S, ReqBody, ResBody, G>
    where
        S: Service<Request<ReqBody>>,
        G: Gate,
    {
        gate: G,
        #[pin]
        state: State<S, S::Future, ReqBody, ResBody, <G::Verb as Verb>::Answer>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, ReqBody, ResBody, A> {
        Asking { asking: Asking<A>, call: Option<(S, Request<ReqBody>)> },
        Calling { #[pin] future: F },
        Refused { response: Option<Response<ResBody>> },
    }
}

impl<S, ReqBody, ResBody, G> Gated<S, ReqBody, ResBody, G>
where
    S: Service<Request<ReqBody>> + Clone,
    ResBody: Default,
    G: Gate,
{
    /// Calls `inner` when the gate opens: at once where nothing has to be waited for.
    pub(crate) fn call(
        inner: &mut S,
        request: Request<ReqBody>,
        mut gate: G,
        plan: Result<Plan<G::Verb>, G::Refusal>,
    ) -> Self {
        let opened = match plan {
            Err(refusal) => Err(refusal),
            Ok(Plan::Pass) => Ok(()),
            Ok(Plan::Ask(store, verb)) => match store.ask(verb) {
                Asking::Answered(Some(answer)) => gate.open(answer),
                asking => {
                    // The service that was polled ready goes into the future; its clone, which
                    // was not, stays to be polled.
                    let clone = inner.clone();
                    let ready = mem::replace(inner, clone);
                    let state = State::Asking { asking, call: Some((ready, request)) };
                    return Gated { gate, state };
                }
            },
        };
        let state = match opened {
            Ok(()) => State::Calling { future: inner.call(request) },
            Err(refusal) => {
                // Whatever the inner service had reserved when it was polled ready is given back.
                let clone = inner.clone();
                drop(mem::replace(inner, clone));
                State::Refused { response: Some(gate.refuse(refusal)) }
            }
        };
        Gated { gate, state }
    }
}

impl<S, ReqBody, ResBody, G> Future for Gated<S, ReqBody, ResBody, G>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
    G: Gate,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Asking { asking, call } => {
                    let answer = ready!(Pin::new(asking).poll(cx));
                    let (mut service, request) = call.take().expect("called once");
                    match this.gate.open(answer) {
                        Ok(()) => State::Calling { future: service.call(request) },
                        Err(refusal) => {
                            State::Refused { response: Some(this.gate.refuse(refusal)) }
                        }
                    }
                }
                StateProj::Calling { future } => {
                    let mut response = ready!(future.poll(cx))?;
                    this.gate.leave(&mut response);
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
