//! The generic cell rate algorithm, exact.
//!
//! With N requests in W, one request is worth T = W/N, which is seldom a whole number of
//! microseconds. So times are whole microseconds and *ticks* of 1/N µs, of which T has W and a
//! burst of B has B·W. Nothing is ever rounded but what is reported.
//!
//! Source of the algorithm: ITU-T I.371, annex A (virtual scheduling). A token bucket of B tokens
//! that fills at N/W is the same state, seen from the other side: it holds (now + BT − tat)/T.

use super::algorithm::{Algorithm, replace};
use super::{Decision, Standing};
use crate::policy::Timestamp;

/// A quota in the numbers that the algorithm computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// N: ticks in a microsecond.
    limit: u32,
    /// W in microseconds, which is also T in ticks.
    period: Divisor,
    /// B: how many requests may come at once.
    burst: u32,
    /// T.
    one: Arrival,
    /// BT.
    whole: Arrival,
}

/// The theoretical arrival time, or a stretch of time: `micros` and `ticks` of 1/N µs. `ticks` is
/// below N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    pub(crate) micros: u64,
    pub(crate) ticks: u32,
}

impl Gcra {
    pub(crate) fn new(limit: u32, period: u64, burst: u32) -> Gcra {
        let worth = |count| split(u128::from(count) * u128::from(period), limit);
        let (one, whole) = (worth(1), worth(burst));
        Gcra { limit, period: Divisor::new(period), burst, one, whole }
    }

    /// The arrival that a decision at `now` goes by: tat' = max(tat, now).
    ///
    /// No arrival lies further ahead than BT. One that does was left by another clock or a larger
    /// burst, and is brought back, so that it cannot lock its key out.
    #[inline]
    pub(super) fn current(&self, stored: Option<Arrival>, now: Timestamp) -> Arrival {
        match stored {
            Some(Arrival { micros, ticks }) if micros >= now.0 => {
                // A state written under a larger N may hold more ticks than this N has.
                let ticks = ticks.min(self.limit - 1);
                Arrival { micros, ticks }.min(self.latest(now))
            }
            _ => Arrival { micros: now.0, ticks: 0 },
        }
    }

    /// Charges what fits, and says what is left: tat' = max(tat, now), and tat = tat' + cT if that is
    /// no later than now + BT. What costs nothing or does not fit is for others to see to; so is a
    /// tat' that lies too far ahead, as nothing fits there.
    #[inline]
    pub(super) fn admit(
        &self,
        stored: &mut Arrival,
        now: Timestamp,
        cost: u32,
    ) -> Option<Decision> {
        let ticks = if stored.micros < now.0 { 0 } else { stored.ticks.min(self.limit - 1) };
        let current = Arrival { micros: stored.micros.max(now.0), ticks };
        let after = self.plus(current, self.split_worth(cost));
        if cost == 0 || after > self.latest(now) {
            return None;
        }
        *stored = after;
        Some(self.decide(after, now, cost, true))
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
        let worth = self.split_worth(cost);
        let left = charged.map(|it| self.ahead(Arrival { micros: it.0, ticks: 0 }, now));
        let back = left.map_or(worth, |left| worth.min(left));
        let Arrival { micros, ticks } = self.minus(self.ahead(current, now), back);
        Arrival { micros: now.0.saturating_add(micros), ticks }
    }

    #[inline]
    pub(super) fn decide(
        &self,
        after: Arrival,
        now: Timestamp,
        cost: u32,
        allowed: bool,
    ) -> Decision {
        let ahead = self.ahead(after, now);
        let remaining = self.in_requests(self.minus(self.whole, ahead));
        Decision::new(allowed, remaining, ahead.rounded_up(), || {
            let will_fit = cost <= self.burst;
            let over = || self.minus(self.plus(ahead, self.split_worth(cost)), self.whole);
            will_fit.then(|| over().rounded_up())
        })
    }

    /// How many requests that were charged for are worth no more than what `arrival` is ahead.
    pub(crate) fn ahead_in_requests(&self, arrival: Arrival, now: Timestamp) -> u64 {
        self.in_requests(self.ahead(arrival, now))
    }

    /// What `count` requests are worth, split so that each part fits a Lua number: whole
    /// microseconds, and ticks.
    #[inline]
    pub(crate) fn split_worth(&self, count: u32) -> Arrival {
        match count {
            0 => Arrival::default(),
            1 => self.one,
            _ => split(u128::from(count) * u128::from(self.period.value), self.limit),
        }
    }

    pub(crate) fn burst(&self) -> u32 {
        self.burst
    }

    /// N, the ticks in a microsecond.
    pub(crate) fn ticks_per_micro(&self) -> u32 {
        self.limit
    }

    /// The latest arrival there may be: now + BT.
    #[inline]
    fn latest(&self, now: Timestamp) -> Arrival {
        let Arrival { micros, ticks } = self.whole;
        Arrival { micros: now.0.saturating_add(micros), ticks }
    }

    /// From `now` to `arrival`.
    #[inline]
    fn ahead(&self, arrival: Arrival, now: Timestamp) -> Arrival {
        match arrival.micros.checked_sub(now.0) {
            Some(micros) => Arrival { micros, ticks: arrival.ticks.min(self.limit - 1) },
            None => Arrival::default(),
        }
    }

    #[inline]
    fn plus(&self, arrival: Arrival, time: Arrival) -> Arrival {
        let micros = arrival.micros.saturating_add(time.micros);
        match time.ticks.checked_sub(self.limit - arrival.ticks) {
            Some(ticks) => Arrival { micros: micros.saturating_add(1), ticks },
            None => Arrival { micros, ticks: arrival.ticks + time.ticks },
        }
    }

