use super::{
    Arrival, Decision, Failures, FixedWindow, Gcra, Lockout, Log, Logged, SlidingLog,
    SlidingWindow, TwoWindows, Window,
};
use crate::policy::Timestamp;

/// An algorithm with a quota in its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    Gcra(Gcra),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    SlidingLog(SlidingLog),
    Lockout(Lockout),
}

/// What is done to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Charges if it fits.
    Take,
    /// Says whether it would fit.
    Peek,
    /// Charges whether it fits or not.
    Charge,
    /// Gives back what was charged.
    Refund,
}

/// What is remembered of a limit at one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Arrival(Arrival),
    Window(Window),
    TwoWindows(TwoWindows),
    Log(Log),
    Failures(Failures),
    /// Shut by somebody, whatever was counted.
    Blocked {
        until: Timestamp,
    },
}

/// Where a limit stands at one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Arrival(Arrival),
    Window(Window),
    TwoWindows(TwoWindows),
    Logged(Logged),
    Failures(Failures),
    Blocked {
        until: Timestamp,
    },
    /// It was not asked about, because another limit refuses.
    Unknown,
}

/// What came of an act on one limit: whether it fits, or was done, and where the limit stands after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) fits: bool,
    pub(crate) now: Timestamp,
    pub(crate) standing: Standing,
}

impl Counting {
    /// The most that may ever fit at once.
    pub(super) fn capacity(&self) -> u32 {
        match self {
            Counting::Gcra(it) => it.burst(),
            Counting::FixedWindow(it) => it.limit(),
            Counting::SlidingWindow(it) => it.limit(),
            Counting::SlidingLog(it) => it.limit(),
            Counting::Lockout(it) => it.limit(),
        }
    }

    /// What is stored, or what there is without that, at `now`.
    pub(crate) fn current(&self, stored: Option<State>, now: Timestamp) -> State {
        let Some(mut state) = stored else { return self.unused(now) };
        self.bring_up(&mut state, now);
        state
    }

    /// A limit of which nothing has been used.
    fn unused(&self, now: Timestamp) -> State {
        match self {
            Counting::Gcra(it) => State::Arrival(it.current(None, now)),
            Counting::FixedWindow(it) => State::Window(it.current(None, now)),
            Counting::SlidingWindow(it) => State::TwoWindows(it.current(None, now)),
            Counting::SlidingLog(_) => State::Log(Log::default()),
            Counting::Lockout(it) => State::Failures(it.current(None, now)),
        }
    }

    /// Brings a state up to `now`; what another algorithm left counts as nothing.
    #[inline]
    pub(crate) fn bring_up(&self, state: &mut State, now: Timestamp) {
        match (self, &mut *state) {
            (_, State::Blocked { until }) if *until > now => {}
            (Counting::Gcra(it), State::Arrival(at)) => *at = it.current(Some(*at), now),
            (Counting::FixedWindow(it), State::Window(window)) => {
                *window = it.current(Some(*window), now);
            }
            (Counting::SlidingWindow(it), State::TwoWindows(both)) => {
                *both = it.current(Some(*both), now);
            }
            (Counting::SlidingLog(it), State::Log(log)) => it.bring_up(log, now),
            (Counting::Lockout(it), State::Failures(failures)) => {
                *failures = it.current(Some(*failures), now);
            }
            _ => *state = self.unused(now),
        }
    }

