//! What the layers that ask before they call have in common: one question to the store, and then
//! either the inner service or a refusal.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::StoreError;
use crate::store::Asking;

/// One request at a layer that asks before it calls.
pub(crate) trait Gate {
    /// What the store says.
    type Answer;
    type Refusal;
    /// What some requests wait for before there is a question.
    type Waited;

    /// The rest of the *plan* step, for a request that had to wait.
    fn resume(&mut self, waited: Self::Waited) -> Planned<Self>;

    /// The *apply* step: whether the store's answer lets the request pass.
    fn open(&mut self, answer: Result<Self::Answer, StoreError>) -> Result<(), Self::Refusal>;

    /// The request passes: what its handler is told.
    fn tell(&self, extensions: &mut Extensions) {
        let _ = extensions;
    }

    /// The request was given up before the answer came: what the question may have done is done.
    fn abandon(&mut self, asking: Asking<Self::Answer>) {
        drop(asking);
    }
}

/// What a gate makes of a response with a body `B`.
pub(crate) trait Respond<B>: Gate {
    type Body;

    /// The response to a request that may not pass.
    fn refuse(&self, refusal: Self::Refusal, head: &mut Parts) -> Response<Self::Body>;

    /// The response to one that did, on its way out.
    fn leave(&mut self, response: Response<B>) -> Response<Self::Body>;
}

/// What a request needs to know before it may pass: the outcome of a layer's *plan* step.
pub(crate) enum Plan<A, W> {
    /// Nothing: it is none of the layer's business.
    Pass,
    Ask(Asking<A>),
    /// Something else first.
    Wait(Pin<Box<dyn Future<Output = W> + Send>>),
}

pub(crate) type Planned<G> =
    Result<Plan<<G as Gate>::Answer, <G as Gate>::Waited>, <G as Gate>::Refusal>;

pin_project! {
    pub(crate) struct Gated<S, ReqBody, B, G>
    where
        S: Service<Request<ReqBody>>,
        G: Gate,
        G: Respond<B>,
    {
        // Before the gate, which may hold what the inner service works under.
        #[pin]
        state: State<
            S,
            S::Future,
            ReqBody,
            Response<<G as Respond<B>>::Body>,
            G::Answer,
            G::Waited,
        >,
        gate: G,
    }

    impl<S, ReqBody, B, G> PinnedDrop for Gated<S, ReqBody, B, G>
    where
        S: Service<Request<ReqBody>>,
        G: Gate,
        G: Respond<B>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let StateProj::Asking { asking, .. } = this.state.project() {
                this.gate.abandon(mem::replace(asking, Asking::Answered(None)));
            }
        }
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, ReqBody, R, A, W> {
        Waiting {
            waiting: Pin<Box<dyn Future<Output = W> + Send>>,
            call: Option<Held<S, ReqBody>>,
        },
        Asking { asking: Asking<A>, call: Option<Held<S, ReqBody>> },
        Calling { #[pin] future: F },
        Refused { response: Option<R> },
    }
}

/// A call that its gate has yet to let through.
struct Held<S, ReqBody> {
    ready: S,
    head: Parts,
    body: ReqBody,
}

/// What comes of a plan without waiting.
enum Step<G: Gate> {
    Call,
    Refuse(G::Refusal),
    Ask(Asking<G::Answer>),
    Wait(Pin<Box<dyn Future<Output = G::Waited> + Send>>),
}

fn step<G: Gate>(gate: &mut G, plan: Planned<G>) -> Step<G> {
    match plan {
        Err(refusal) => Step::Refuse(refusal),
        Ok(Plan::Pass) => Step::Call,
        Ok(Plan::Wait(waiting)) => Step::Wait(waiting),
        Ok(Plan::Ask(Asking::Answered(Some(answer)))) => opened(gate, answer),
        Ok(Plan::Ask(asking)) => Step::Ask(asking),
    }
}

fn opened<G: Gate>(gate: &mut G, answer: Result<G::Answer, StoreError>) -> Step<G> {
    match gate.open(answer) {
        Ok(()) => Step::Call,
        Err(refusal) => Step::Refuse(refusal),
    }
}

impl<S, ReqBody, B, G> Gated<S, ReqBody, B, G>
where
    S: Service<Request<ReqBody>> + Clone,
    G: Respond<B>,
{
    /// Calls `inner` when the gate opens: at once where nothing has to be waited for.
    pub(crate) fn call(
        inner: &mut S,
        (mut head, body): (Parts, ReqBody),
        mut gate: G,
        plan: Planned<G>,
    ) -> Self {
        let step = step(&mut gate, plan);
        if let Step::Call = step {
            gate.tell(&mut head.extensions);
            let future = inner.call(Request::from_parts(head, body));
            return Gated { gate, state: State::Calling { future } };
        }
        // The service that was polled ready goes into the future; its clone, which was not, stays to
        // be polled. After a refusal it is dropped, and gives back whatever it had reserved.
        let clone = inner.clone();
        let ready = mem::replace(inner, clone);
        let state = match step {
            Step::Refuse(refusal) => {
                State::Refused { response: Some(gate.refuse(refusal, &mut head)) }
            }
            Step::Ask(asking) => State::Asking { asking, call: Some(Held { ready, head, body }) },
            Step::Wait(waiting) => {
                State::Waiting { waiting, call: Some(Held { ready, head, body }) }
            }
            Step::Call => unreachable!("returned above"),
        };
        Gated { gate, state }
    }
}

impl<S, ReqBody, B, G> Future for Gated<S, ReqBody, B, G>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    G: Respond<B>,
{
    type Output = Result<Response<G::Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (step, call) = match this.state.as_mut().project() {
                StateProj::Waiting { waiting, call } => {
                    let waited = ready!(waiting.as_mut().poll(cx));
                    let plan = this.gate.resume(waited);
                    (step(this.gate, plan), call.take())
                }
                StateProj::Asking { asking, call } => {
                    let answer = ready!(Pin::new(asking).poll(cx));
                    (opened(this.gate, answer), call.take())
                }
                StateProj::Calling { future } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(this.gate.leave(response)));
                }
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after it was ready")));
                }
            };
            let next = match step {
                Step::Call => {
                    let Held { mut ready, mut head, body } = call.expect("called once");
                    this.gate.tell(&mut head.extensions);
                    State::Calling { future: ready.call(Request::from_parts(head, body)) }
                }
                Step::Refuse(refusal) => {
                    let Held { mut head, .. } = call.expect("refused once");
                    State::Refused { response: Some(this.gate.refuse(refusal, &mut head)) }
                }
                Step::Ask(asking) => State::Asking { asking, call },
                Step::Wait(waiting) => State::Waiting { waiting, call },
            };
            this.state.set(next);
        }
    }
}
