use std::time::Duration;

use crate::policy::Quota;
use crate::policy::limiting::{Act, Counting, Opening, Taken};

/// Midnight, UTC, of the 1st of February 2096, a month of 29 days: a multiple of every period in the
/// tables. In microseconds since 1970.
pub(crate) const START: u64 = 46_052 * 86_400 * 1_000_000;

/// What one key of a limit is asked, one after the other, and what it has to answer.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) quota: Quota,
    pub(crate) rows: &'static [Row],
}

/// Times are in microseconds. A refund is of what was taken last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Since [`START`].
    pub(crate) at: u64,
    pub(crate) act: Act,
    pub(crate) cost: u32,
    allowed: bool,
    remaining: u64,
    wait: Option<u64>,
    full_after: u64,
}

/// It fits, or was done.
pub(super) const fn yes(at: u64, act: Act, cost: u32, remaining: u64, full_after: u64) -> Row {
    Row { at, act, cost, allowed: true, remaining, wait: Some(0), full_after }
}

/// It will fit after `wait`.
pub(super) const fn no(
    at: u64,
    act: Act,
    cost: u32,
    remaining: u64,
    wait: u64,
    full_after: u64,
) -> Row {
    Row { at, act, cost, allowed: false, remaining, wait: Some(wait), full_after }
}

/// It costs more than there ever is.
pub(super) const fn never(at: u64, act: Act, cost: u32, remaining: u64, full_after: u64) -> Row {
    Row { at, act, cost, allowed: false, remaining, wait: None, full_after }
}

impl Table {
    pub(crate) fn is_by_calendar(&self) -> bool {
        let Counting::FixedWindow(it) = self.quota.counting() else { return false };
        matches!(it.opening(), Opening::Calendar(_))
    }

    /// # Panics
    /// When a store, or the policy, answers otherwise than a row says.
    pub(crate) fn check(&self, row: &Row, taken: &Taken) {
        let found = self.quota.counting().decide(taken, row.cost);
        assert_eq!(
            (found.allowed, found.remaining, found.retry_after, found.full_after),
            (
                row.allowed,
                row.remaining,
                row.wait.map(Duration::from_micros),
                Duration::from_micros(row.full_after),
            ),
            "{}: {row:?}",
            self.name
        );
    }
}