    /// Nothing, where there is less.
    #[inline]
    fn minus(&self, arrival: Arrival, time: Arrival) -> Arrival {
        let Some(micros) = arrival.micros.checked_sub(time.micros) else {
            return Arrival::default();
        };
        match (arrival.ticks.checked_sub(time.ticks), micros.checked_sub(1)) {
            (Some(ticks), _) => Arrival { micros, ticks },
            (None, Some(micros)) => {
                Arrival { micros, ticks: self.limit - (time.ticks - arrival.ticks) }
            }
            (None, None) => Arrival::default(),
        }
    }

    /// How many requests a stretch of time is worth, rounded down.
    #[inline]
    fn in_requests(&self, time: Arrival) -> u64 {
        let ticks = u128::from(time.micros) * u128::from(self.limit) + u128::from(time.ticks);
        self.period.divide(ticks)
    }
}

impl Algorithm for Gcra {
    type State = Arrival;

    #[inline]
    fn bring_up(&self, arrival: &mut Arrival, now: Timestamp) -> bool {
        let stored = *arrival;
        *arrival = self.current(Some(stored), now);
        // What is less than a microsecond, in the ticks of another N, locks nobody out.
        *arrival < Arrival { ticks: stored.ticks.min(self.limit - 1), ..stored }
    }

    /// It fits iff now ≥ tat' + cT − BT.
    #[inline]
    fn admits(&self, current: &Arrival, now: Timestamp, cost: u32) -> bool {
        self.plus(*current, self.split_worth(cost)) <= self.latest(now)
    }

    /// tat = tat' + cT, and no more than all that there is.
    #[inline]
    fn charge(&self, arrival: &mut Arrival, now: Timestamp, cost: u32) -> bool {
        replace(arrival, self.plus(*arrival, self.split_worth(cost)).min(self.latest(now)))
    }

    fn refund(
        &self,
        arrival: &mut Arrival,
        now: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> bool {
        replace(arrival, self.refunded(*arrival, now, cost, charged))
    }

    #[inline]
    fn standing(&self, arrival: &Arrival, _: Timestamp, _: u32, _: bool) -> Standing {
        Standing::Arrival(*arrival)
    }

    /// At the arrival the limit is as if it had never been used.
    #[inline]
    fn expires(&self, arrival: &Arrival, _: Timestamp) -> Timestamp {
        Timestamp(arrival.micros + u64::from(arrival.ticks > 0))
    }
}

impl Arrival {
    /// In microseconds.
    #[inline]
    fn rounded_up(self) -> u64 {
        self.micros.saturating_add(u64::from(self.ticks > 0))
    }
}

fn split(ticks: u128, limit: u32) -> Arrival {
    let limit = u128::from(limit);
    // The rest is below what is a `u32`.
    let (micros, ticks) = (ticks / limit, (ticks % limit) as u32);
    Arrival { micros: u64::try_from(micros).unwrap_or(u64::MAX), ticks }
}

/// A number that others are divided by, again and again: without a division, which is what takes
/// longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Divisor {
    value: u64,
    /// ⌊(2^64 − 1)/value⌋.
    inverse: u64,
}

impl Divisor {
    fn new(value: u64) -> Divisor {
        Divisor { value, inverse: u64::MAX / value }
    }

    /// Rounded down, and capped.
    #[inline]
    fn divide(self, dividend: u128) -> u64 {
        let Ok(dividend) = u64::try_from(dividend) else {
            return u64::try_from(dividend / u128::from(self.value)).unwrap_or(u64::MAX);
        };
        // Too little by at most 1: the inverse is too little by less than dividend/2^64 would make
        // up for.
        let quotient = ((u128::from(dividend) * u128::from(self.inverse)) >> 64) as u64;
        quotient + u64::from(dividend - quotient * self.value >= self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            let mut after = current;
            let allowed = self.gcra.admits(&current, now, cost);
            if allowed {
                self.gcra.charge(&mut after, now, cost);
            }
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
            assert_eq!(refused.retry_after(), Some(Duration::from_micros(30_000_000 - at)));
        }
        assert!(limit.take_at(30_000_000, 1).allowed);
    }

    #[test]
    fn no_wait_helps_a_cost_above_the_burst() {
        let mut limit = Limit::new(Quota::per_second(5));
        assert_eq!(limit.take_at(0, 6).retry_after(), None);
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
        /// 1, and what is a power of 2 or next to one, are where an inverse could be off.
        #[test]
        fn a_division_is_exact(shift in 0u32..64, off in -1i64..2, dividend: u64, high: u8) {
            let divisor = (1u64 << shift).saturating_add_signed(off).max(1);
            let by = Divisor::new(divisor);
            for dividend in [dividend, dividend % divisor, dividend / divisor * divisor, u64::MAX] {
                prop_assert_eq!(by.divide(dividend.into()), dividend / divisor);
            }
            let large = u128::from(high) << 64 | u128::from(dividend);
            let exact = u64::try_from(large / u128::from(divisor)).unwrap_or(u64::MAX);
            prop_assert_eq!(by.divide(large), exact);
        }

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
            let wait = key.take_at(at, 1).retry_after().unwrap().as_micros() as u64;
            prop_assert!(wait > 0);
            prop_assert!(!key.take_at(at + wait - 1, 1).allowed);
            prop_assert!(key.take_at(at + wait, 1).allowed);
        }
    }
}
