//! What is known of places.

use std::time::Duration;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use tokio::time::Instant;

use super::PARTS;
use super::lease::{Found, Lease};
use crate::policy::limiting::{Counting, Taken};
use crate::store::limit_at::{LentLimitAt, LimitAt};
use crate::store::verbs::{Charge, Rule};

/// The places in one part that this process knows something of. Of too many, those go that are worth
/// least.
#[derive(Default)]
pub(super) struct Places {
    known: IndexMap<LimitAt, Known, RandomState>,
}

/// What is known of a place.
#[derive(Default)]
pub(super) struct Known {
    denial: Option<Denial>,
    /// One for each way to count, the last one that was asked for at the end.
    leases: Vec<Lease>,
    /// There was not enough for a lease.
    no_lease_before: Option<Instant>,
}

/// Whatever costs as much is refused until then.
pub(super) struct Denial {
    cost: u32,
    until: Instant,
    found: Found,
}

const MOST_PLACES: usize = 65_536 / PARTS;

/// Of so many that are drawn, the one that is worth least goes.
const DRAWN: usize = 8;

/// Limits of one name and different quotas that have leases of a key at the same time: one that
/// ended another's would waste a batch with each turn.
const MOST_LEASES: usize = 4;

/// A refusal is asked for again after that: a message may have been lost unnoticed.
const LONGEST_DENIAL: Duration = Duration::from_secs(60);

/// After one that was not to be had.
const BETWEEN_LEASES: Duration = Duration::from_millis(250);

impl Places {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get_mut(&mut self, place: &LentLimitAt<'_>) -> Option<&mut Known> {
        self.known.get_mut(place)
    }

    /// To add to what is known.
    pub(super) fn at(&mut self, place: LimitAt, now: Instant) -> &mut Known {
        if self.known.len() >= MOST_PLACES && !self.known.contains_key(&place) {
            let drawn = (0..DRAWN).map(|_| fastrand::usize(..self.known.len()));
            let least = drawn.min_by_key(|&index| self.known[index].worth(now));
            self.known.swap_remove_index(least.unwrap_or(0));
        }
        self.known.entry(place).or_default()
    }

    pub(super) fn remove(&mut self, place: &LimitAt) {
        self.known.swap_remove(place);
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    pub(super) fn end_denial(&mut self, place: &LimitAt) {
        if let Some(known) = self.known.get_mut(place) {
            known.denial = None;
            if known.is_empty() {
                self.remove(place);
            }
        }
    }

    pub(super) fn end_denials(&mut self) {
        self.known.retain(|_, known| {
            known.denial = None;
            !known.is_empty()
        });
    }
}

impl Known {
    /// Out of a lease, or a refusal. What was leased was charged before anybody was refused.
    pub(super) fn answer(
        &mut self,
        charge: &Charge<impl AsRef<Rule>>,
        now: Instant,
    ) -> Option<Taken> {
        let spent = self.spend(charge, now);
        spent.or_else(|| self.denial(charge.rule.as_ref(), now)?.answer(charge.cost, now))
    }

    pub(super) fn spend(
        &mut self,
        charge: &Charge<impl AsRef<Rule>>,
        now: Instant,
    ) -> Option<Taken> {
        let index = self.lease_of(charge.rule.as_ref())?;
        let lease = &mut self.leases[index];
        let spent = lease.spend(charge.cost, now);
        if lease.left == 0 {
            self.leases.remove(index);
        }
        spent
    }

    /// What is left of a lease.
    pub(super) fn left(&self, rule: &Rule) -> u32 {
        self.lease_of(rule).map_or(0, |index| self.leases[index].left)
    }

    /// Beside what is left of others that were asked for at the same time.
    pub(super) fn keep(&mut self, lease: Lease, now: Instant) -> Taken {
        let others = self.lease_of(&lease.found.rule).map(|index| self.leases.remove(index));
        let lease = match others {
            Some(others) => others.and(lease, now),
            None => lease,
        };
        self.leases.retain(|lease| !lease.is_over(now));
        if self.leases.len() == MOST_LEASES {
            self.leases.remove(0);
        }
        let taken = lease.taken(now);
        self.leases.push(lease);
        taken
    }

    pub(super) fn end_leases(&mut self) {
        self.leases.clear();
    }

    /// There was not enough for a lease.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.no_lease_before = Some(now + BETWEEN_LEASES);
    }

    pub(super) fn is_put_off(&self, now: Instant) -> bool {
        self.no_lease_before.is_some_and(|before| now < before)
    }

    /// Remembers a refusal, for `wait` from when it was asked for.
    pub(super) fn deny(&mut self, cost: u32, found: Found, wait: Duration) {
        let until = found.sent + wait.min(LONGEST_DENIAL);
        self.denial = Some(Denial { cost, until, found });
    }

    /// The refusal that is remembered, while it is true.
    pub(super) fn denial(&mut self, rule: &Rule, now: Instant) -> Option<&Denial> {
        // A limit that has changed is asked about.
        let is_true = |it: &Denial| now < it.until && it.found.rule.counts_as(rule);
        if !self.denial.as_ref().is_some_and(is_true) {
            self.denial = None;
        }
        self.denial.as_ref()
    }

    fn lease_of(&self, rule: &Rule) -> Option<usize> {
        self.leases.iter().position(|lease| lease.found.rule.counts_as(rule))
    }

    fn is_empty(&self) -> bool {
        self.denial.is_none() && self.leases.is_empty() && self.no_lease_before.is_none()
    }

    /// A lease that is forgotten stays charged for nothing; a refusal costs a command.
    fn worth(&self, now: Instant) -> u8 {
        let is_leased = self.leases.iter().any(|lease| !lease.is_over(now));
        let is_denied = self.denial.as_ref().is_some_and(|denial| now < denial.until);
        match (is_leased, is_denied || self.is_put_off(now)) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        }
    }
}

impl Denial {
    pub(super) fn answer(&self, cost: u32, now: Instant) -> Option<Taken> {
        let is_known = match self.found.rule.counting {
            // When something dearer will fit, the log alone knows.
            Counting::SlidingLog(_) => cost == self.cost,
            _ => cost >= self.cost,
        };
        is_known.then(|| self.found.later(now))
    }
}
