use super::{Act, Ask, Done, Look, Standing, Taken};
use crate::policy::Timestamp;

/// What every algorithm does to the state of a key.
pub(super) trait Algorithm {
    type State: Clone + PartialEq;

    /// Brings what was stored up to `now`; the rest is done to what is. Says whether it was brought
    /// back, because it lay beyond what the numbers and the clock allow.
    fn bring_up(&self, state: &mut Self::State, now: Timestamp) -> bool;

    /// Whether `cost` fits.
    fn admits(&self, state: &Self::State, now: Timestamp, cost: u32) -> bool;

    /// Says whether the state is another one after it.
    fn charge(&self, state: &mut Self::State, now: Timestamp, cost: u32) -> bool;

    /// Gives back what was charged: `charged` says when that was, as [`Taken::mark`] does. Without
    /// it what was charged last is meant. Says whether the state is another one after it.
    fn refund(
        &self,
        state: &mut Self::State,
        now: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> bool;

    /// Where the key stands, as far as anybody may want to know who has asked for `cost`.
    fn standing(&self, state: &Self::State, now: Timestamp, cost: u32, fits: bool) -> Standing;

    /// From when on the state says no more than none would.
    fn expires(&self, state: &Self::State, now: Timestamp) -> Timestamp;

    /// Brings up, and says whether what is asked can be done.
    #[inline]
    fn look(&self, state: &mut Self::State, ask: &Ask) -> Look {
        // Who only looks stores nothing.
        let is_brought_back = self.bring_up(state, ask.now) && ask.act != Act::Peek;
        Look { fits: self.can_be_done(state, ask), is_brought_back }
    }

    /// Whether what is asked of a state that was brought up can be done.
    #[inline]
    fn can_be_done(&self, state: &Self::State, ask: &Ask) -> bool {
        match ask.act {
            Act::Take | Act::Peek => self.admits(state, ask.now, ask.cost),
            Act::Charge | Act::Refund => true,
        }
    }

    /// Does it, where that is what [`look`](Algorithm::look) has said.
    #[inline]
    fn act(&self, state: &mut Self::State, ask: &Ask, look: Look) -> Done {
        let Ask { act, now, cost, charged } = *ask;
        let Look { fits, is_brought_back } = look;
        let changes = match act {
            Act::Take if fits => self.charge(state, now, cost),
            Act::Charge => self.charge(state, now, cost),
            Act::Refund => self.refund(state, now, cost, charged),
            Act::Take | Act::Peek => false,
        };
        let expires = (changes || is_brought_back).then(|| self.expires(state, now));
        let standing = self.standing(state, now, cost, fits);
        Done { taken: Taken { fits, now, standing }, expires }
    }

    /// Looks and acts. What need not be stored stays as it is.
    #[inline]
    fn apply(&self, state: &mut Self::State, ask: &Ask) -> Done {
        let stored = state.clone();
        self.bring_up(state, ask.now);
        let look = Look { fits: self.can_be_done(state, ask), is_brought_back: false };
        let done = self.act(state, ask, look);
        // Most acts change something, and then it does not matter what was stored.
        if done.expires.is_some() || *state == stored {
            return done;
        }
        if ask.act != Act::Peek && self.bring_up(&mut stored.clone(), ask.now) {
            return Done { expires: Some(self.expires(state, ask.now)), ..done };
        }
        *state = stored;
        done
    }
}

/// Puts a state in the place of another, and says whether it is another.
#[inline]
pub(super) fn replace<T: PartialEq>(state: &mut T, after: T) -> bool {
    let changes = *state != after;
    *state = after;
    changes
}
