use std::time::{Duration, SystemTime};

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
#[derive(Clone, Debug)]
pub struct Health {
    since: Timestamp,
    /// `None` while it is up.
    error: Option<StoreError>,
    generation: u64,
    round_trip: Duration,
}

impl Health {
    pub(crate) fn always_up(since: Timestamp) -> Health {
        Health { since, error: None, generation: 1, round_trip: Duration::ZERO }
    }

    pub(crate) fn down(since: Timestamp, error: StoreError) -> Health {
        Health { since, error: Some(error), generation: 0, round_trip: Duration::ZERO }
    }

    pub(crate) fn lost(&mut self, since: Timestamp, error: StoreError) {
        self.since = since;
        self.error = Some(error);
    }

    pub(crate) fn still_down(&mut self, error: StoreError) {
        self.error = Some(error);
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
