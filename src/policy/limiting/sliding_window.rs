//! Two windows, of which the older one fades: prev·(W−elapsed)/W + cur.
//!
//! It costs two numbers whatever the limit, and takes the previous window's requests for evenly
//! spread. So it errs where they were not: when they all came at that window's end, up to nearly
//! twice the limit may come within one window's length; when they came at its beginning, some are
//! refused that a log would admit.

use super::algorithm::{Algorithm, replace};
use super::fixed_window::add;
use super::{Decision, Standing};
use crate::policy::Timestamp;

/// A quota in the numbers that the algorithm computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    limit: u32,
    /// W in microseconds.
    window: u64,
}

/// What a key has used of this window and of the one before. Windows begin at multiples of W.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwoWindows {
    pub(crate) start: Timestamp,
    pub(crate) previous: u64,
    pub(crate) current: u64,
}

impl SlidingWindow {
    pub(crate) fn new(limit: u32, window: u64) -> SlidingWindow {
        SlidingWindow { limit, window }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// The windows at `now`.
    pub(super) fn current(&self, stored: Option<TwoWindows>, now: Timestamp) -> TwoWindows {
        let start = Timestamp(now.0 / self.window * self.window);
        let (previous, current) = match stored {
            None => (0, 0),
            // Of this window, or of a later one, which a clock that went back has left.
            Some(it) if it.start >= start => (it.previous, it.current),
            Some(it) if it.start.0 + self.window >= start.0 => (it.current, 0),
            Some(_) => (0, 0),
        };
        TwoWindows { start, previous, current }
    }

    /// What was charged in a window is given back in that window alone. Where nobody says in which,
    /// what is of this one goes first, and then what is of the one before.
    pub(super) fn refunded(
        &self,
        it: TwoWindows,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> TwoWindows {
        let cost = u64::from(cost);
        let here = match charged {
            Some(window) if window != it.start => 0,
            _ => cost.min(it.current),
        };
        let before = match charged {
            None => cost - here,
            Some(window) if window.0.saturating_add(self.window) == it.start.0 => cost,
            Some(_) => 0,
        };
        let (previous, current) = (it.previous.saturating_sub(before), it.current - here);
        TwoWindows { previous, current, ..it }
    }

    pub(super) fn decide(
        &self,
        it: TwoWindows,
        now: Timestamp,
        cost: u32,
        allowed: bool,
    ) -> Decision {
        let window = u128::from(self.window);
        let used = u128::from(it.current) + self.faded(it, now).div_ceil(window);
        let left = u128::from(self.limit).saturating_sub(used);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let to_next = self.end(it).micros_since(now);
        let full_after = match (it.current, it.previous) {
            (0, 0) => 0,
            (0, _) => to_next,
            _ => to_next + self.window,
        };
        Decision::new(allowed, left, full_after, || self.wait(it, now, cost))
    }

    /// Until `cost` fits if nobody else comes; never, where it is more than the limit.
    fn wait(&self, it: TwoWindows, now: Timestamp, cost: u32) -> Option<u64> {
        // Where `count` fades, `room` is there when that many microseconds of its window are over.
        let elapsed = |count: u64, room: u64| {
            let (count, window) = (u128::from(count), u128::from(self.window));
            let over = count.saturating_sub(u128::from(room)) * window;
            if count == 0 { 0 } else { over.div_ceil(count) as u64 }
        };
        let at = match self.room(it.current, cost) {
            Some(room) => it.start.0 + elapsed(it.previous, room),
            // Only in the next window, in which what is current fades.
            None => self.end(it).0 + elapsed(it.current, self.room(0, cost)?),
        };
        Some(Timestamp(at).micros_since(now))
    }

    fn room(&self, current: u64, cost: u32) -> Option<u64> {
        u64::from(self.limit).checked_sub(current)?.checked_sub(u64::from(cost))
    }

    /// prev·(W−elapsed): what is left of the previous window, in requests times microseconds.
    fn faded(&self, it: TwoWindows, now: Timestamp) -> u128 {
        u128::from(it.previous) * u128::from(self.end(it).micros_since(now))
    }

    fn end(&self, it: TwoWindows) -> Timestamp {
        Timestamp(it.start.0 + self.window)
    }
}

impl Algorithm for SlidingWindow {
    type State = TwoWindows;

    fn bring_up(&self, both: &mut TwoWindows, now: Timestamp) -> bool {
        let stored = *both;
        *both = self.current(Some(stored), now);
        both.start < stored.start
    }

    /// prev·(W−elapsed)/W + cur + cost ≤ N, in integers.
    fn admits(&self, both: &TwoWindows, now: Timestamp, cost: u32) -> bool {
        let Some(room) = self.room(both.current, cost) else { return cost == 0 };
        cost == 0 || self.faded(*both, now) <= u128::from(room) * u128::from(self.window)
    }

    fn charge(&self, both: &mut TwoWindows, _: Timestamp, cost: u32) -> bool {
        replace(both, TwoWindows { current: add(both.current, cost), ..*both })
    }

    fn refund(
        &self,
        both: &mut TwoWindows,
        _: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> bool {
        replace(both, self.refunded(*both, cost, charged))
    }

    fn standing(&self, both: &TwoWindows, _: Timestamp, _: u32, _: bool) -> Standing {
        Standing::TwoWindows(*both)
    }

    fn expires(&self, both: &TwoWindows, now: Timestamp) -> Timestamp {
        match (both.current, both.previous) {
            (0, 0) => now,
            (0, _) => self.end(*both),
            _ => Timestamp(both.start.0 + 2 * self.window),
        }
    }
}
