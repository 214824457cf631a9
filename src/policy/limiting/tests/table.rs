use std::time::Duration;

use crate::policy::limiting::{Act, Counting, Opening, Taken};
use crate::policy::{Quota, Timestamp};

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

/// Times are in microseconds.
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
    back: Back,
}

/// What a refund is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    /// What was taken last.
    Last,
    /// What was taken at this time.
    TakenAt(u64),
    /// Of nothing in particular, as code gives back.
    Any,
}

/// What the takes of a table have charged, for its refunds to name.
#[derive(Debug, Default)]
pub(crate) struct Marks(Vec<(u64, Timestamp)>);

/// It fits, or was done.
pub(super) const fn yes(at: u64, act: Act, cost: u32, remaining: u64, full_after: u64) -> Row {
    Row { at, act, cost, allowed: true, remaining, wait: Some(0), full_after, back: Back::Last }
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
    Row { wait: Some(wait), ..never(at, act, cost, remaining, full_after) }
}

/// It costs more than there ever is.
pub(super) const fn never(at: u64, act: Act, cost: u32, remaining: u64, full_after: u64) -> Row {
    Row { allowed: false, wait: None, ..yes(at, act, cost, remaining, full_after) }
}

impl Row {
    /// A refund of what was taken at this time.
    pub(super) const fn of(self, at: u64) -> Row {
        Row { back: Back::TakenAt(at), ..self }
    }

    /// A refund that does not say what it is of.
    pub(super) const fn of_any(self) -> Row {
        Row { back: Back::Any, ..self }
    }
}

impl Marks {
    pub(crate) fn of(&self, row: &Row) -> Option<Timestamp> {
        let mut marks = self.0.iter().rev();
        let found = match row.back {
            Back::Last => marks.next(),
            Back::TakenAt(at) => marks.find(|(taken_at, _)| *taken_at == at),
            Back::Any => None,
        };
        found.map(|(_, mark)| *mark)
    }

    pub(crate) fn note(&mut self, row: &Row, taken: &Taken) {
        if row.act == Act::Take && taken.fits {
            self.0.push((row.at, taken.mark()));
        }
    }
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
            (found.allowed, found.remaining, found.retry_after(), found.full_after()),
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
