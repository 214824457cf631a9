//! What is asked of the store about places, and who waits for whose lease.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::{Found, Lease};
use super::{Book, Shortcuts, State, lent, place};
use crate::policy::limiting::{Counting, Taken};
use crate::store::limit_at::LimitAt;
use crate::store::verbs::Charge;

/// A place that somebody asks about.
#[derive(Default)]
pub(super) struct Asked {
    /// How many do.
    by: usize,
    /// When something changed that nobody could know of.
    changed: u64,
    /// When it was last charged here.
    pub(super) charged: u64,
    /// Leases that are asked for, all by the same numbers.
    flights: Vec<Flight>,
    /// What those who wait for one will spend.
    promised: u64,
}

/// A lease that somebody asks for.
struct Flight {
    counting: Counting,
    /// Beside what the one who asks will spend.
    brings: u32,
    /// Closed when it has come, or never will.
    landed: watch::Receiver<()>,
}

/// What comes next for a charge that is leased.
pub(in super::super) enum Step<'a> {
    Known(Taken),
    /// Ask for a lease.
    Ask(Leasing<'a>),
    /// Wait for somebody else's.
    Wait(Waiting<'a>),
    /// Ask for the charge alone.
    Alone,
}

impl Shortcuts {
    /// To be held while charges are asked for.
    pub(in super::super) fn ask(&self, charges: &[Charge]) -> Asking<'_> {
        let denies = charges.iter().filter(|charge| charge.rule.denies);
        let places: SmallVec<[LimitAt; 1]> = denies.map(place).collect();
        if places.is_empty() {
            return Asking { book: &self.book, places, since: 0 };
        }
        Asking::begin(&self.book, &mut self.book.lock(), places)
    }

    /// What to do for a charge that is leased: those who come while leases are asked for wait for
    /// them, as many as they will be enough for. Of all together less than a batch is over.
    pub(in super::super) fn lease(&self, charge: &Charge, now: Instant) -> Step<'_> {
        let (place, counting, cost) = (place(charge), charge.rule.counting, charge.cost);
        let state = &mut *self.book.lock();
        let mut known = state.places.get_mut(&lent(charge));
        if let Some(taken) = known.as_mut().and_then(|known| known.answer(charge, now)) {
            return Step::Known(taken);
        }
        if !state.is_open {
            // Nobody could end it.
            return Step::Alone;
        }
        let left = known.as_ref().map_or(0, |known| known.left(&charge.rule));
        let is_put_off = known.is_some_and(|known| known.is_put_off(now));
        if let Some(asked) = state.asked.get(&place)
            && let Some(last) = asked.flights.last()
        {
            if last.counting != counting {
                return Step::Alone;
            }
            if asked.promised + u64::from(cost) <= asked.coming() + u64::from(left) {
                let landed = last.landed.clone();
                let asking = Asking::begin(&self.book, state, SmallVec::from_buf([place]));
                asking.asked(state).promised += u64::from(cost);
                return Step::Wait(Waiting { asking, cost, landed });
            }
        }
        if is_put_off {
            return Step::Alone;
        }
        let (landing, landed) = watch::channel(());
        let asking = Asking::begin(&self.book, state, SmallVec::from_buf([place]));
        let flight = Flight { counting, brings: charge.rule.batch - cost, landed };
        asking.asked(state).flights.push(flight);
        Step::Ask(Leasing { asking, landing })
    }
}

impl Asked {
    /// What was asked for before is not kept, so nobody waits for it from now on.
    pub(super) fn change(&mut self, event: u64) {
        self.changed = event;
        self.flights.clear();
    }

    fn coming(&self) -> u64 {
        self.flights.iter().map(|flight| u64::from(flight.brings)).sum()
    }
}

/// One who asks about some places, until it is dropped.
pub(in super::super) struct Asking<'a> {
    book: &'a Book,
    places: SmallVec<[LimitAt; 1]>,
    /// What had happened before.
    since: u64,
}

impl<'a> Asking<'a> {
    fn begin(book: &'a Book, state: &mut State, places: SmallVec<[LimitAt; 1]>) -> Asking<'a> {
        for place in &places {
            state.asked.entry(*place).or_default().by += 1;
        }
        Asking { book, places, since: state.events }
    }

    /// Of the only place.
    fn asked<'s>(&self, state: &'s mut State) -> &'s mut Asked {
        state.asked.entry(self.places[0]).or_default()
    }

    pub(in super::super) fn charged(&self, charge: &Charge) {
        self.book.lock().charged(&place(charge));
    }

    /// Remembers a refusal, for `wait` from when it was asked for: unless what it says has become
    /// untrue since.
    pub(in super::super) fn deny(&self, charge: &Charge, found: Found, wait: Duration) {
        let place = place(charge);
        let state = &mut *self.book.lock();
        let asked = state.asked.get(&place);
        let is_true = asked.is_some_and(|it| it.changed.max(it.charged) <= self.since);
        if is_true && state.is_open {
            state.places.at(place, found.received).deny(charge.cost, found, wait);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let state = &mut *self.book.lock();
        for place in &self.places {
            if let Some(asked) = state.asked.get_mut(place) {
                asked.by -= 1;
                if asked.by == 0 {
                    state.asked.remove(place);
                }
            }
        }
    }
}

/// The one who asks for a lease, until it is dropped.
pub(in super::super) struct Leasing<'a> {
    asking: Asking<'a>,
    landing: watch::Sender<()>,
}

impl Leasing<'_> {
    /// `left` was charged and is not spent. Says where the limit would stand without it.
    pub(in super::super) fn keep(self, left: u32, found: Found) -> Taken {
        let (now, lease) = (found.received, Lease { left, found });
        let place = self.asking.places[0];
        let state = &mut *self.asking.book.lock();
        state.charged(&place);
        match self.asking.asked(state).changed <= self.asking.since {
            true => state.places.at(place, now).keep(lease, now),
            false => lease.taken(now),
        }
    }

    /// There is not enough for one.
    pub(in super::super) fn fail(self, now: Instant) {
        let state = &mut *self.asking.book.lock();
        state.places.at(self.asking.places[0], now).put_off(now);
    }
}

/// Those who wait hear of it when the channel closes after this.
impl Drop for Leasing<'_> {
    fn drop(&mut self) {
        let landed = self.landing.subscribe();
        let state = &mut *self.asking.book.lock();
        let flights = &mut self.asking.asked(state).flights;
        flights.retain(|flight| !flight.landed.same_channel(&landed));
    }
}

/// Who waits for somebody else's lease, until it is dropped.
pub(in super::super) struct Waiting<'a> {
    asking: Asking<'a>,
    cost: u32,
    landed: watch::Receiver<()>,
}

impl Waiting<'_> {
    /// Until it has come, or never will.
    pub(in super::super) async fn landed(&mut self) {
        let _ = self.landed.changed().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let state = &mut *self.asking.book.lock();
        self.asking.asked(state).promised -= u64::from(self.cost);
    }
}
