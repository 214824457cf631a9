//! The generic cell rate algorithm, exact.
//!
//! With N requests in W, one request is worth T = W/N, which is seldom a whole number of
//! microseconds. So times are counted in *ticks* of 1/N µs: a microsecond is N ticks, T is W ticks
//! and a burst of B is B·W ticks, all integers. Nothing is ever rounded but what is reported.
//!
//! Source of the algorithm: ITU-T I.371, annex A (virtual scheduling). A token bucket of B tokens
//! that fills at N/W is the same state, seen from the other side: it holds (now + BT − tat)/T.

use std::time::Duration;

use super::Decision;
use crate::policy::Timestamp;

/// A quota in the numbers that the algorithm computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// N: ticks in a microsecond.
    limit: u32,
    /// W in microseconds, which is also T in ticks.
    period: u64,
    /// B: how many requests may come at once.
    burst: u32,
}

/// The theoretical arrival time: `micros` and `ticks` of 1/N µs. `ticks` is below N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    pub(crate) micros: u64,
    pub(crate) ticks: u32,
}

impl Gcra {
    pub(crate) fn new(limit: u32, period: u64, burst: u32) -> Gcra {
        Gcra { limit, period, burst }
    }

    /// The arrival that a decision at `now` goes by: tat' = max(tat, now).
    ///
    /// No arrival lies further ahead than BT. One that does was left by another clock or a larger
    /// burst, and is brought back, so that it cannot lock its key out.
    pub(super) fn current(&self, stored: Option<Arrival>, now: Timestamp) -> Arrival {
        match stored {
            Some(stored) if stored.micros >= now.0 => {
                let (ahead, capacity) = (self.ahead(stored, now), self.capacity());
                let is_sound = ahead <= capacity && stored.ticks < self.limit;
                if is_sound { stored } else { self.arrival(now, ahead.min(capacity)) }
            }
            _ => Arrival { micros: now.0, ticks: 0 },
        }
    }

    /// It fits iff now ≥ tat' + cT − BT.
    pub(super) fn admits(&self, current: Arrival, now: Timestamp, cost: u32) -> bool {
        self.ahead(current, now) + self.worth(cost) <= self.capacity()
    }

    /// tat = tat' + cT, and no more than all that there is.
    pub(super) fn charged(&self, current: Arrival, now: Timestamp, cost: u32) -> Arrival {
        let ahead = self.ahead(current, now) + self.worth(cost);
        self.arrival(now, ahead.min(self.capacity()))
    }

