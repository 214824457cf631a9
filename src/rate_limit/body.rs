use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::concurrency::Occupied;
use super::settle::Settlement;

pin_project! {
    /// The body of a response that passed a limit, or of a refusal.
    ///
    /// # Cancel safety
    /// A body that is dropped before its end stays charged for as its request was: see
    /// [`Limit::settle`](super::Limit::settle).
    pub struct LimitBody<B> {
        #[pin]
        content: Content<B>,
        tail: Tail,
    }
}

/// What waits for the end of a response.
pub(super) enum Tail {
    Nothing,
    /// Settles when it is dropped.
    Settlement(Box<Settlement>),
    /// Ends with the last of the content.
    Occupied(Box<Occupied>),
}

impl Tail {
    fn begin(&mut self) {
        if let Tail::Settlement(settlement) = self {
            settlement.begin();
        }
    }

    fn count(&mut self, bytes: usize) {
        if let Tail::Settlement(settlement) = self {
            settlement.count(bytes);
        }
    }

    fn end(&mut self) {
        if let Tail::Settlement(settlement) = self {
            settlement.end();
        }
        self.let_go();
    }

    /// Nothing more will come.
    fn let_go(&mut self) {
        match mem::replace(self, Tail::Nothing) {
            Tail::Occupied(occupied) => drop(occupied),
            tail => *self = tail,
        }
    }
}

pin_project! {
    #[project = ContentProj]
    enum Content<B> {
        Inner { #[pin] body: B },
        Own { bytes: Option<Bytes> },
    }
}

impl<B> LimitBody<B> {
    pub(super) fn new(body: B, tail: Tail) -> LimitBody<B> {
        LimitBody { content: Content::Inner { body }, tail }
    }

    pub(super) fn own(bytes: Bytes) -> LimitBody<B> {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        LimitBody { content: Content::Own { bytes }, tail: Tail::Nothing }
    }
}

impl<B: Body> Body for LimitBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let mut body = match this.content.project() {
            ContentProj::Own { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            ContentProj::Inner { body } => body,
        };
        this.tail.begin();
        let frame = ready!(body.as_mut().poll_frame(cx));
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(to_bytes)));
        match &frame {
            Some(Ok(frame)) => {
                this.tail.count(frame.data_ref().map_or(0, Bytes::len));
                if body.is_end_stream() {
                    this.tail.end();
                }
            }
            Some(Err(_)) => this.tail.let_go(),
            None => this.tail.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own { bytes } => bytes.is_none(),
            Content::Inner { body } => {
                let is_over = body.is_end_stream();
                if let (true, Tail::Settlement(settlement)) = (is_over, &self.tail) {
                    settlement.note_empty();
                }
                is_over
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Inner { body } => body.size_hint(),
        }
    }
}

/// Empty, where the inner body is when it is made like this.
impl<B: Default> Default for LimitBody<B> {
    fn default() -> LimitBody<B> {
        LimitBody::new(B::default(), Tail::Nothing)
    }
}

/// Never its content.
impl<B> fmt::Debug for LimitBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitBody").finish_non_exhaustive()
    }
}

/// No copy where the data is `Bytes` already.
fn to_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
