use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::StoreError;

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
