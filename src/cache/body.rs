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
    pub struct CacheBody<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        /// From the cache.
        Stored { bytes: Bytes },
        /// From the handler, not to be stored.
        Passing { #[pin] body: B },
        /// From the handler, kept as it passes.
        Recording { #[pin] body: B, recording: Option<Recording> },
        /// All there; its last part waits for the store.
        Storing { asking: Asking<bool>, last: Option<Bytes> },
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
    pub(super) max_body: usize,
    /// `Content-Length`, by which a server may stop reading before the body says that it ended.
    pub(super) length: Option<u64>,
    pub(super) bytes: BytesMut,
}

impl Recording {
    /// Whether the body still fits.
    fn push(&mut self, bytes: &Bytes) -> bool {
        let fits = self.bytes.len() + bytes.len() <= self.max_body;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    fn is_complete(&self) -> bool {
        self.length == Some(self.bytes.len() as u64)
    }

    /// Asks the store to keep it, unless purges from when the handler began may be forgotten, or it
    /// is not as long as it said.
    pub(super) fn store(mut self) -> Asking<bool> {
        let too_late = self.store.now().since(self.began) >= PURGE_MEMORY - Duration::from_secs(1);
        if too_late || self.length.is_some_and(|length| length != self.bytes.len() as u64) {
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

impl<B> CacheBody<B> {
    pub(super) fn empty() -> CacheBody<B> {
        CacheBody::stored(Bytes::new())
    }

    pub(super) fn stored(bytes: Bytes) -> CacheBody<B> {
        CacheBody { state: State::Stored { bytes } }
    }

    pub(super) fn passing(body: B) -> CacheBody<B> {
        CacheBody { state: State::Passing { body } }
    }

    pub(super) fn recording(body: B, recording: Recording) -> CacheBody<B> {
        CacheBody { state: State::Recording { body, recording: Some(recording) } }
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
            let next = match this.state.as_mut().project() {
                StateProj::Stored { bytes } => {
                    let bytes = std::mem::take(bytes);
                    let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
                    return Poll::Ready(frame);
                }
                StateProj::Passing { body } => {
                    let frame = ready!(body.poll_frame(cx));
                    return Poll::Ready(frame.map(|frame| Ok(frame?.map_data(to_bytes))));
                }
                StateProj::Recording { mut body, recording } => {
                    let frame = ready!(body.as_mut().poll_frame(cx));
                    let Some(frame) = frame else {
                        let Some(recording) = recording.take() else { return Poll::Ready(None) };
                        this.state
                            .as_mut()
                            .set(State::Storing { asking: recording.store(), last: None });
                        continue;
                    };
                    let data = match frame.map(|frame| frame.map_data(to_bytes)) {
                        Ok(frame) => match frame.into_data() {
                            Ok(data) => data,
                            // Trailers are not stored, and a response is stored whole or not.
                            Err(trailers) => {
                                *recording = None;
                                return Poll::Ready(Some(Ok(trailers)));
                            }
                        },
                        Err(error) => {
                            *recording = None;
                            return Poll::Ready(Some(Err(error)));
                        }
                    };
                    if !recording.as_mut().is_some_and(|it| it.push(&data)) {
                        *recording = None;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    let ended = body.is_end_stream();
                    match recording.take_if(|it| ended || it.is_complete()) {
                        None => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Some(recording) => {
                            State::Storing { asking: recording.store(), last: Some(data) }
                        }
                    }
                }
                StateProj::Storing { asking, last } => {
                    if let Err(error) = ready!(Pin::new(asking).poll(cx)) {
                        tracing::debug!(error = %error, "a response was not stored");
                    }
                    State::Stored { bytes: last.take().unwrap_or_default() }
                }
            };
            this.state.set(next);
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Stored { bytes } => bytes.is_empty(),
            State::Passing { body } => body.is_end_stream(),
            // The end is where it is stored, so it has to be read.
            State::Recording { body, recording } => recording.is_none() && body.is_end_stream(),
            State::Storing { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Stored { bytes } => SizeHint::with_exact(bytes.len() as u64),
            State::Passing { body } | State::Recording { body, .. } => body.size_hint(),
            State::Storing { last, .. } => {
                SizeHint::with_exact(last.as_ref().map_or(0, |last| last.len() as u64))
            }
        }
    }
}

/// For a body that the cache has no part in.
impl<B: Default> Default for CacheBody<B> {
    fn default() -> CacheBody<B> {
        CacheBody::empty()
    }
}

/// Never its content.
impl<B> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBody").finish_non_exhaustive()
    }
}

/// No copy where the data is `Bytes` already.
fn to_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
