use super::algorithm::Algorithm;
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

/// What is asked of a limit at one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) act: Act,
    pub(crate) now: Timestamp,
    pub(crate) cost: u32,
    /// Of a refund: what is given back, by [`Taken::mark`].
    pub(crate) charged: Option<Timestamp>,
}

/// What a look has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// What is asked can be done.
    pub(crate) fits: bool,
    /// What was stored lay beyond what the numbers and the clock allow: as it is now, it is to be
    /// stored whether or not anything is charged. Otherwise each later look would bring it back to
    /// its own now, and it would never end before its old end.
    pub(crate) is_brought_back: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) taken: Taken,
    /// From when on the state says no more than none would, if it is to be stored; nothing, where
    /// what was stored stays as it was.
    pub(crate) expires: Option<Timestamp>,
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

/// What came of an act on one limit: whether it fits, or was done, and where the limit stands after
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) fits: bool,
    pub(crate) now: Timestamp,
    pub(crate) standing: Standing,
}

/// What there is to say to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    /// What gives it back, by [`Taken::mark`], if it was done.
    pub(crate) done: Option<Timestamp>,
}

/// Does something with an algorithm and a state of its own; something else with the state of another
/// one, or a limit that is shut.
macro_rules! dispatch {
    ($counting:expr, $state:expr, |$it:ident, $own:ident| $found:expr, $other:expr) => {
        match ($counting, $state) {
            (Counting::Gcra($it), State::Arrival($own)) => $found,
            (Counting::FixedWindow($it), State::Window($own)) => $found,
            (Counting::SlidingWindow($it), State::TwoWindows($own)) => $found,
            (Counting::SlidingLog($it), State::Log($own)) => $found,
            (Counting::Lockout($it), State::Failures($own)) => $found,
            _ => $other,
        }
    };
}

impl Counting {
    /// The most that may ever fit at once.
    pub(crate) fn capacity(&self) -> u32 {
        match self {
            Counting::Gcra(it) => it.burst(),
            Counting::FixedWindow(it) => it.limit(),
            Counting::SlidingWindow(it) => it.limit(),
            Counting::SlidingLog(it) => it.limit(),
            Counting::Lockout(it) => it.limit(),
        }
    }

    /// A limit of which nothing has been used.
    pub(crate) fn unused(&self, now: Timestamp) -> State {
        match self {
            Counting::Gcra(it) => State::Arrival(it.current(None, now)),
            Counting::FixedWindow(it) => State::Window(it.current(None, now)),
            Counting::SlidingWindow(it) => State::TwoWindows(it.current(None, now)),
            Counting::SlidingLog(_) => State::Log(Log::default()),
            Counting::Lockout(it) => State::Failures(it.current(None, now)),
        }
    }

    /// Brings a state up to the moment of what is asked, and says whether that can be done. What
    /// another algorithm left counts as nothing.
    pub(crate) fn look(&self, state: &mut State, ask: &Ask) -> Look {
        const SHUT: Look = Look { fits: false, is_brought_back: false };
        dispatch!(self, &mut *state, |it, own| return it.look(own, ask), {});
        if state.is_blocked(ask.now) {
            return SHUT;
        }
        *state = self.unused(ask.now);
        dispatch!(self, state, |it, own| it.look(own, ask), SHUT)
    }

    /// Does what is asked to a state that was looked at.
    pub(crate) fn act(&self, state: &mut State, ask: &Ask, look: Look) -> Done {
        dispatch!(self, &mut *state, |it, own| it.act(own, ask, look), state.stay(ask))
    }

    /// Looks, acts and decides, and moves `expires` to when the state says no more than none would.
    /// What need not be stored stays as it is.
    #[inline]
    pub(crate) fn judge<T>(
        &self,
        state: &mut State,
        expires: &mut Timestamp,
        ask: &Ask,
        then: impl FnOnce(Verdict) -> T,
    ) -> T {
        // Most limits are of this kind, and admit: that is done in one piece.
        if let (Counting::Gcra(it), State::Arrival(own)) = (self, &mut *state)
            && ask.act == Act::Take
            && let Some(decision) = it.admit(own, ask.now, ask.cost)
        {
            *expires = it.expires(own, ask.now);
            return then(Verdict { decision, done: Some(Timestamp(own.micros)) });
        }
        then(self.judge_any(state, expires, ask))
    }

    #[inline(never)]
    fn judge_any(&self, state: &mut State, expires: &mut Timestamp, ask: &Ask) -> Verdict {
        let Done { taken, expires: ends } = self.apply(state, ask);
        *expires = ends.unwrap_or(*expires);
        self.verdict(&taken, ask.cost)
    }

    /// Looks and acts. What need not be stored stays as it is.
    pub(crate) fn apply(&self, state: &mut State, ask: &Ask) -> Done {
        dispatch!(self, &mut *state, |it, own| return it.apply(own, ask), {});
        let look = self.look(state, ask);
        self.act(state, ask, look)
    }

    /// What there is to say of what was [decided](Counting::decide) elsewhere.
    pub(crate) fn verdict(&self, taken: &Taken, cost: u32) -> Verdict {
        Verdict { decision: self.decide(taken, cost), done: taken.fits.then(|| taken.mark()) }
    }

    /// From when on the state says no more than none would.
    #[cfg(test)]
    pub(crate) fn expires(&self, state: &State, now: Timestamp) -> Timestamp {
        dispatch!(
            self,
            state,
            |it, own| it.expires(own, now),
            match state {
                State::Blocked { until } => *until,
                _ => now,
            }
        )
    }

    /// Nothing is known of a limit that was not asked about: [`Standing::Unknown`] may not come
    /// here.
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
                Decision::blocked(until.micros_since(now), cost <= self.capacity())
            }
            _ => Decision::blocked(0, true),
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
}

impl State {
    pub(crate) fn is_blocked(&self, now: Timestamp) -> bool {
        matches!(self, State::Blocked { until } if *until > now)
    }

    /// Until when it is shut, by somebody or by itself; zero, where it is not.
    pub(crate) fn shut_until(&self) -> Timestamp {
        match self {
            State::Blocked { until } => *until,
            State::Failures(failures) => failures.until,
            _ => Timestamp(0),
        }
    }

    /// Nothing is done to what is shut.
    fn stay(&self, ask: &Ask) -> Done {
        let until = match self {
            State::Blocked { until } => *until,
            // Of another algorithm: whoever looked has seen to it.
            _ => ask.now,
        };
        let taken = Taken { fits: false, now: ask.now, standing: Standing::Blocked { until } };
        Done { taken, expires: None }
    }
}

impl Taken {
    /// When, or in which window, it was charged: so that a refund that comes late does not give
    /// back what has come back by itself.
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
