use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::Store;
use crate::observe;
use crate::personal::Personal;
use crate::policy::Timestamp;
use crate::policy::caching::StoredResponse;
use crate::store::Asking;
use crate::store::keys::Fingerprint;
use crate::store::verbs::{LastPurge, PURGE_MEMORY, StoreResponse};

pin_project! {
    /// The body of a response that passed the cache: stored, on its way to be, or neither.
    ///
    /// # Cancel safety
    /// A body that is dropped before its end is not stored.
    pub struct CacheBody<B>
    where
        B: Body,
    {
        // The handler's, until it ends; `None` for one from the cache.
        #[pin]
        body: Option<B>,
        // What is kept as it passes, until it is complete or turns out not to be storable.
        recording: Option<Recording>,
        // The last part waits here for the store.
        storing: Option<Asking<bool>>,
        // What comes before anything else of the body.
        ahead: Ahead<B::Error>,
    }
}

/// At most two frames: one that made the body as long as stated, and what came after it all the
/// same. In place, because every hit has one.
struct Ahead<E> {
    first: Option<Result<Frame<Bytes>, E>>,
    second: Option<Result<Frame<Bytes>, E>>,
}

impl<E> Ahead<E> {
    fn new(first: Option<Result<Frame<Bytes>, E>>) -> Ahead<E> {
        Ahead { first, second: None }
    }

    fn push(&mut self, frame: Result<Frame<Bytes>, E>) {
        let place = if self.first.is_none() { &mut self.first } else { &mut self.second };
        debug_assert!(place.is_none(), "a third frame is asked for only when there is room");
        *place = Some(frame);
    }

    fn pop(&mut self) -> Option<Result<Frame<Bytes>, E>> {
        std::mem::replace(&mut self.first, self.second.take())
    }

    fn len(&self) -> u64 {
        let frames = [&self.first, &self.second].into_iter().flatten();
        let data = frames.filter_map(|frame| frame.as_ref().ok()?.data_ref());
        data.map(|data| data.len() as u64).sum()
    }
}

/// A response on its way to the store.
pub(super) struct Recording {
    pub(super) store: Store,
    pub(super) key: Fingerprint,
    pub(super) uri: Fingerprint,
    pub(super) tags: Vec<Fingerprint>,
    pub(super) seen: LastPurge,
    pub(super) began: Timestamp,
    pub(super) head: StoredResponse,
    /// Where an answer about one person is not to be stored.
    pub(super) personal: Option<Personal>,
    pub(super) max_body: usize,
    /// `Content-Length`, by which a server may stop reading before the body says that it ended.
    pub(super) length: Option<u64>,
    pub(super) bytes: BytesMut,
}

impl Recording {
    /// Whether the body still fits, and is no longer than it said.
    fn push(&mut self, bytes: &Bytes) -> bool {
        let length = self.bytes.len() + bytes.len();
        let fits =
            length <= self.max_body && self.length.is_none_or(|stated| length as u64 <= stated);
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    fn is_complete(&self) -> bool {
        self.length == Some(self.bytes.len() as u64)
    }

    /// Asks the store to keep it, unless purges from when the handler began may be forgotten, it is
    /// about one person, or not as long as it said.
    pub(super) fn store(mut self) -> Asking<bool> {
        let too_late = self.store.now().since(self.began) >= PURGE_MEMORY - Duration::from_secs(1);
        // A handler may look at the session while its body streams.
        let personal = self.personal.is_some_and(|personal| personal.is_marked());
        if too_late
            || personal
            || self.length.is_some_and(|length| length != self.bytes.len() as u64)
        {
            return Asking::Answered(Some(Ok(false)));
        }
        self.head.body = self.bytes.freeze();
        self.store.ask(StoreResponse {
            response: self.key,
            uri: self.uri,
            tags: self.tags,
            stored: Arc::new(self.head),
            seen: self.seen,
        })
    }
}

impl<B: Body> CacheBody<B> {
    pub(super) fn empty() -> CacheBody<B> {
        CacheBody { body: None, recording: None, storing: None, ahead: Ahead::new(None) }
    }

    pub(super) fn stored(bytes: Bytes) -> CacheBody<B> {
        let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
        CacheBody { ahead: Ahead::new(frame), ..CacheBody::empty() }
    }

    pub(super) fn passing(body: B) -> CacheBody<B> {
        CacheBody { body: Some(body), ..CacheBody::empty() }
    }

    pub(super) fn recording(body: B, recording: Recording) -> CacheBody<B> {
        CacheBody { recording: Some(recording), ..CacheBody::passing(body) }
    }
}

impl<B: Body> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            if let Some(asking) = this.storing {
                match ready!(Pin::new(asking).poll(cx)) {
                    Ok(true) => observe::cache(observe::Cache::Stored),
                    Ok(false) => {}
                    Err(error) => tracing::debug!(%error, "a response was not stored"),
                }
                *this.storing = None;
            }
            // A body as long as stated is kept back while it is looked at whether it ends there.
            if this.recording.is_none()
                && let Some(frame) = this.ahead.pop()
            {
                return Poll::Ready(Some(frame));
            }
            let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let frame = match body.poll_frame(cx) {
                Poll::Ready(Some(frame)) => frame.map(|frame| frame.map_data(to_bytes)),
                Poll::Ready(None) => {
                    this.body.set(None);
                    *this.storing = this.recording.take().map(Recording::store);
                    continue;
                }
                // The end may be long in coming, and a server that counts does not wait for it.
                Poll::Pending => {
                    let frame = this.ahead.pop();
                    return frame.map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)));
                }
            };
            let Some(recording) = this.recording else { return Poll::Ready(Some(frame)) };
            // Trailers are not stored, and a response is stored whole or not at all.
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            let fits = data.is_some_and(|data| recording.push(data));
            let complete = recording.is_complete();
            if data.is_none_or(|data| !data.is_empty()) {
                this.ahead.push(frame);
            }
            if !fits {
                *this.recording = None;
            } else if this.body.as_ref().as_pin_ref().is_some_and(|body| body.is_end_stream()) {
                this.body.set(None);
                *this.storing = this.recording.take().map(Recording::store);
            } else if !complete && let Some(frame) = this.ahead.pop() {
                return Poll::Ready(Some(frame));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // The end is where it is stored, so it has to be read.
        self.recording.is_none()
            && self.storing.is_none()
            && self.ahead.first.is_none()
            && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.len();
        let rest = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

/// For a body that the cache has no part in.
impl<B: Body> Default for CacheBody<B> {
    fn default() -> CacheBody<B> {
        CacheBody::empty()
    }
}

/// Never its content.
impl<B: Body> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBody").finish_non_exhaustive()
    }
}

/// No copy where the data is `Bytes` already.
fn to_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
