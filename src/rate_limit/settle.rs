//! What a request turns out to have cost, when its response has ended.

use std::cell::Cell;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};

use super::fields;
use super::limit::LimitSettings;
use crate::Store;
use crate::policy::limiting::Act;
use crate::store::verbs::{self, Take};

/// A response that has ended, for [`Limit::settle`](super::Limit::settle).
#[derive(Clone, Debug)]
pub struct Finished {
    status: StatusCode,
    bytes: u64,
    reserved: u32,
    charged: Option<u32>,
    /// Whether somebody wanted to know how long it was.
    is_measured: Cell<bool>,
}

impl Finished {
    /// The response's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The length of the response's content, as far as it was sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.is_measured.set(true);
        self.bytes
    }

    /// What was charged when the request came.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// What the handler said by [`Charge`], if it did.
    #[must_use]
    pub fn charged(&self) -> Option<u32> {
        self.charged
    }
}

/// What a request costs, for its handler to say: the tokens of a language model, the rows of a
/// query.
///
/// An extractor in axum; anywhere else, in the request's extensions. It is there where a limit
/// [settles](super::Limit::settle). The last word counts, up to the end of the response's body: a
/// clone may go along with a stream.
///
/// ```
/// use tower_redis_kit::rate_limit::Charge;
///
/// async fn complete(charge: Charge) -> String {
///     let (text, tokens) = ("…".to_owned(), 1_250);
///     charge.set(tokens);
///     text
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Charge(Arc<AtomicU64>);

/// Above what a charge can be: it was said.
const SAID: u64 = 1 << 32;

impl Charge {
    /// The request costs this, in the place of what was reserved for it.
    pub fn set(&self, cost: u32) {
        self.0.store(SAID | u64::from(cost), Ordering::Relaxed);
    }

    /// The request costs this more than was said before, or than nothing.
    pub fn add(&self, cost: u32) {
        let add = |said: u64| {
            let sum = (said % SAID) + u64::from(cost);
            Some(SAID | sum.min(u64::from(u32::MAX)))
        };
        // It does not fail: `add` always has an answer.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// What was said.
    #[must_use]
    pub fn get(&self) -> Option<u32> {
        let said = self.0.load(Ordering::Relaxed);
        (said >= SAID).then_some((said % SAID) as u32)
    }
}

/// What a request that may be settled leaves with its limits until there is a response.
pub(super) struct Offered {
    /// Where the handler says what it costs.
    pub(super) charge: Charge,
    pub(super) store: Store,
    pub(super) is_head: bool,
}

/// A response whose cost is not known before its end. Settles when it is dropped.
#[derive(Debug)]
pub(super) struct Settlement {
    store: Store,
    status: StatusCode,
    charge: Charge,
    bytes: u64,
    /// Where the head says it: a server reads no further.
    length: Option<u64>,
    progress: Progress,
    /// Whether the server heard that there is nothing to ask for.
    is_empty: AtomicBool,
    reserved: Vec<(Arc<LimitSettings>, verbs::Charge)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nobody has asked for the body.
    Unread,
    Reading,
    Ended,
}

impl Settlement {
    /// `reserved`: what gives it back.
    pub(super) fn new<B>(
        offered: Offered,
        response: &Response<B>,
        reserved: Vec<(Arc<LimitSettings>, verbs::Charge)>,
    ) -> Settlement {
        let Offered { charge, store, is_head } = offered;
        let status = response.status();
        // Of these a server sends the head alone, and never asks for the body.
        let bare = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = response.headers().get(CONTENT_LENGTH).and_then(fields::number);
        let progress = if bare { Progress::Ended } else { Progress::Unread };
        let is_empty = (length == Some(0)).into();
        Settlement { store, status, charge, bytes: 0, length, progress, is_empty, reserved }
    }

    pub(super) fn begin(&mut self) {
        if self.progress == Progress::Unread {
            self.progress = Progress::Reading;
        }
    }

    /// A server that hears so asks for nothing.
    pub(super) fn note_empty(&self) {
        self.is_empty.store(true, Ordering::Relaxed);
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.length.is_some_and(|length| self.bytes >= length) {
            self.end();
        }
    }

    pub(super) fn end(&mut self) {
        self.progress = Progress::Ended;
    }

    /// Whether there is no doubt of what it has cost. Of a response that was left before anybody
    /// asked for its body, all but its length is known.
    fn is_certain(&self, done: &Finished) -> bool {
        match self.progress {
            Progress::Ended => true,
            Progress::Reading => false,
            Progress::Unread => self.is_empty.load(Ordering::Relaxed) || !done.is_measured.get(),
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let (mut back, mut more) = (Vec::new(), Vec::new());
        for (limit, reserved) in mem::take(&mut self.reserved) {
            let Some(settle) = &limit.settle else { continue };
            let done = Finished {
                status: self.status,
                bytes: self.bytes,
                reserved: reserved.cost,
                charged: self.charge.get(),
                is_measured: Cell::default(),
            };
            // Whoever drops a response may be unwinding already: a second panic would be the end
            // of the process.
            let settled = panic::catch_unwind(AssertUnwindSafe(|| settle(&done)));
            let cost = settled.unwrap_or_else(|_| {
                tracing::error!(
                    limit = &*limit.name,
                    "what settles a limit has panicked: what was reserved stays charged"
                );
                reserved.cost
            });
            let rest = |cost| verbs::Charge { cost, ..reserved.clone() };
            if cost > reserved.cost {
                more.push(rest(cost - reserved.cost));
            } else if cost < reserved.cost && self.is_certain(&done) {
                // Whoever hangs up pays what was reserved: nobody knows what it would have come to.
                back.push(rest(reserved.cost - cost));
            }
        }
        for (act, charges) in [(Act::Refund, back), (Act::Charge, more)] {
            if !charges.is_empty() {
                self.store.tell(Take::new(act, charges));
            }
        }
    }
}
