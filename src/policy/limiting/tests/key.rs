use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Counting, Decision, State, Taken};

/// A limit and what is stored of its one key, by the policy alone.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) counting: Counting,
    pub(crate) state: Option<State>,
}

impl Key {
    pub(crate) fn new(counting: Counting) -> Key {
        Key { counting, state: None }
    }

    /// As stores do: what an act leaves unchanged stays as it was stored.
    pub(crate) fn act(
        &mut self,
        act: Act,
        now: u64,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> Taken {
        let now = Timestamp(now);
        let before = self.counting.current(self.state.clone(), now);
        let mut state = before.clone();
        let fits = match act {
            Act::Take | Act::Peek => self.counting.admits(&state, now, cost),
            Act::Charge | Act::Refund => !matches!(state, State::Blocked { .. }),
        };
        match act {
            Act::Take if fits => self.counting.charge(&mut state, now, cost),
            Act::Charge => self.counting.charge(&mut state, now, cost),
            Act::Refund => self.counting.refund(&mut state, now, cost, charged),
            _ => {}
        }
        let standing = self.counting.standing(&state, cost, fits);
        if state != before {
            self.state = Some(state);
        }
        Taken { fits, now, standing }
    }

    pub(crate) fn take(&mut self, now: u64, cost: u32) -> Decision {
        let taken = self.act(Act::Take, now, cost, None);
        self.counting.decide(&taken, cost)
    }

    pub(crate) fn peek(&self, now: u64, cost: u32) -> Decision {
        let taken = self.clone().act(Act::Peek, now, cost, None);
        self.counting.decide(&taken, cost)
    }

    /// Whether so much would be admitted.
    pub(crate) fn admits(&self, now: u64, cost: u32) -> bool {
        self.peek(now, cost).allowed
    }

    /// What counts at `now`.
    pub(crate) fn current(&self, now: u64) -> State {
        self.counting.current(self.state.clone(), Timestamp(now))
    }
}
