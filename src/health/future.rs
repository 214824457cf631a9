use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use super::PageBody;

/// The response of [`Details`](super::Details).
pub struct ResponseFuture {
    state: State,
}

enum State {
    /// Boxed: a page is asked for a few times a second at most.
    Answering(Pin<Box<dyn Future<Output = Response<PageBody>> + Send>>),
    Done(Option<Response<PageBody>>),
}

impl ResponseFuture {
    pub(super) fn answering(
        answer: impl Future<Output = Response<PageBody>> + Send + 'static,
    ) -> ResponseFuture {
        ResponseFuture { state: State::Answering(Box::pin(answer)) }
    }

    pub(super) fn done(response: Response<PageBody>) -> ResponseFuture {
        ResponseFuture { state: State::Done(Some(response)) }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<PageBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().state {
            State::Answering(answer) => answer.as_mut().poll(cx).map(Ok),
            State::Done(response) => {
                Poll::Ready(Ok(response.take().expect("polled after it was ready")))
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
