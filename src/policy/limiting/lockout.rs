//! A number of attempts, and then a time without any, which grows from one time to the next.
//!
//! The time begins with the attempt that uses the last one up. What is refused while it lasts
//! changes nothing, so nobody can push its end out by trying.

use super::algorithm::{Algorithm, replace};
use super::fixed_window::{add, admits, decide};
use super::{Decision, Standing, Steps, Window};
use crate::policy::Timestamp;

/// A quota in the numbers that the algorithm computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lockout {
    limit: u32,
    /// In which attempts add up, in microseconds.
    window: u64,
    steps: Steps,
}

/// What a key has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) window: Window,
    /// Zero where it is not locked out.
    pub(crate) until: Timestamp,
    /// How often it was.
    pub(crate) level: u32,
}

impl Lockout {
    pub(crate) fn new(limit: u32, window: u64, steps: Steps) -> Lockout {
        Lockout { limit, window, steps }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    pub(crate) fn steps(&self) -> Steps {
        self.steps
    }

    /// What counts at `now`. When a time without attempts is over, all attempts are there again, but
    /// the next such time will be longer.
    pub(super) fn current(&self, stored: Option<Failures>, now: Timestamp) -> Failures {
        let fresh = Window { used: 0, ends: Timestamp(now.0.saturating_add(self.window)) };
        let none = Failures { window: fresh, until: Timestamp(0), level: 0 };
        let Some(it) = stored.filter(|it| self.ends(*it) > now) else { return none };
        if it.until > now {
            // Not longer than from now on: the clock may have gone back.
            let longest = Timestamp(now.0.saturating_add(self.steps.micros(it.level)));
            return Failures { until: it.until.min(longest), ..it };
        }
        let level = it.level;
        if it.until > Timestamp(0) || it.window.used == 0 || it.window.ends <= now {
            return Failures { level, ..none };
        }
        let window = Window { used: it.window.used, ends: it.window.ends.min(fresh.ends) };
        Failures { window, until: Timestamp(0), level }
    }

    pub(super) fn is_locked(it: Failures) -> bool {
        it.until > Timestamp(0)
    }

    fn charged(&self, it: Failures, now: Timestamp, cost: u32) -> Failures {
        if Lockout::is_locked(it) || cost == 0 {
            return it;
        }
        let window = Window { used: add(it.window.used, cost), ..it.window };
        if window.used < u64::from(self.limit) {
            return Failures { window, ..it };
        }
        let level = it.level.saturating_add(1);
        Failures { window, until: Timestamp(now.0.saturating_add(self.steps.micros(level))), level }
    }

    /// An attempt that was none after all. If it was the one that locked its key out, it does no
    /// more.
    fn refunded(&self, it: Failures, cost: u32, charged: Option<Timestamp>) -> Failures {
        if cost == 0 || charged.is_some_and(|window| window != it.window.ends) {
            return it;
        }
        let window = Window { used: it.window.used.saturating_sub(u64::from(cost)), ..it.window };
        if Lockout::is_locked(it) && window.used < u64::from(self.limit) {
            return Failures { window, until: Timestamp(0), level: it.level.saturating_sub(1) };
        }
        Failures { window, ..it }
    }

    pub(super) fn decide(
        &self,
        it: Failures,
        now: Timestamp,
        cost: u32,
        allowed: bool,
    ) -> Decision {
        if !Lockout::is_locked(it) {
            return decide(self.limit, it.window, now, cost, allowed);
        }
        let ends = it.until;
        if !allowed {
            return Decision::blocked(ends.micros_since(now), cost <= self.limit);
        }
        decide(self.limit, Window { ends, ..it.window }, now, cost, allowed)
    }

    /// A level is remembered for as long as attempts add up, and not less than the longest time
    /// without any.
    fn ends(&self, it: Failures) -> Timestamp {
        let quiet = if it.level > 0 { self.window.max(self.steps.longest()) } else { 0 };
        Timestamp(it.window.ends.max(it.until).0.saturating_add(quiet))
    }
}

impl Algorithm for Lockout {
    type State = Failures;

    fn bring_up(&self, failures: &mut Failures, now: Timestamp) -> bool {
        let stored = *failures;
        *failures = self.current(Some(stored), now);
        match Lockout::is_locked(*failures) {
            true => failures.until < stored.until,
            false => failures.window.used > 0 && failures.window.ends < stored.window.ends,
        }
    }

    fn admits(&self, failures: &Failures, _: Timestamp, cost: u32) -> bool {
        !Lockout::is_locked(*failures) && admits(self.limit, failures.window.used, cost)
    }

    fn charge(&self, failures: &mut Failures, now: Timestamp, cost: u32) -> bool {
        replace(failures, self.charged(*failures, now, cost))
    }

    fn refund(
        &self,
        failures: &mut Failures,
        _: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> bool {
        replace(failures, self.refunded(*failures, cost, charged))
    }

    fn standing(&self, failures: &Failures, _: Timestamp, _: u32, _: bool) -> Standing {
        Standing::Failures(*failures)
    }

    fn expires(&self, failures: &Failures, now: Timestamp) -> Timestamp {
        // Who is locked out has used something.
        let says_nothing = failures.window.used == 0 && failures.level == 0;
        if says_nothing { now } else { self.ends(*failures) }
    }
}