    /// Whether `cost` fits what is current.
    #[inline]
    pub(crate) fn admits(&self, current: &State, now: Timestamp, cost: u32) -> bool {
        match (self, current) {
            (Counting::Gcra(it), State::Arrival(at)) => it.admits(*at, now, cost),
            (Counting::FixedWindow(it), State::Window(window)) => it.admits(*window, cost),
            (Counting::SlidingWindow(it), State::TwoWindows(both)) => it.admits(*both, now, cost),
            (Counting::SlidingLog(it), State::Log(log)) => it.admits(log, cost),
            (Counting::Lockout(it), State::Failures(failures)) => it.admits(*failures, cost),
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn charge(&self, current: &mut State, now: Timestamp, cost: u32) {
        match (self, current) {
            (Counting::Gcra(it), State::Arrival(at)) => *at = it.charged(*at, now, cost),
            (Counting::FixedWindow(it), State::Window(window)) => {
                *window = it.charged(*window, cost)
            }
            (Counting::SlidingWindow(it), State::TwoWindows(both)) => {
                *both = it.charged(*both, cost)
            }
            (Counting::SlidingLog(it), State::Log(log)) => it.charge(log, now, cost),
            (Counting::Lockout(it), State::Failures(failures)) => {
                *failures = it.charged(*failures, now, cost);
            }
            _ => {}
        }
    }

    /// Gives back what was charged: `charged` says when that was, as [`Taken::mark`] does.
    pub(crate) fn refund(
        &self,
        current: &mut State,
        now: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) {
        match (self, current) {
            (Counting::Gcra(it), State::Arrival(at)) => *at = it.refunded(*at, now, cost, charged),
            (Counting::FixedWindow(it), State::Window(window)) => {
                *window = it.refunded(*window, cost, charged);
            }
            (Counting::SlidingWindow(it), State::TwoWindows(both)) => {
                *both = it.refunded(*both, cost, charged);
            }
            (Counting::SlidingLog(it), State::Log(log)) => it.refund(log, now, cost, charged),
            (Counting::Lockout(it), State::Failures(failures)) => {
                *failures = it.refunded(*failures, cost, charged);
            }
            _ => {}
        }
    }

    /// Where a key stands after an act, as far as anybody may want to know.
    #[inline]
    pub(crate) fn standing(&self, state: &State, cost: u32, fits: bool) -> Standing {
        match (self, state) {
            (_, State::Arrival(at)) => Standing::Arrival(*at),
            (_, State::Window(window)) => Standing::Window(*window),
            (_, State::TwoWindows(both)) => Standing::TwoWindows(*both),
            (Counting::SlidingLog(it), State::Log(log)) => {
                Standing::Logged(it.logged(log, cost, fits))
            }
            // Of no other algorithm: `current` has seen to it.
            (_, State::Log(_)) => Standing::Blocked { until: Timestamp(0) },
            (_, State::Failures(failures)) => Standing::Failures(*failures),
            (_, State::Blocked { until }) => Standing::Blocked { until: *until },
        }
    }

    /// Nothing is known of a limit that was not asked about: [`Standing::Unknown`] may not come here.
    #[inline]
    pub(crate) fn decide(&self, taken: &Taken, cost: u32) -> Decision {
        let Taken { fits, now, standing } = *taken;
        match (self, standing) {
            (Counting::Gcra(it), Standing::Arrival(at)) => it.decide(at, now, cost, fits),
            (Counting::FixedWindow(it), Standing::Window(window)) => {
                it.decide(window, now, cost, fits)
            }
            (Counting::SlidingWindow(it), Standing::TwoWindows(both)) => {
                it.decide(both, now, cost, fits)
            }
            (Counting::SlidingLog(it), Standing::Logged(logged)) => {
                it.decide(logged, now, cost, fits)
            }
            (Counting::Lockout(it), Standing::Failures(failures)) => {
                it.decide(failures, now, cost, fits)
            }
            (_, Standing::Blocked { until }) => {
                Decision::blocked(until.since(now), cost <= self.capacity())
            }
            _ => Decision::blocked(std::time::Duration::ZERO, true),
        }
    }

    /// A standing as if `count` requests less had been charged.
    pub(crate) fn without(&self, standing: Standing, now: Timestamp, count: u32) -> Standing {
        match (self, standing) {
            (Counting::Gcra(it), Standing::Arrival(at)) => {
                Standing::Arrival(it.refunded(at, now, count, None))
            }
            (Counting::FixedWindow(it), Standing::Window(window)) => {
                Standing::Window(it.refunded(window, count, None))
            }
            (Counting::SlidingWindow(it), Standing::TwoWindows(both)) => {
                Standing::TwoWindows(it.refunded(both, count, None))
            }
            (_, standing) => standing,
        }
    }

    /// From when on the state says no more than none would.
    #[inline]
    pub(crate) fn expires(&self, state: &State, now: Timestamp) -> Timestamp {
        match (self, state) {
            (_, State::Arrival(at)) => Gcra::expires(*at),
            (_, State::Window(window)) => window.ends,
            (Counting::SlidingWindow(it), State::TwoWindows(both)) => it.expires(*both),
            (Counting::SlidingLog(it), State::Log(log)) => it.logged(log, 0, true).empty.max(now),
            (Counting::Lockout(it), State::Failures(failures)) => it.expires(*failures),
            (_, State::Blocked { until }) => *until,
            _ => now,
        }
    }
}

impl Taken {
    /// When, or in which window, it was charged: so that a refund that comes late does not give back what
    /// has come back by itself.
    pub(crate) fn mark(&self) -> Timestamp {
        match self.standing {
            Standing::Arrival(at) => Timestamp(at.micros),
            Standing::Window(window) => window.ends,
            Standing::TwoWindows(both) => both.start,
            Standing::Failures(failures) => failures.window.ends,
            Standing::Logged(_) | Standing::Blocked { .. } | Standing::Unknown => self.now,
        }
    }
}
