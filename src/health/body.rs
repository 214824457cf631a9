use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a page's answer: JSON, or nothing.
///
/// ```
/// use http_body::Body;
/// use tower_redis_kit::health::PageBody;
///
/// assert!(PageBody::default().is_end_stream());
/// ```
#[derive(Clone, Debug, Default)]
pub struct PageBody {
    bytes: Bytes,
}

impl PageBody {
    pub(super) fn new(bytes: Bytes) -> PageBody {
        PageBody { bytes }
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
