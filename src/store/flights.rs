use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::place::Place;

/// What is being computed in this process for a place: one caller computes, the others wait.
///
/// No lock is held while they do. A caller who leaves without an outcome, cancelled or by a panic,
/// only closes its channel; of those who waited the first to come back takes over.
#[derive(Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Place, watch::Receiver<Option<Outcome>>>>,
    landed: AtomicU64,
}

/// How a computation ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The value, encoded.
    Computed(Bytes),
    /// There is nothing to share.
    Failed,
}

/// What a caller is in a flight.
pub(crate) enum Role<'a> {
    Leader(Lead<'a>),
    Follower(Follow),
}

impl Flights {
    pub(crate) fn join(&self, place: &Place) -> Role<'_> {
        match self.under_way().entry(place.clone()) {
            Entry::Occupied(flight) => Role::Follower(Follow(flight.get().clone())),
            Entry::Vacant(free) => {
                let (outcome, waiting) = watch::channel(None);
                free.insert(waiting);
                Role::Leader(Lead { flights: self, place: place.clone(), outcome })
            }
        }
    }

    /// How many flights have landed. Unchanged since a look-up that found nothing, it says that a
    /// new leader need not look again.
    pub(crate) fn landed(&self) -> u64 {
        self.landed.load(Ordering::SeqCst)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Place, watch::Receiver<Option<Outcome>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caller who computes.
pub(crate) struct Lead<'a> {
    flights: &'a Flights,
    place: Place,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Lead<'_> {
    /// Hands the outcome to all who wait.
    pub(crate) fn land(self, outcome: Outcome) {
        self.flights.landed.fetch_add(1, Ordering::SeqCst);
        self.outcome.send_replace(Some(outcome));
    }
}

/// Whoever comes next leads; those who wait hear of it when the channel closes after this.
impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.flights.under_way().remove(&self.place);
    }
}

/// A caller who waits.
pub(crate) struct Follow(watch::Receiver<Option<Outcome>>);

impl Follow {
    /// The outcome; `None` when the leader left without one.
    pub(crate) async fn wait(mut self) -> Option<Outcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("under_way", &self.under_way().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::place::Namespace;

    fn lead<'a>(flights: &'a Flights, place: &Place) -> Lead<'a> {
        match flights.join(place) {
            Role::Leader(lead) => lead,
            Role::Follower(_) => panic!("somebody leads"),
        }
    }

    fn follow(flights: &Flights, place: &Place) -> Follow {
        match flights.join(place) {
            Role::Leader(_) => panic!("nobody leads"),
            Role::Follower(follow) => follow,
        }
    }

    #[tokio::test]
    async fn one_leads_and_the_others_get_what_it_found() {
        let (flights, place) = (Flights::default(), Namespace::new("a").place("b").unwrap());
        let leader = lead(&flights, &place);
        let followers = [follow(&flights, &place), follow(&flights, &place)];
        let elsewhere = lead(&flights, &Namespace::new("a").place("c").unwrap());
        leader.land(Outcome::Computed(Bytes::from_static(b"7")));
        for follower in followers {
            assert!(
                matches!(follower.wait().await, Some(Outcome::Computed(seven)) if seven == "7")
            );
        }
        assert_eq!(flights.landed(), 1);
        drop(elsewhere);
        assert_eq!(flights.landed(), 1);
        assert!(flights.under_way().is_empty());
    }

    #[tokio::test]
    async fn whoever_waited_for_a_leader_that_left_can_lead() {
        let (flights, place) = (Flights::default(), Namespace::new("a").place("b").unwrap());
        let leader = lead(&flights, &place);
        let follower = follow(&flights, &place);
        drop(leader);
        assert!(follower.wait().await.is_none());
        lead(&flights, &place);
    }
}
