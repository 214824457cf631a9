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

/// In parts with a lock each, so that callers seldom wait for each other. All that is known of a
/// subject is in one part.
#[derive(Default)]
struct Book {
    parts: [Mutex<Part>; PARTS],
}

const PARTS: usize = 16;

#[derive(Default)]
struct Part {
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
        self.book.part(&charge.subject).places.get_mut(&lent(charge))?.answer(charge, now)
    }

    /// What is still left of a lease for who was refused: it was charged before.
    pub(super) fn left(&self, charge: &Charge, refused: &Taken, now: Instant) -> Option<Taken> {
        let mut part = self.book.part(&charge.subject);
        let known = part.places.get_mut(&lent(charge))?;
        if let Standing::Blocked { .. } = refused.standing {
            // The message about it is on its way.
            known.end_leases();
        }
        known.spend(charge, now)
    }

    /// The same beside other limits: a lease is not spent on what they may refuse.
    pub(super) fn denied(&self, charge: &Charge, now: Instant) -> Option<Taken> {
        let mut part = self.book.part(&charge.subject);
        let known = part.places.get_mut(&lent(charge))?;
        known.denial(&charge.rule, now)?.answer(charge.cost, now)
    }

    /// Something has changed that nobody could know of.
    pub(super) fn forget(&self, place: &LimitAt) {
        self.book.part(&place.subject).forget(place);
    }
}

impl Book {
    fn part(&self, subject: &Subject) -> MutexGuard<'_, Part> {
        lock(&self.parts[usize::from(subject.any_byte()) % PARTS])
    }

    fn places(&self) -> usize {
        self.parts().map(|part| part.places.len()).sum()
    }

    fn parts(&self) -> impl Iterator<Item = MutexGuard<'_, Part>> {
        self.parts.iter().map(lock)
    }
}

/// What arrives is done at once: in a queue it would pile up while nobody asks.
impl Ear for Book {
    fn put(&self, message: Bytes) {
        match read(&message) {
            Some(place) => self.part(&place.subject).forget(&place),
            None => self.parts().for_each(|mut part| part.miss()),
        }
    }

    fn open(&self) {
        for mut part in self.parts() {
            part.miss();
            part.is_open = true;
        }
    }

    /// A lease is spent to its end meanwhile; who is refused is asked about.
    fn interrupt(&self) {
        for mut part in self.parts() {
            part.is_open = false;
            part.places.end_denials();
        }
    }

    fn end(&self) {
        self.interrupt();
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
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
        f.debug_struct("Shortcuts").field("places", &self.book.places()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
