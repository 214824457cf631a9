use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::{Portable, Store, StoreError};

/// An answer on its way. The in-process store's is there at once; only the network's is boxed.
pub(crate) enum Asking<A> {
    Answered(Option<Result<A, StoreError>>),
    Network(Pin<Box<dyn Future<Output = Result<A, StoreError>> + Send>>),
}

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
    /// Asks, and waits for no answer: what nobody is there for any more. It ends before the store does.
    pub(crate) fn tell<V: Portable>(&self, verb: V) {
        self.finish(self.ask(verb), |answer| {
            if let Err(error) = answer {
                tracing::debug!(%error, "what was told to the store was not done");
            }
        });
    }

    /// Waits for an answer in the place of whoever asked. It ends before the store does.
    #[expect(clippy::disallowed_methods, reason = "whoever asked has gone")]
    pub(crate) fn finish<A: Send + 'static>(
        &self,
        asking: Asking<A>,
        then: impl FnOnce(Result<A, StoreError>) + Send + 'static,
    ) {
        let asking = match asking {
            Asking::Answered(answer) => {
                if let Some(answer) = answer {
                    then(answer);
                }
                return;
            }
            Asking::Network(asking) => asking,
        };
        // Outside of a runtime, as when that ends, there is no connection either.
        let Ok(runtime) = Handle::try_current() else { return };
        let running = self.run();
        runtime.spawn(async move {
            then(asking.await);
            drop(running);
        });
    }
}
