//! Never more than N in any window, and nothing refused that would fit: a log of what was admitted.
//!
//! An entry is a time and the sum of all costs up to it, so what the live entries cost is one
//! subtraction. Entries in (t−W, t] are live. A log takes memory for each request that it admits,
//! up to N of them.
//!
//! What is given back is taken out where it was charged, and all later sums are lowered: the others
//! stay for their own windows, neither longer nor shorter. So whoever gives back what was no
//! failure keeps no failure alive.

use std::collections::VecDeque;

use super::algorithm::Algorithm;
use super::fixed_window::admits;
use super::{Act, Ask, Decision, Done, Look, Standing};
use crate::policy::Timestamp;

/// A quota in the numbers that the algorithm computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingLog {
    limit: u32,
    /// W in microseconds.
    window: u64,
}

/// What was admitted, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The sum of all costs before the first entry.
    base: u64,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Timestamp,
    /// The sum of all costs up to and with this one.
    sum: u64,
}

/// What there is to say of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) used: u64,
    /// When what was asked for will fit; zero where it fits, or never will.
    pub(crate) fits: Timestamp,
    /// When the last entry ends; zero where there is none.
    pub(crate) empty: Timestamp,
}

impl SlidingLog {
    pub(crate) fn new(limit: u32, window: u64) -> SlidingLog {
        SlidingLog { limit, window }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// An entry that is yet to come was left by another clock. It counts as one of now, so that it
    /// cannot lock its key out.
    pub(super) fn logged(&self, log: &Log, now: Timestamp, cost: u32, allowed: bool) -> Logged {
        let used = self.used(log, now);
        let ends = |entry: &Entry| Timestamp(entry.at.min(now).0 + self.window);
        let fits = if allowed || cost > self.limit {
            None
        } else {
            // The first whose end leaves room enough.
            let wanted = log.sum() + u64::from(cost) - u64::from(self.limit);
            log.entries.get(log.entries.partition_point(|entry| entry.sum < wanted))
        };
        let last = log.entries.back().filter(|_| used > 0);
        let (fits, empty) = (fits.map_or(Timestamp(0), ends), last.map_or(Timestamp(0), ends));
        Logged { used, fits, empty }
    }

    /// What the live entries cost.
    pub(crate) fn used(&self, log: &Log, now: Timestamp) -> u64 {
        log.sum() - log.sum_of(self.ended(log, now))
    }

    /// How many entries are no longer live: mostly none, of a log that was brought up.
    fn ended(&self, log: &Log, now: Timestamp) -> usize {
        let has_ended = |entry: &Entry| entry.at.0 + self.window <= now.0;
        match log.entries.front() {
            Some(first) if has_ended(first) => log.entries.partition_point(has_ended),
            _ => 0,
        }
    }

    pub(super) fn decide(&self, it: Logged, now: Timestamp, cost: u32, allowed: bool) -> Decision {
        let left = u64::from(self.limit).saturating_sub(it.used);
        Decision::new(allowed, left, it.empty.micros_since(now), || {
            (cost <= self.limit).then(|| it.fits.micros_since(now))
        })
    }
}

impl Algorithm for SlidingLog {
    type State = Log;

    /// Drops what is not live at `now`.
    fn bring_up(&self, log: &mut Log, now: Timestamp) -> bool {
        let sum = log.sum();
        let is_ahead = log.entries.back().is_some_and(|last| last.at > now);
        if is_ahead {
            log.entries.truncate(log.entries.partition_point(|entry| entry.at <= now));
            log.entries.push_back(Entry { at: now, sum });
        }
        let ended = self.ended(log, now);
        if ended > 0 {
            log.base = log.sum_of(ended);
            log.entries.drain(..ended);
        }
        is_ahead || ended > 0
    }

    /// Who only looks leaves a log as it is, which is too long to be copied for that.
    fn look(&self, log: &mut Log, ask: &Ask) -> Look {
        let is_brought_back = ask.act != Act::Peek && self.bring_up(log, ask.now);
        Look { fits: self.can_be_done(log, ask), is_brought_back }
    }

    fn apply(&self, log: &mut Log, ask: &Ask) -> Done {
        let look = self.look(log, ask);
        self.act(log, ask, look)
    }

    fn admits(&self, log: &Log, now: Timestamp, cost: u32) -> bool {
        admits(self.limit, self.used(log, now), cost)
    }

    fn charge(&self, log: &mut Log, now: Timestamp, cost: u32) -> bool {
        if cost == 0 {
            return false;
        }
        let sum = log.sum() + u64::from(cost);
        match log.entries.back_mut() {
            Some(last) if last.at == now => last.sum = sum,
            _ => log.entries.push_back(Entry { at: now, sum }),
        }
        true
    }

    /// Takes out what was charged at that time, as far as it is live; without a time, what was
    /// charged last.
    fn refund(&self, log: &mut Log, _: Timestamp, cost: u32, charged: Option<Timestamp>) -> bool {
        let (from, to) = match charged {
            Some(at) => (log.sum_before(at), log.sum_before(Timestamp(at.0.saturating_add(1)))),
            None => (log.base, log.sum()),
        };
        log.cut(to.saturating_sub(cost.into()).max(from), to)
    }

    fn standing(&self, log: &Log, now: Timestamp, cost: u32, fits: bool) -> Standing {
        Standing::Logged(self.logged(log, now, cost, fits))
    }

    fn expires(&self, log: &Log, now: Timestamp) -> Timestamp {
        self.logged(log, now, 0, true).empty.max(now)
    }
}

impl Log {
    /// The bytes that the entries take.
    pub(crate) fn weight(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// The bytes that they take with one more.
    pub(crate) fn next_weight(&self) -> usize {
        let is_full = self.entries.len() == self.entries.capacity();
        self.weight() * if is_full { 2 } else { 1 }
    }

    fn sum(&self) -> u64 {
        self.entries.back().map_or(self.base, |last| last.sum)
    }

    /// The sum of all costs before a time.
    fn sum_before(&self, at: Timestamp) -> u64 {
        self.sum_of(self.entries.partition_point(|entry| entry.at < at))
    }

    /// The sum of all costs up to and with the first `count` entries.
    fn sum_of(&self, count: usize) -> u64 {
        count.checked_sub(1).map_or(self.base, |last| self.entries[last].sum)
    }

    /// Takes out what was charged between two sums, of which `to` is an entry's, if anything. It
    /// costs a step for each later entry; most often there are few.
    fn cut(&mut self, from: u64, to: u64) -> bool {
        if from >= to {
            return false;
        }
        // An entry before the cut stays, or the part of one.
        let kept = match from > self.base {
            true => self.entries.partition_point(|entry| entry.sum < from) + 1,
            false => 0,
        };
        self.entries.drain(kept..self.entries.partition_point(|entry| entry.sum <= to));
        if let Some(last) = kept.checked_sub(1) {
            self.entries[last].sum = from;
        }
        self.entries.range_mut(kept..).for_each(|entry| entry.sum -= to - from);
        true
    }
}
