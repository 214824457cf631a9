//! What this process knows of limits without asking: who is refused until when, and what it has leased.
//!
//! Whoever gives something back, charges what may not fit, forgets or shuts a limit tells all processes by
//! a message. A refusal is only remembered while such messages arrive, and only if none came while it was
//! asked for.

use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use tokio::time::Instant;

use crate::policy::Timestamp;
use crate::policy::limiting::{Counting, Standing, Taken};
use crate::store::channels::Listener;
use crate::store::keys::{Fingerprint, Subject};
use crate::store::mailbox::Delivery;
use crate::store::verbs::Charge;

/// A limit and a subject.
pub(super) type Place = (Fingerprint, Subject);

#[derive(Default)]
pub(super) struct Shortcuts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: IndexMap<Place, Known, RandomState>,
    listener: Option<Listener>,
    /// Whether messages arrived when that was last looked at.
    is_open: bool,
    /// How many messages have come, losses of them included.
    heard: u64,
}

/// What is known of a place.
#[derive(Default)]
struct Known {
    denial: Option<Denial>,
    lease: Option<Lease>,
    /// Somebody asks for a lease.
    is_leasing: bool,
    /// Something has changed meanwhile.
    is_spoilt: bool,
    /// There was not enough for one.
    no_lease_before: Option<Instant>,
}

/// Whatever costs as much is refused until then.
struct Denial {
    cost: u32,
    until: Instant,
    found: Found,
}

/// What was charged, and not yet spent.
struct Lease {
    left: u32,
    found: Found,
}

/// What the store said, and when it was asked.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) counting: Counting,
    pub(super) taken: Taken,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

/// Places that this process knows something of.
const MOST_PLACES: usize = 65_536;

/// A refusal is asked for again after that: a message may have been lost unnoticed.
const LONGEST_DENIAL: Duration = Duration::from_secs(60);

/// After one that was not to be had.
const BETWEEN_LEASES: Duration = Duration::from_millis(250);

impl Shortcuts {
    /// The answer to one charge, where it is known: a refusal, or an admission out of a lease.
    pub(super) fn known(&self, charge: &Charge, now: Instant) -> Option<Taken> {
        let state = &mut *self.lock();
        state.listen();
        let known = state.places.get_mut(&place(charge))?;
        let counting = charge.rule.counting;
        if let Some(denial) = known.denial(counting, now) {
            return denial.answer(charge.cost, now);
        }
        let lease = known.lease.as_mut().filter(|lease| lease.found.counting == counting)?;
        let spent = lease.spend(charge.cost, now);
        if lease.left == 0 {
            known.lease = None;
        }
        spent
    }

    /// The same beside other limits: a lease is not spent on what they may refuse.
    pub(super) fn denied(&self, charge: &Charge, now: Instant) -> Option<Taken> {
        let state = &mut *self.lock();
        state.listen();
        let known = state.places.get_mut(&place(charge))?;
        known.denial(charge.rule.counting, now)?.answer(charge.cost, now)
    }

    /// How many messages have come. With `listen`, from now on they do.
    pub(super) fn heard(&self, listen: impl FnOnce() -> Listener) -> u64 {
        let state = &mut *self.lock();
        state.listener.get_or_insert_with(listen);
        state.listen();
        state.heard
    }

    /// Remembers a refusal, for `wait` from when it was asked for.
    pub(super) fn deny(&self, charge: &Charge, found: Found, wait: Duration, heard: u64) {
        let state = &mut *self.lock();
        state.listen();
        if state.heard == heard && state.listener.as_ref().is_some_and(Listener::is_open) {
            let until = found.sent + wait.min(LONGEST_DENIAL);
            state.known(place(charge)).denial = Some(Denial { cost: charge.cost, until, found });
        }
    }

    /// Whether to ask for a lease: only one asks at a time, and not while something is left of the last.
    pub(super) fn begin_lease(&self, place: Place, now: Instant) -> Option<Leasing<'_>> {
        let state = &mut *self.lock();
        let known = state.known(place);
        let is_too_early = known.no_lease_before.is_some_and(|before| now < before);
        if known.is_leasing || known.lease.is_some() || is_too_early {
            return None;
        }
        (known.is_leasing, known.is_spoilt) = (true, false);
        Some(Leasing { shortcuts: self, place })
    }

    /// Something has changed that nobody could know of.
    pub(super) fn forget(&self, place: &Place) {
        self.lock().forget(place);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who asks for a lease, until it is dropped.
pub(super) struct Leasing<'a> {
    shortcuts: &'a Shortcuts,
    place: Place,
}

