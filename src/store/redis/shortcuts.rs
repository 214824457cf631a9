//! What this process knows of limits without asking: who is refused until when, and what it has
//! leased.
//!
//! Whoever gives something back, charges what may not fit, forgets or shuts a limit tells all
//! processes by a message. Nothing is remembered or leased unless such messages arrive, and nothing
//! of a place that one was about while it was asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use foldhash::quality::RandomState;
use tokio::time::Instant;

use self::asked::Asked;
pub(super) use self::asked::{Leasing, Step};
use self::known::Places;
pub(super) use self::lease::Found;
use crate::policy::limiting::{Standing, Taken};
use crate::store::channels::{Ear, Seat};
use crate::store::keys::{Fingerprint, Subject};
use crate::store::limit_at::{LentLimitAt, LimitAt};
use crate::store::verbs::{Charge, Rule};

mod asked;
mod known;
mod lease;

#[derive(Default)]
pub(super) struct Shortcuts {
    book: Arc<Book>,
    /// Where messages come from, once there is something that they might end.
    seat: OnceLock<Seat>,
}

#[derive(Default)]
struct Book {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: Places,
    /// Those that somebody asks the store about.
    asked: HashMap<LimitAt, Asked, RandomState>,
    /// Whether messages arrive.
    is_open: bool,
    /// Rises with all that happens to a place: what began before is told from what began after.
    events: u64,
}

impl Shortcuts {
    /// From now on messages come.
    pub(super) fn listen(&self, hear: impl FnOnce(Arc<dyn Ear>) -> Seat) {
        self.seat.get_or_init(|| hear(self.book.clone()));
    }

    /// The answer to one charge, where it is known: a refusal, or an admission out of a lease.
    pub(super) fn known(&self, charge: &Charge<impl AsRef<Rule>>, now: Instant) -> Option<Taken> {
        self.book.lock().places.get_mut(&lent(charge))?.answer(charge, now)
    }

    /// What is still left of a lease for who was refused: it was charged before.
    pub(super) fn left(&self, charge: &Charge, refused: &Taken, now: Instant) -> Option<Taken> {
        let state = &mut *self.book.lock();
        let known = state.places.get_mut(&lent(charge))?;
        if let Standing::Blocked { .. } = refused.standing {
            // The message about it is on its way.
            known.end_leases();
        }
        known.spend(charge, now)
    }

    /// The same beside other limits: a lease is not spent on what they may refuse.
    pub(super) fn denied(&self, charge: &Charge, now: Instant) -> Option<Taken> {
        let state = &mut *self.book.lock();
        let known = state.places.get_mut(&lent(charge))?;
        known.denial(&charge.rule, now)?.answer(charge.cost, now)
    }

    /// Something has changed that nobody could know of.
    pub(super) fn forget(&self, place: &LimitAt) {
        self.book.lock().forget(place);
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What arrives is done at once: in a queue it would pile up while nobody asks.
impl Ear for Book {
    fn put(&self, message: Bytes) {
        let state = &mut *self.lock();
        match read(&message) {
            Some(place) => state.forget(&place),
            None => state.miss(),
        }
    }

    fn open(&self) {
        let state = &mut *self.lock();
        state.miss();
        state.is_open = true;
    }

    /// A lease is spent to its end meanwhile; who is refused is asked about.
    fn interrupt(&self) {
        let state = &mut *self.lock();
        state.is_open = false;
        state.places.end_denials();
    }

    fn end(&self) {
        self.interrupt();
    }
}

impl State {
    fn forget(&mut self, place: &LimitAt) {
        self.events += 1;
        self.places.remove(place);
        if let Some(asked) = self.asked.get_mut(place) {
            asked.change(self.events);
        }
    }

    /// Messages about anything may have been missed.
    fn miss(&mut self) {
        self.events += 1;
        self.places.clear();
        self.asked.values_mut().for_each(|asked| asked.change(self.events));
    }

    /// The store has charged something: where a limit stood before that, it stands no more.
    fn charged(&mut self, place: &LimitAt) {
        self.events += 1;
        self.places.end_denial(place);
        if let Some(asked) = self.asked.get_mut(place) {
            asked.charged = self.events;
        }
    }
}

pub(super) fn place(charge: &Charge) -> LimitAt {
    LimitAt::new(&charge.rule, &charge.subject)
}

/// The place of a charge, to look it up.
fn lent(charge: &Charge<impl AsRef<Rule>>) -> LentLimitAt<'_> {
    LimitAt::lent(charge.rule.as_ref(), &charge.subject)
}

/// A place as a message: the limit's 16 bytes, and the subject.
pub(super) fn message(LimitAt { limit, subject }: &LimitAt) -> Vec<u8> {
    let mut message = limit.as_bytes().to_vec();
    subject.write_bytes(&mut message);
    message
}

fn read(message: &[u8]) -> Option<LimitAt> {
    let (limit, subject) = message.split_at_checked(16)?;
    let (limit, subject) = (Fingerprint::from_bytes(limit)?, Subject::from_bytes(subject)?);
    Some(LimitAt { limit, subject })
}

/// Never who it is about.
impl fmt::Debug for Shortcuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcuts")
            .field("places", &self.book.lock().places.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
