//! A number of requests in each window of time, and all of them again in the next.
//!
//! Simple to explain and cheap, but two windows meet at an edge: around it up to twice the limit may
//! come within one window's length. Where that matters, count otherwise.

use super::algorithm::{Algorithm, replace};
use super::{Calendar, Decision, Standing};
use crate::policy::Timestamp;

/// A quota in the numbers that the algorithm computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixedWindow {
    limit: u32,
    opening: Opening,
}

/// When windows begin. Lengths are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// With the first request after the last one's end.
    FirstRequest(u64),
    /// At multiples of the length since 1970.
    Multiples(u64),
    /// With a day or a month.
    Calendar(Calendar),
}

/// What a key has used of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) used: u64,
    pub(crate) ends: Timestamp,
}

impl FixedWindow {
    pub(crate) fn new(limit: u32, opening: Opening) -> FixedWindow {
        FixedWindow { limit, opening }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn opening(&self) -> Opening {
        self.opening
    }

    /// The window at `now`.
    pub(super) fn current(&self, stored: Option<Window>, now: Timestamp) -> Window {
        let end = self.end(now);
        match (stored, self.opening) {
            // No window ends later than one that begins now: a longer one was left by another clock
            // or a longer period. One of which all was given back has not begun.
            (Some(it), Opening::FirstRequest(_)) if it.used > 0 && it.ends > now => {
                Window { used: it.used, ends: it.ends.min(end) }
            }
            // A later one was left by a clock that went back. Its requests count here.
            (Some(it), Opening::Multiples(_) | Opening::Calendar(_)) if it.ends >= end => {
                Window { used: it.used, ends: end }
            }
            _ => Window { used: 0, ends: end },
        }
    }

    /// What was charged in a window is given back in that window alone.
    pub(super) fn refunded(&self, it: Window, cost: u32, charged: Option<Timestamp>) -> Window {
        match charged {
            Some(window) if window != it.ends => it,
            _ => Window { used: it.used.saturating_sub(u64::from(cost)), ..it },
        }
    }

    pub(super) fn decide(
        &self,
        after: Window,
        now: Timestamp,
        cost: u32,
        allowed: bool,
    ) -> Decision {
        decide(self.limit, after, now, cost, allowed)
    }

    /// Where a window that contains, or begins with, `now` ends.
    fn end(&self, now: Timestamp) -> Timestamp {
        match self.opening {
            Opening::FirstRequest(length) => Timestamp(now.0.saturating_add(length)),
            Opening::Multiples(length) => Timestamp((now.0 / length + 1).saturating_mul(length)),
            Opening::Calendar(calendar) => calendar.end(now),
        }
    }
}

impl Algorithm for FixedWindow {
    type State = Window;

    fn bring_up(&self, window: &mut Window, now: Timestamp) -> bool {
        let stored = *window;
        *window = self.current(Some(stored), now);
        window.used > 0 && window.ends < stored.ends
    }

    fn admits(&self, window: &Window, _: Timestamp, cost: u32) -> bool {
        admits(self.limit, window.used, cost)
    }

    fn charge(&self, window: &mut Window, _: Timestamp, cost: u32) -> bool {
        replace(window, Window { used: add(window.used, cost), ..*window })
    }

    fn refund(
        &self,
        window: &mut Window,
        _: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> bool {
        replace(window, self.refunded(*window, cost, charged))
    }

    fn standing(&self, window: &Window, _: Timestamp, _: u32, _: bool) -> Standing {
        Standing::Window(*window)
    }

    fn expires(&self, window: &Window, now: Timestamp) -> Timestamp {
        if window.used == 0 { now } else { window.ends }
    }
}

/// What is over the limit is due to charges that were not asked for; looking costs nothing.
pub(super) fn admits(limit: u32, used: u64, cost: u32) -> bool {
    cost == 0 || used + u64::from(cost) <= u64::from(limit)
}

/// As much as a Lua number holds exactly.
pub(super) fn add(used: u64, cost: u32) -> u64 {
    (used + u64::from(cost)).min(1 << 52)
}

pub(super) fn decide(
    limit: u32,
    after: Window,
    now: Timestamp,
    cost: u32,
    allowed: bool,
) -> Decision {
    let wait = after.ends.micros_since(now);
    let full_after = if after.used == 0 { 0 } else { wait };
    let left = u64::from(limit).saturating_sub(after.used);
    Decision::new(allowed, left, full_after, || (cost <= limit).then_some(wait))
}
