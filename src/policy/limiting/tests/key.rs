use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Ask, Counting, Decision, Done, Look, State, Taken};

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

    /// As stores do: what need not be stored stays as it was.
    pub(crate) fn act(
        &mut self,
        act: Act,
        now: u64,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> Taken {
        let ask = Ask { act, now: Timestamp(now), cost, charged };
        let mut state = self.state.clone().unwrap_or_else(|| self.counting.unused(ask.now));
        let Done { taken, expires } = self.counting.apply(&mut state, &ask);
        if expires.is_some() {
            self.state = Some(state);
        }
        taken
    }

    /// An act on several keys: to take, all or none.
    pub(crate) fn all(keys: &mut [Key], asks: &[Ask]) -> Vec<Done> {
        let look = |(key, ask): (&Key, &Ask)| {
            let mut state = key.state.clone().unwrap_or_else(|| key.counting.unused(ask.now));
            let look = key.counting.look(&mut state, ask);
            (state, look)
        };
        let looks: Vec<(State, Look)> = keys.iter().zip(asks).map(look).collect();
        let is_refused = looks.iter().any(|(_, look)| !look.fits);
        let mut done = Vec::new();
        for ((key, ask), (mut state, look)) in keys.iter_mut().zip(asks).zip(looks) {
            let act = if ask.act == Act::Take && is_refused { Act::Peek } else { ask.act };
            let it = key.counting.act(&mut state, &Ask { act, ..*ask }, look);
            if let Some(expires) = it.expires {
                // What says no more than nothing is not kept.
                key.state = (expires > ask.now).then_some(state);
            }
            done.push(it);
        }
        done
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
        self.counting.look(&mut state, &Ask { act: Act::Take, now, cost: 0, charged: None });
        state
    }
}
