//! The generic cell rate algorithm, exact.
//!
//! With N requests in W, one request is worth T = W/N, which is seldom a whole number of
//! microseconds. So times are counted in *ticks* of 1/N µs: a microsecond is N ticks, T is W ticks
//! and a burst of B is B·W ticks, all integers. Nothing is ever rounded but what is reported.
//!
//! Source of the algorithm: ITU-T I.371, annex A (virtual scheduling).

use std::time::Duration;

use super::{Quota, Timestamp, micros};

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

/// A limit's state right after a decision, and whether it let the request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) allowed: bool,
    pub(crate) now: Timestamp,
    pub(crate) arrival: Arrival,
}

/// What a caller may be told about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Requests that would be allowed right now.
    pub(crate) remaining: u32,
    /// Until the whole burst is there again.
    pub(crate) full_after: Duration,
    /// Until the same request would be allowed: zero when it was, `None` when it never will be,
    /// because it costs more than the burst.
    pub(crate) retry_after: Option<Duration>,
}

impl Gcra {
    pub(crate) fn new(quota: Quota) -> Gcra {
        Gcra { limit: quota.limit(), period: micros(quota.period()), burst: quota.burst_size() }
    }

    /// Takes `cost` if it fits. With tat' = max(tat, now): it fits iff now ≥ tat' + cT − BT, and
    /// then tat = tat' + cT. A refusal charges nothing.
    ///
    /// No arrival lies further ahead than BT. One that does was left by another clock or a larger
    /// burst, and is brought back, so that it cannot lock its key out.
    pub(crate) fn take(&self, stored: Option<Arrival>, now: Timestamp, cost: u32) -> Taken {
        let now_ticks = self.ticks(Arrival { micros: now.0, ticks: 0 });
        let horizon = now_ticks + self.worth(self.burst);
        let arrival =
            stored.map_or(now_ticks, |stored| self.ticks(stored).max(now_ticks)).min(horizon);
        let next = arrival + self.worth(cost);
        let allowed = next <= horizon;
        Taken { allowed, now, arrival: self.arrival(if allowed { next } else { arrival }) }
    }

    pub(crate) fn decide(&self, taken: Taken, cost: u32) -> Decision {
        let now = self.ticks(Arrival { micros: taken.now.0, ticks: 0 });
        let arrival = self.ticks(taken.arrival).max(now);
        let horizon = now + self.worth(self.burst);
        let wait = (arrival + self.worth(cost)).saturating_sub(horizon);
        let remaining = horizon.saturating_sub(arrival) / self.worth(1);
        Decision {
            allowed: taken.allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_after: self.duration(arrival - now),
            retry_after: if taken.allowed {
                Some(Duration::ZERO)
            } else if cost > self.burst {
                None
            } else {
                Some(self.duration(wait))
            },
        }
    }

    /// What `count` requests are worth, in ticks.
    fn worth(&self, count: u32) -> u128 {
        u128::from(count) * u128::from(self.period)
    }

    /// `worth(count)` split so that each part fits a Lua number: whole microseconds, and ticks.
    pub(crate) fn split_worth(&self, count: u32) -> Arrival {
        self.arrival(self.worth(count))
    }

    pub(crate) fn burst(&self) -> u32 {
        self.burst
    }

    /// N, the ticks in a microsecond.
    pub(crate) fn ticks_per_micro(&self) -> u32 {
        self.limit
    }

    /// How long a state stays of interest: at `arrival` the limit is as if it had never been used.
    pub(crate) fn expiry(arrival: Arrival) -> Timestamp {
        Timestamp(arrival.micros + u64::from(arrival.ticks > 0))
    }

    fn ticks(&self, arrival: Arrival) -> u128 {
        // A state written under a larger N may hold more ticks than this N has.
        let ticks = arrival.ticks.min(self.limit - 1);
        u128::from(arrival.micros) * u128::from(self.limit) + u128::from(ticks)
    }

    fn arrival(&self, ticks: u128) -> Arrival {
        let limit = u128::from(self.limit);
        Arrival {
            micros: u64::try_from(ticks / limit).unwrap_or(u64::MAX),
            ticks: (ticks % limit) as u32,
        }
    }

    /// Rounded up to a microsecond.
    fn duration(&self, ticks: u128) -> Duration {
        let micros = ticks.div_ceil(u128::from(self.limit));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_800_000_000_000_000;

    /// A limit and its one key.
    struct Limit {
        gcra: Gcra,
        arrival: Option<Arrival>,
    }

    impl Limit {
        fn new(quota: Quota) -> Limit {
            Limit { gcra: Gcra::new(quota), arrival: None }
        }

        fn take_at(&mut self, micros: u64, cost: u32) -> Decision {
            let taken = self.gcra.take(self.arrival, Timestamp(START + micros), cost);
            self.arrival = Some(taken.arrival);
            self.gcra.decide(taken, cost)
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
