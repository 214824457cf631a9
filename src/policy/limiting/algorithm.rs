use super::{Act, Ask, Done, Standing, Taken};
use crate::policy::Timestamp;

/// What every algorithm does to the state of a key.
pub(super) trait Algorithm {
    type State;

    /// Brings what was stored up to `now`; the rest is done to what is.
    fn bring_up(&self, state: &mut Self::State, now: Timestamp);

    /// Whether `cost` fits.
    fn admits(&self, state: &Self::State, now: Timestamp, cost: u32) -> bool;

    /// Says whether the state is another one after it.
    fn charge(&self, state: &mut Self::State, now: Timestamp, cost: u32) -> bool;

    /// Gives back what was charged: `charged` says when that was, as [`Taken::mark`] does. Without it
    /// what was charged last is meant. Says whether the state is another one after it.
    fn refund(
        &self,
        state: &mut Self::State,
        now: Timestamp,
        cost: u32,
        charged: Option<Timestamp>,
    ) -> bool;

    /// Where the key stands, as far as anybody may want to know who has asked for `cost`.
    fn standing(&self, state: &Self::State, cost: u32, fits: bool) -> Standing;

    /// From when on the state says no more than none would.
    fn expires(&self, state: &Self::State, now: Timestamp) -> Timestamp;

    /// Brings up, and says whether what is asked can be done.
    #[inline]
    fn look(&self, state: &mut Self::State, ask: &Ask) -> bool {
        self.bring_up(state, ask.now);
        match ask.act {
            Act::Take | Act::Peek => self.admits(state, ask.now, ask.cost),
            Act::Charge | Act::Refund => true,
        }
    }

    /// Does it, where that is what [`look`](Algorithm::look) has said.
    #[inline]
    fn act(&self, state: &mut Self::State, ask: &Ask, fits: bool) -> Done {
        let Ask { act, now, cost, charged } = *ask;
        let changes = match act {
            Act::Take if fits => self.charge(state, now, cost),
            Act::Charge => self.charge(state, now, cost),
            Act::Refund => self.refund(state, now, cost, charged),
            Act::Take | Act::Peek => false,
        };
        let expires = changes.then(|| self.expires(state, now));
        Done { taken: Taken { fits, now, standing: self.standing(state, cost, fits) }, expires }
    }
}

/// Puts a state in the place of another, and says whether it is another.
#[inline]
pub(super) fn replace<T: PartialEq>(state: &mut T, after: T) -> bool {
    let changes = *state != after;
    *state = after;
    changes
}
