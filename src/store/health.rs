use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::StoreError;
use crate::policy::Timestamp;

/// How the store is doing.
///
/// ```
/// use tower_redis_kit::Store;
///
/// let health = Store::memory().health();
/// assert!(health.is_up());
/// assert!(health.error().is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    since: Timestamp,
    /// `None` while it is up.
    error: Option<StoreError>,
    /// Of the latest attempt that failed, if there was one.
    last_error: Option<StoreError>,
    generation: u64,
    round_trip: Duration,
}

impl Health {
    pub(crate) fn always_up(since: Timestamp) -> Health {
        let round_trip = Duration::ZERO;
        Health { since, error: None, last_error: None, generation: 1, round_trip }
    }

    pub(crate) fn down(since: Timestamp, error: StoreError) -> Health {
        let round_trip = Duration::ZERO;
        Health { since, error: Some(error), last_error: None, generation: 0, round_trip }
    }

    pub(crate) fn lost(&mut self, since: Timestamp, error: StoreError) {
        self.since = since;
        self.still_down(error);
    }

    pub(crate) fn still_down(&mut self, error: StoreError) {
        self.error = Some(error.clone());
        self.last_error = Some(error);
    }

    pub(crate) fn restored(&mut self, since: Timestamp, round_trip: Duration) {
        self.since = since;
        self.error = None;
        self.generation += 1;
        self.round_trip = round_trip;
    }

    /// Whether calls are sent. While it is down they fail at once.
    pub fn is_up(&self) -> bool {
        self.error.is_none()
    }

    /// Why it is down, by the latest attempt to reconnect.
    pub fn error(&self) -> Option<&StoreError> {
        self.error.as_ref()
    }

    /// Why it is down, or, where it is up again, why it was down last.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// assert!(Store::memory().health().last_error().is_none());
    /// assert!(Store::connect_lazy("redis://127.0.0.1:1")?.health().last_error().is_some());
    /// # Ok(()) }
    /// ```
    pub fn last_error(&self) -> Option<&StoreError> {
        self.error.as_ref().or(self.last_error.as_ref())
    }

    /// Since when it is up or down.
    pub fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.since.0)
    }

    /// The how-many-th connection this is, or was: it rises with every reconnection.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How long the probe of the connection took.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }
}

/// Follows a store's [`Health`]: made by [`Store::watch_health`](crate::Store::watch_health).
///
/// It does not keep the store alive.
///
/// ```
/// use tower_redis_kit::Store;
///
/// let watch = Store::memory().watch_health();
/// assert!(watch.current().is_up());
/// ```
#[derive(Clone, Debug)]
pub struct HealthWatch {
    health: watch::Receiver<Health>,
    /// What [`changed`](HealthWatch::changed) gave last.
    seen: Health,
}

impl HealthWatch {
    pub(super) fn new(health: watch::Receiver<Health>) -> HealthWatch {
        let seen = health.borrow().clone();
        HealthWatch { health, seen }
    }

    /// Of a store that is always up.
    pub(super) fn constant(health: Health) -> HealthWatch {
        HealthWatch::new(watch::Sender::new(health).subscribe())
    }

    /// How the store is doing right now.
    #[must_use]
    pub fn current(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Waits until the health is another than when this was made, or than this gave last, and gives
    /// it: the store went down, is up again, or is down for another reason. What came and went
    /// while nobody waited is not given.
    ///
    /// Waits for ever where nothing changes any more: on a store in process, or one that was
    /// dropped.
    ///
    /// # Cancel safety
    /// One that is dropped has missed nothing: the next one gives the change.
    pub async fn changed(&mut self) -> Health {
        let seen = &self.seen;
        // Each failed attempt to reconnect writes the health, mostly with nothing new in it.
        match self.health.wait_for(|health| health != seen).await.map(|health| health.clone()) {
            Ok(health) => {
                self.seen = health.clone();
                health
            }
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::Kind;

    fn error(kind: Kind) -> StoreError {
        StoreError::new(kind)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_gives_what_changed_and_nothing_twice() {
        let sender = watch::Sender::new(Health::always_up(Timestamp(1)));
        let mut watch = HealthWatch::new(sender.subscribe());
        let lost = |health: &mut Health| health.lost(Timestamp(2), error(Kind::Timeout));
        sender.send_modify(lost);
        // Of a wait that is given up the change is still to come.
        drop(watch.changed());
        assert!(watch.changed().await.error().unwrap().is_timeout());
        sender.send_modify(|health| health.still_down(error(Kind::Timeout)));
        let waited = tokio::time::timeout(Duration::from_secs(1), watch.changed()).await;
        assert!(waited.is_err(), "nothing is new");
        sender.send_modify(|health| health.still_down(error(Kind::Refused)));
        assert!(watch.changed().await.error().unwrap().is_refused());
        sender.send_modify(|health| health.restored(Timestamp(3), Duration::ZERO));
        let restored = watch.changed().await;
        assert!(restored.is_up());
        assert_eq!(restored, watch.current());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_on_what_cannot_change_waits() {
        let mut watch = HealthWatch::constant(Health::always_up(Timestamp(1)));
        let waited = tokio::time::timeout(Duration::from_secs(1), watch.changed()).await;
        assert!(waited.is_err());
        assert!(watch.current().is_up());
    }
}
