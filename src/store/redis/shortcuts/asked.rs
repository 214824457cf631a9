//! What is asked of the store about places, and who waits for whose lease.

use std::sync::MutexGuard;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::{Found, Lease};
use super::{Book, Part, Shortcuts, lent, place};
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
        let begin = |charge: &Charge| self.book.part(&charge.subject).begin(place(charge));
        Asking { book: &self.book, begun: denies.map(begin).collect() }
    }

    /// What to do for a charge that is leased: those who come while leases are asked for wait for
    /// them, as many as they will be enough for. Of all together less than a batch is over.
    pub(in super::super) fn lease(&self, charge: &Charge, now: Instant) -> Step<'_> {
        let (place, counting, cost) = (place(charge), charge.rule.counting, charge.cost);
        let part = &mut *self.book.part(&charge.subject);
        let mut known = part.places.get_mut(&lent(charge));
        if let Some(taken) = known.as_mut().and_then(|known| known.answer(charge, now)) {
            return Step::Known(taken);
        }
        if !part.is_open {
            // Nobody could end it.
            return Step::Alone;
        }
        let left = known.as_ref().map_or(0, |known| known.left(&charge.rule));
        let is_put_off = known.is_some_and(|known| known.is_put_off(now));
        if let Some(asked) = part.asked.get(&place)
            && let Some(last) = asked.flights.last()
        {
            if last.counting != counting {
                return Step::Alone;
            }
            if asked.promised + u64::from(cost) <= asked.coming() + u64::from(left) {
                let landed = last.landed.clone();
                let asking = Asking::of_one(&self.book, part, place);
                asking.asked(part).promised += u64::from(cost);
                return Step::Wait(Waiting { asking, cost, landed });
            }
        }
        if is_put_off {
            return Step::Alone;
        }
        let (landing, landed) = watch::channel(());
        let asking = Asking::of_one(&self.book, part, place);
        let flight = Flight { counting, brings: charge.rule.batch - cost, landed };
        asking.asked(part).flights.push(flight);
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
    begun: SmallVec<[Begun; 1]>,
}

#[derive(Clone, Copy)]
struct Begun {
    place: LimitAt,
    /// What had happened before.
    since: u64,
}

impl Part {
    fn begin(&mut self, place: LimitAt) -> Begun {
        self.asked.entry(place).or_default().by += 1;
        Begun { place, since: self.events }
    }
}

impl<'a> Asking<'a> {
    fn of_one(book: &'a Book, part: &mut Part, place: LimitAt) -> Asking<'a> {
        Asking { book, begun: SmallVec::from_buf([part.begin(place)]) }
    }

    /// Of the only place.
    fn part(&self) -> MutexGuard<'a, Part> {
        self.book.part(&self.begun[0].place.subject)
    }

    /// Of the only place.
    fn asked<'p>(&self, part: &'p mut Part) -> &'p mut Asked {
        part.asked.entry(self.begun[0].place).or_default()
    }

    pub(in super::super) fn charged(&self, charge: &Charge) {
        self.book.part(&charge.subject).charged(&place(charge));
    }

    /// Remembers a refusal, for `wait` from when it was asked for: unless what it says has become
    /// untrue since.
    pub(in super::super) fn deny(&self, charge: &Charge, found: Found, wait: Duration) {
        let place = place(charge);
        let Some(begun) = self.begun.iter().find(|it| it.place == place) else { return };
        let part = &mut *self.book.part(&charge.subject);
        let asked = part.asked.get(&place);
        let is_true = asked.is_some_and(|it| it.changed.max(it.charged) <= begun.since);
        if is_true && part.is_open {
            part.places.at(place, found.received).deny(charge.cost, found, wait);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        for Begun { place, .. } in &self.begun {
            let part = &mut *self.book.part(&place.subject);
            if let Some(asked) = part.asked.get_mut(place) {
                asked.by -= 1;
                if asked.by == 0 {
                    part.asked.remove(place);
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
        let Begun { place, since } = self.asking.begun[0];
        let part = &mut *self.asking.part();
        part.charged(&place);
        match self.asking.asked(part).changed <= since {
            true => part.places.at(place, now).keep(lease, now),
            false => lease.taken(now),
        }
    }

    /// There is not enough for one.
    pub(in super::super) fn fail(self, now: Instant) {
        self.asking.part().places.at(self.asking.begun[0].place, now).put_off(now);
    }
}

/// Those who wait hear of it when the channel closes after this.
impl Drop for Leasing<'_> {
    fn drop(&mut self) {
        let landed = self.landing.subscribe();
        let part = &mut *self.asking.part();
        let flights = &mut self.asking.asked(part).flights;
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
        let part = &mut *self.asking.part();
        self.asking.asked(part).promised -= u64::from(self.cost);
    }
}
