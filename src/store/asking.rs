use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use super::handle::Backend;
use super::keys::Subject;
use super::redis::OnRedis;
use super::verbs::{Lent, Take, Verb};
use super::{Portable, Store, StoreError};
use crate::observe::{self, Call};
use crate::policy::limiting::{Act, Verdict};

/// An answer on its way. The in-process store's is there at once; only the network's is boxed.
pub(crate) enum Asking<A> {
    Answered(Option<Result<A, StoreError>>),
    Network(Pending<A>),
}

type Pending<A> = Pin<Box<dyn Future<Output = Result<A, StoreError>> + Send>>;

/// The answer is never pinned.
impl<A> Unpin for Asking<A> {}

impl<A> Future for Asking<A> {
    type Output = Result<A, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Asking::Answered(answer) => {
                Poll::Ready(answer.take().expect("polled after it was ready"))
            }
            Asking::Network(asking) => asking.as_mut().poll(cx),
        }
    }
}

impl Store {
    /// A verb to its backend.
    pub(crate) fn ask<V: Portable>(&self, verb: V) -> Asking<V::Answer> {
        match &self.shared.backend {
            Backend::Memory(memory) => {
                let answer = verb.on_memory(memory);
                observe::answered(V::NAME, outcome(&answer));
                Asking::Answered(Some(answer))
            }
            Backend::Redis(redis) => {
                let verb = verb.sent();
                if let Some(answer) = verb.known(redis) {
                    observe::answered(V::NAME, "known");
                    return Asking::Answered(Some(Ok(answer)));
                }
                let redis = redis.clone();
                Asking::Network(Box::pin(async move {
                    let call = Call::begin(V::NAME);
                    counted(call, redis.ask(verb).await)
                }))
            }
        }
    }

    /// What is done to one limit alone, where that takes no waiting: in process, and by what this
    /// process knows. Nothing is put together for it that travels. `then` makes of the verdict what
    /// is wanted, where it will be; it runs under a lock, so it must not call anybody.
    #[inline]
    pub(crate) fn judge<T>(
        &self,
        act: Act,
        rule: Lent<'_>,
        subject: &Subject,
        cost: u32,
        then: impl FnOnce(Verdict) -> T,
    ) -> Option<Result<T, StoreError>> {
        match &self.shared.backend {
            Backend::Memory(memory) => {
                let verdict = memory.judge(act, rule, subject, cost, then);
                observe::answered(<Take>::NAME, outcome(&verdict));
                Some(verdict)
            }
            Backend::Redis(redis) => {
                let verdict = redis.judge(act, rule, subject, cost)?;
                observe::answered(<Take>::NAME, "known");
                Some(Ok(then(verdict)))
            }
        }
    }

    /// Asks, and waits for no answer: what nobody is there for any more. It ends before the store
    /// does.
    pub(crate) fn tell<V: Portable>(&self, verb: V) {
        self.finish(self.ask(verb), |answer| {
            if let Err(error) = answer {
                tracing::debug!(%error, "what was told to the store was not done");
            }
        });
    }

    /// Waits for an answer in the place of whoever asked. It ends before the store does.
    pub(crate) fn finish<A: Send + 'static>(
        &self,
        asking: Asking<A>,
        then: impl FnOnce(Result<A, StoreError>) + Send + 'static,
    ) {
        let answer = match asking {
            Asking::Answered(answer) => answer,
            Asking::Network(mut asking) => match self.begin(&mut asking) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => {
                    let running = self.run();
                    self.spawn(async move {
                        then(asking.await);
                        drop(running);
                    });
                    return;
                }
            },
        };
        if let Some(answer) = answer {
            then(answer);
        }
    }

    /// Sends a question now, and not when a task comes to it: what its caller asks next, or who
    /// hears from the caller, must not overtake it.
    fn begin<A>(&self, asking: &mut Pending<A>) -> Poll<Result<A, StoreError>> {
        let runtime = self.runtime();
        let _entered = runtime.as_ref().map(Handle::enter);
        asking.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// The answer to a call, which is over by then.
pub(super) fn counted<A>(call: Call, answer: Result<A, StoreError>) -> Result<A, StoreError> {
    call.end(outcome(&answer));
    answer
}

/// What an answer is counted as.
fn outcome<A>(answer: &Result<A, StoreError>) -> &'static str {
    answer.as_ref().map_or_else(StoreError::class, |_| "ok")
}