    /// What has come back by itself since, seen from the arrival that the charge left, is not given
    /// back a second time.
    pub(super) fn refunded(
        &self,
        current: Arrival,
        now: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> Arrival {
        let left = charged.map(|it| self.ahead(Arrival { micros: it.0, ticks: 0 }, now));
        let worth = self.worth(cost).min(left.unwrap_or(u128::MAX));
        self.arrival(now, self.ahead(current, now).saturating_sub(worth))
    }

    pub(super) fn decide(
        &self,
        after: Arrival,
        now: Timestamp,
        cost: u32,
        allowed: bool,
    ) -> Decision {
        let ahead = self.ahead(after, now);
        let left = self.capacity().saturating_sub(ahead);
        let retry_after = if allowed {
            Some(Duration::ZERO)
        } else if cost > self.burst {
            None
        } else {
            Some(self.duration((ahead + self.worth(cost)).saturating_sub(self.capacity())))
        };
        Decision {
            allowed,
            remaining: divide(left, self.period).0,
            full_after: self.duration(ahead),
            retry_after,
            is_blocked: false,
        }
    }

    /// How many requests that were charged for are worth no more than what `arrival` is ahead.
    pub(crate) fn ahead_in_requests(&self, arrival: Arrival, now: Timestamp) -> u64 {
        divide(self.ahead(arrival, now), self.period).0
    }

    /// How long a state stays of interest: at `arrival` the limit is as if it had never been used.
    pub(super) fn expires(arrival: Arrival) -> Timestamp {
        Timestamp(arrival.micros + u64::from(arrival.ticks > 0))
    }

    /// What `count` requests are worth, split so that each part fits a Lua number: whole
    /// microseconds, and ticks.
    pub(crate) fn split_worth(&self, count: u32) -> Arrival {
        self.arrival(Timestamp(0), self.worth(count))
    }

    pub(crate) fn burst(&self) -> u32 {
        self.burst
    }

    /// N, the ticks in a microsecond.
    pub(crate) fn ticks_per_micro(&self) -> u32 {
        self.limit
    }

    /// What `count` requests are worth, in ticks.
    fn worth(&self, count: u32) -> u128 {
        u128::from(count) * u128::from(self.period)
    }

    /// BT, in ticks.
    fn capacity(&self) -> u128 {
        self.worth(self.burst)
    }

    /// The ticks from `now` to `arrival`.
    fn ahead(&self, arrival: Arrival, now: Timestamp) -> u128 {
        let Some(micros) = arrival.micros.checked_sub(now.0) else { return 0 };
        // A state written under a larger N may hold more ticks than this N has.
        let ticks = arrival.ticks.min(self.limit - 1);
        u128::from(micros) * u128::from(self.limit) + u128::from(ticks)
    }

    fn arrival(&self, now: Timestamp, ahead: u128) -> Arrival {
        let (micros, ticks) = divide(ahead, self.limit.into());
        Arrival { micros: now.0.saturating_add(micros), ticks: ticks as u32 }
    }

    /// Rounded up to a microsecond.
    fn duration(&self, ticks: u128) -> Duration {
        let (micros, rest) = divide(ticks, self.limit.into());
        Duration::from_micros(micros.saturating_add(u64::from(rest > 0)))
    }
}

/// What it is, capped, and what is left. Nearly always the numbers are small, and that is several times
/// as fast.
fn divide(dividend: u128, divisor: u64) -> (u64, u64) {
    match u64::try_from(dividend) {
        Ok(dividend) => (dividend / divisor, dividend % divisor),
        Err(_) => {
            let divisor = u128::from(divisor);
            let quotient = u64::try_from(dividend / divisor).unwrap_or(u64::MAX);
            (quotient, (dividend % divisor) as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Quota;
    use crate::policy::limiting::Counting;

    const START: u64 = 1_800_000_000_000_000;

    /// A limit and its one key.
    struct Limit {
        gcra: Gcra,
        arrival: Option<Arrival>,
    }

    impl Limit {
        fn new(quota: Quota) -> Limit {
            let Counting::Gcra(gcra) = quota.counting() else { panic!("GCRA") };
            Limit { gcra, arrival: None }
        }

        fn take_at(&mut self, micros: u64, cost: u32) -> Decision {
            let now = Timestamp(START + micros);
            let current = self.gcra.current(self.arrival, now);
            let allowed = self.gcra.admits(current, now, cost);
            let after = if allowed { self.gcra.charged(current, now, cost) } else { current };
            self.arrival = Some(after);
            self.gcra.decide(after, now, cost, allowed)
        }
    }

    #[test]
    fn a_third_of_a_second_is_exact_at_its_edge() {
        let mut limit = Limit::new(Quota::per_second(3));
        assert_eq!([2, 1, 0], [0; 3].map(|at| limit.take_at(at, 1).remaining));
        assert!(!limit.take_at(333_333, 1).allowed);
        assert!(limit.take_at(333_334, 1).allowed);
        // One second after the start all three thirds have come back, and one of them is spent.
        assert_eq!(limit.take_at(1_000_000, 0).remaining, 2);
    }

    #[test]
    fn a_refusal_names_the_wait_and_charges_nothing() {
        let mut limit = Limit::new(Quota::per_minute(2));
        limit.take_at(0, 1);
        limit.take_at(0, 1);
        for at in [0, 1_000_000, 29_000_000] {
            let refused = limit.take_at(at, 1);
            assert!(!refused.allowed);
            assert_eq!(refused.retry_after, Some(Duration::from_micros(30_000_000 - at)));
        }
        assert!(limit.take_at(30_000_000, 1).allowed);
    }

    #[test]
    fn no_wait_helps_a_cost_above_the_burst() {
        let mut limit = Limit::new(Quota::per_second(5));
        assert_eq!(limit.take_at(0, 6).retry_after, None);
        assert!(limit.take_at(0, 5).allowed);
    }

    #[test]
    fn a_clock_that_went_back_locks_nobody_out() {
        let mut limit = Limit::new(Quota::per_second(1));
        limit.arrival = Some(Arrival { micros: START + 3_600_000_000, ticks: 0 });
        assert!(!limit.take_at(0, 1).allowed);
        assert!(limit.take_at(1_000_000, 1).allowed);
    }

    proptest! {
        /// In any stretch of time, what was allowed fits the burst plus what came back meanwhile.
        #[test]
        fn never_more_than_burst_plus_rate(
            limit in 1u32..50, period_ms in 1u64..100_000, burst in 1u32..50,
            steps in prop::collection::vec((0u64..5_000_000, 1u32..4), 1..60),
        ) {
            let quota = Quota::new(limit, Duration::from_millis(period_ms)).burst(burst);
            let mut key = Limit::new(quota);
            let (mut at, mut allowed) = (0, Vec::new());
            for (step, cost) in steps {
                at += step;
                if key.take_at(at, cost).allowed {
                    allowed.push((at, u128::from(cost)));
                }
            }
            for (i, (from, _)) in allowed.iter().enumerate() {
                let mut spent = 0;
                for (to, cost) in &allowed[i..] {
                    spent += cost;
                    let back = u128::from(to - from) * u128::from(limit);
                    prop_assert!(spent * u128::from(period_ms) * 1_000
                        <= u128::from(burst) * u128::from(period_ms) * 1_000 + back);
                }
            }
        }

        /// Waiting as long as a refusal says is enough, and a microsecond less is not.
        #[test]
        fn the_wait_is_exact(limit in 1u32..1000, period_us in 1u64..10_000_000, at in 0u64..10_000) {
            let mut key = Limit::new(Quota::new(limit, Duration::from_micros(period_us)));
            while key.take_at(at, 1).allowed {}
            let wait = key.take_at(at, 1).retry_after.unwrap().as_micros() as u64;
            prop_assert!(wait > 0);
            prop_assert!(!key.take_at(at + wait - 1, 1).allowed);
            prop_assert!(key.take_at(at + wait, 1).allowed);
        }
    }
}
