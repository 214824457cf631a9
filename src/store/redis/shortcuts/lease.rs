//! What was charged ahead, and what may still be spent of it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::policy::Timestamp;
use crate::policy::limiting::{Counting, Standing, Taken};
use crate::store::verbs::Rule;

/// What was charged, and not yet spent.
pub(super) struct Lease {
    pub(super) left: u32,
    pub(super) found: Found,
}

/// What the store said, and when it was asked.
#[derive(Clone)]
pub(in super::super) struct Found {
    pub(in super::super) rule: Arc<Rule>,
    pub(in super::super) taken: Taken,
    pub(in super::super) sent: Instant,
    pub(in super::super) received: Instant,
}

impl Lease {
    /// Never more than the limit would have admitted now, had nothing been charged ahead.
    pub(super) fn spend(&mut self, cost: u32, now: Instant) -> Option<Taken> {
        self.lapse(now, Timestamp(0));
        if self.left == 0 {
            // Of a lease that is over, who only looks learns nothing.
            return None;
        }
        self.left = self.left.checked_sub(cost)?;
        Some(self.taken(now))
    }

    /// Whether nothing of it may be spent any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.left.min(self.usable(now, Timestamp(0))) == 0
    }

    /// What was leased and would have come back by itself meanwhile is gone.
    fn lapse(&mut self, now: Instant, not_before: Timestamp) {
        self.left = self.left.min(self.usable(now, not_before));
    }

    /// While the limit is not full in between, it does not matter when a request was charged for.
    fn usable(&self, now: Instant, not_before: Timestamp) -> u32 {
        // The server's clock is not later than that.
        let at = self.found.taken.now.after(now.duration_since(self.found.sent));
        let at = Timestamp(at.0.max(not_before.0));
        let usable = match (self.found.rule.counting, self.found.taken.standing) {
            (Counting::Gcra(gcra), Standing::Arrival(arrival)) => {
                gcra.ahead_in_requests(arrival, at)
            }
            (Counting::FixedWindow(_), Standing::Window(window)) if at < window.ends => u64::MAX,
            (Counting::SlidingWindow(it), Standing::TwoWindows(both))
                if at.0 < both.start.0 + it.window() =>
            {
                u64::MAX
            }
            _ => 0,
        };
        u32::try_from(usable).unwrap_or(u32::MAX)
    }

    /// One of two. Both were charged, so where the limit stood after the second, it stood with
    /// both: what had come back of the first by then is gone, and the rest is as if charged with
    /// the second.
    pub(super) fn and(self, other: Lease, now: Instant) -> Lease {
        let in_order = self.found.taken.now <= other.found.taken.now;
        let (mut first, mut second) = if in_order { (self, other) } else { (other, self) };
        first.lapse(now, second.found.taken.now);
        second.left = second.left.saturating_add(first.left);
        second
    }

    /// Where the limit stands, as if what is left had not been charged.
    pub(super) fn taken(&self, now: Instant) -> Taken {
        let taken = self.found.later(now);
        let standing = self.found.rule.counting.without(taken.standing, taken.now, self.left);
        Taken { fits: true, standing, ..taken }
    }
}

impl Found {
    /// The same at a later moment.
    pub(super) fn later(&self, now: Instant) -> Taken {
        let passed = now.saturating_duration_since(self.received);
        Taken { now: Timestamp(self.taken.now.after(passed).0), ..self.taken }
    }
}

#[cfg(test)]
mod tests;
