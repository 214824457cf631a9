use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use super::{Portable, Store, StoreError};

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
