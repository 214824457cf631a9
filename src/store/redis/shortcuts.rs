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
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) use self::lease::Found;
use self::lease::Lease;
use crate::policy::limiting::{Counting, Standing, Taken};
use crate::store::channels::Listener;
use crate::store::keys::{Fingerprint, Subject};
use crate::store::mailbox::Delivery;
use crate::store::verbs::Charge;

mod lease;

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
    /// The last one that is asked for.
    flight: Option<Flight>,
    /// How many messages had come when something changed that nobody could know of, or when this began.
    changed: u64,
    /// There was not enough for a lease.
    no_lease_before: Option<Instant>,
}

/// A lease that somebody asks for.
struct Flight {
    counting: Counting,
    /// What those who wait for it have not promised themselves.
    room: u32,
    /// Closed when it has come, or never will.
    landed: watch::Receiver<()>,
}

/// Whatever costs as much is refused until then.
struct Denial {
    cost: u32,
    until: Instant,
    found: Found,
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
        state.places.get_mut(&place(charge))?.answer(charge, now)
    }

    /// What is still left of a lease for who was refused: it was charged before.
    pub(super) fn left(&self, charge: &Charge, refused: &Taken, now: Instant) -> Option<Taken> {
        let state = &mut *self.lock();
        state.listen();
        let known = state.places.get_mut(&place(charge))?;
        if let Standing::Blocked { .. } = refused.standing {
            // The message about it is on its way.
            known.lease = None;
        }
        known.spend(charge, now)
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

    /// What to do for a charge that is leased: those who come while a lease is asked for wait for it, as
    /// many as it will be enough for. Nobody asks while something is left of the last.
    pub(super) fn lease(&self, charge: &Charge, now: Instant) -> Step<'_> {
        let state = &mut *self.lock();
        state.listen();
        let (place, heard) = (place(charge), state.heard);
        let known = state.known(place);
        if let Some(taken) = known.answer(charge, now) {
            return Step::Known(taken);
        }
        let counting = charge.rule.counting;
        if let Some(flight) = &mut known.flight {
            if flight.counting != counting {
                return Step::Alone;
            }
            if let Some(room) = flight.room.checked_sub(charge.cost) {
                flight.room = room;
                return Step::Wait(flight.landed.clone());
            }
        }
        let is_too_early = known.no_lease_before.is_some_and(|before| now < before);
        if known.lease.is_some() || is_too_early {
            return Step::Alone;
        }
        let (landing, landed) = watch::channel(());
        known.flight = Some(Flight { counting, room: charge.rule.batch - charge.cost, landed });
        Step::Ask(Leasing { shortcuts: self, place, heard, landing })
    }

    /// Something has changed that nobody could know of.
    pub(super) fn forget(&self, place: &Place) {
        self.lock().forget(place);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes next for a charge that is leased.
pub(super) enum Step<'a> {
    Known(Taken),
    /// Ask for a lease.
    Ask(Leasing<'a>),
    /// Wait until this closes, which somebody else's does when it has come, or never will.
    Wait(watch::Receiver<()>),
    /// Ask for the charge alone.
    Alone,
}

/// The one who asks for a lease, until it is dropped.
pub(super) struct Leasing<'a> {
    shortcuts: &'a Shortcuts,
    place: Place,
    /// How many messages had come before.
    heard: u64,
    landing: watch::Sender<()>,
}

impl Leasing<'_> {
    /// `left` was charged and is not spent. Says where the limit would stand without it.
    pub(super) fn keep(self, left: u32, found: Found) -> Taken {
        let lease = Lease { left, found };
        let state = &mut *self.shortcuts.lock();
        state.listen();
        let known = state.places.get_mut(&self.place);
        match known.filter(|known| known.changed <= self.heard) {
            Some(known) => known.keep(lease, found.received),
            None => lease.taken(found.received),
        }
    }

    /// There is not enough for one.
    pub(super) fn fail(self, now: Instant) {
        self.shortcuts.lock().known(self.place).no_lease_before = Some(now + BETWEEN_LEASES);
    }
}

/// Those who wait hear of it when the channel closes after this.
impl Drop for Leasing<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.shortcuts.lock().places.get_mut(&self.place) {
            let landed = self.landing.subscribe();
            known.flight = known.flight.take().filter(|last| !last.landed.same_channel(&landed));
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
            (known.denial, known.lease, known.changed) = (None, None, self.heard);
        }
    }

    fn known(&mut self, place: Place) -> &mut Known {
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            self.places.swap_remove_index(fastrand::usize(..self.places.len()));
        }
        // What may have changed before was not seen.
        let changed = self.heard;
        self.places.entry(place).or_insert_with(|| Known { changed, ..Known::default() })
    }
}

impl Known {
    /// Out of a lease, or a refusal. What was leased was charged before anybody was refused.
    fn answer(&mut self, charge: &Charge, now: Instant) -> Option<Taken> {
        let spent = self.spend(charge, now);
        spent.or_else(|| self.denial(charge.rule.counting, now)?.answer(charge.cost, now))
    }

    fn spend(&mut self, charge: &Charge, now: Instant) -> Option<Taken> {
        let counting = charge.rule.counting;
        let lease = self.lease.as_mut().filter(|lease| lease.found.counting == counting)?;
        let spent = lease.spend(charge.cost, now);
        if lease.left == 0 {
            self.lease = None;
        }
        spent
    }

    /// Beside what is left of others that were asked for at the same time.
    fn keep(&mut self, lease: Lease, now: Instant) -> Taken {
        let others = self.lease.take().filter(|it| it.found.counting == lease.found.counting);
        let lease = match others {
            Some(others) => others.and(lease, now),
            None => lease,
        };
        self.lease.insert(lease).taken(now)
    }

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
