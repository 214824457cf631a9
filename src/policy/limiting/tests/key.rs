use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Ask, Counting, Decision, Done, State, Taken};

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
        let ask = Ask { act, now: Timestamp(now), cost, charged };
        let mut state = self.current(now);
        let before = state.clone();
        let Done { taken, .. } = self.counting.apply(&mut state, &ask);
        if state != before {
            self.state = Some(state);
        }
        taken
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
        let now = Timestamp(now);
        let mut state = self.state.clone().unwrap_or_else(|| self.counting.unused(now));
        self.counting.look(&mut state, &Ask { act: Act::Peek, now, cost: 0, charged: None });
        state
    }
}