impl Leasing<'_> {
    /// `left` was charged and is not spent. Says where the limit would stand without it.
    pub(super) fn keep(self, left: u32, found: Found) -> Taken {
        let lease = Lease { left, found };
        let taken = lease.taken(found.received);
        let state = &mut *self.shortcuts.lock();
        state.listen();
        if let Some(known) = state.places.get_mut(&self.place)
            && known.is_leasing
            && !known.is_spoilt
        {
            known.lease = Some(lease);
        }
        taken
    }

    /// There is not enough for one.
    pub(super) fn fail(self, now: Instant) {
        self.shortcuts.lock().known(self.place).no_lease_before = Some(now + BETWEEN_LEASES);
    }
}

impl Drop for Leasing<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.shortcuts.lock().places.get_mut(&self.place) {
            known.is_leasing = false;
        }
    }
}

impl State {
    /// Takes what has arrived.
    fn listen(&mut self) {
        let Some(listener) = &self.listener else { return };
        let mut arrived = Vec::new();
        while let Poll::Ready(Some(delivery)) =
            listener.poll_next(&Context::from_waker(Waker::noop()))
        {
            arrived.push(delivery);
        }
        // What is not open may miss something before it says so.
        let was_open = mem::replace(&mut self.is_open, listener.is_open());
        if was_open && !self.is_open {
            self.places.values_mut().for_each(|known| known.denial = None);
        }
        for delivery in arrived {
            match delivery {
                Delivery::Message(message) => match read(&message) {
                    Some(place) => self.forget(&place),
                    None => self.heard += 1,
                },
                Delivery::Gap => {
                    self.places.clear();
                    self.heard += 1;
                }
            }
        }
    }

    fn forget(&mut self, place: &Place) {
        self.heard += 1;
        if let Some(known) = self.places.get_mut(place) {
            (known.denial, known.lease, known.is_spoilt) = (None, None, true);
        }
    }

    fn known(&mut self, place: Place) -> &mut Known {
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            self.places.swap_remove_index(fastrand::usize(..self.places.len()));
        }
        self.places.entry(place).or_default()
    }
}

impl Known {
    /// The refusal that is remembered, while it is true.
    fn denial(&mut self, counting: Counting, now: Instant) -> Option<&Denial> {
        // A limit that has changed is asked about.
        let is_true = |it: &Denial| now < it.until && it.found.counting == counting;
        if !self.denial.as_ref().is_some_and(is_true) {
            self.denial = None;
        }
        self.denial.as_ref()
    }
}

impl Denial {
    fn answer(&self, cost: u32, now: Instant) -> Option<Taken> {
        let is_known = match self.found.counting {
            // When something dearer will fit, the log alone knows.
            Counting::SlidingLog(_) => cost == self.cost,
            _ => cost >= self.cost,
        };
        is_known.then(|| self.found.later(now))
    }
}

impl Lease {
    /// Never more than the limit would have admitted now, had nothing been charged ahead: what was
    /// leased and would have come back by itself meanwhile is gone. While the limit is not full in
    /// between, it does not matter when a request was charged for.
    fn spend(&mut self, cost: u32, now: Instant) -> Option<Taken> {
        // The server's clock is not later than that.
        let at = self.found.taken.now.after(now.duration_since(self.found.sent));
        let usable = match (self.found.counting, self.found.taken.standing) {
            (Counting::Gcra(gcra), Standing::Arrival(arrival)) => {
                gcra.ahead_in_requests(arrival, at)
            }
            (Counting::FixedWindow(_), Standing::Window(window)) if at < window.ends => u64::MAX,
            (Counting::SlidingWindow(it), Standing::TwoWindows(both))
                if at.0 < both.start.0 + it.window() =>
            {
                u64::MAX
            }
            _ => 0,
        };
        self.left = self.left.min(u32::try_from(usable).unwrap_or(u32::MAX));
        if self.left == 0 {
            // Of a lease that is over, who only looks learns nothing.
            return None;
        }
        self.left = self.left.checked_sub(cost)?;
        Some(self.taken(now))
    }

    /// Where the limit stands, as if what is left had not been charged.
    fn taken(&self, now: Instant) -> Taken {
        let taken = self.found.later(now);
        let standing = self.found.counting.without(taken.standing, taken.now, self.left);
        Taken { fits: true, standing, ..taken }
    }
}

impl Found {
    /// The same at a later moment.
    fn later(&self, now: Instant) -> Taken {
        let passed = now.saturating_duration_since(self.received);
        Taken { now: Timestamp(self.taken.now.after(passed).0), ..self.taken }
    }
}

pub(super) fn place(charge: &Charge) -> Place {
    (charge.rule.id, charge.subject)
}

/// A place as a message: the limit's 16 bytes, and the subject.
pub(super) fn message((rule, subject): &Place) -> Vec<u8> {
    let mut message = rule.as_bytes().to_vec();
    subject.write_bytes(&mut message);
    message
}

fn read(message: &[u8]) -> Option<Place> {
    let (rule, subject) = message.split_at_checked(16)?;
    Some((Fingerprint::from_bytes(rule)?, Subject::from_bytes(subject)?))
}

/// Never who it is about.
impl fmt::Debug for Shortcuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcuts")
            .field("places", &self.lock().places.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
