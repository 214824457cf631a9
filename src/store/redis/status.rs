use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::observe;
use crate::policy::{Timestamp, micros};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::health::Health;

/// How all connections of a store are doing, as one: it is up while every one of them is.
#[derive(Debug)]
pub(super) struct Status {
    /// What the store is counted as.
    prefix: Arc<str>,
    health: watch::Sender<Health>,
    lanes: Mutex<Lanes>,
    /// What to add to this machine's clock for the server's, in microseconds.
    clock_offset: AtomicI64,
}

#[derive(Debug, Default)]
struct Lanes {
    next: u64,
    down: BTreeMap<u64, StoreError>,
}

/// What a probe of a new connection found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probed {
    pub(super) round_trip: Duration,
    pub(super) clock_offset: i64,
}

impl Status {
    pub(super) fn new(prefix: &str) -> Arc<Status> {
        let down = Health::down(wall_clock(), StoreError::new(Kind::Unavailable));
        Arc::new(Status {
            prefix: prefix.into(),
            health: watch::Sender::new(down),
            lanes: Mutex::default(),
            clock_offset: AtomicI64::new(0),
        })
    }

    /// Counted by itself, under a name of its own.
    pub(super) fn of_replica(&self) -> Arc<Status> {
        Status::new(&format!("{}:replica", self.prefix))
    }

    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// The server's clock, as of the last connection.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(wall_clock().0.saturating_add_signed(self.clock_offset.load(Ordering::Relaxed)))
    }

    /// One more connection, which is not there yet.
    pub(super) fn lane(self: &Arc<Status>) -> LaneStatus {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let id = lanes.next;
        lanes.next += 1;
        drop(lanes);
        LaneStatus { status: self.clone(), id }
    }

    fn change(&self, id: u64, error: Option<StoreError>, round_trip: Option<Duration>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => lanes.down.insert(id, error),
            None => lanes.down.remove(&id),
        };
        let worst = lanes.down.values().next().cloned();
        self.health.send_if_modified(|health| match worst {
            Some(error) if health.error() == Some(&error) => false,
            Some(error) if health.is_up() => {
                health.lost(wall_clock(), error);
                true
            }
            Some(error) => {
                health.still_down(error);
                true
            }
            None if health.is_up() => false,
            None => {
                health.restored(wall_clock(), round_trip.unwrap_or_default());
                true
            }
        });
        observe::store_up(&self.prefix, self.health.borrow().is_up());
    }
}

/// One connection's part in the store's health. A connection that is given up for good takes its
/// part along.
#[derive(Debug)]
pub(super) struct LaneStatus {
    status: Arc<Status>,
    id: u64,
}

impl LaneStatus {
    /// The connection is lost, or an attempt to make it failed. Says whether that is news.
    pub(super) fn down(&self, error: &StoreError) -> bool {
        observe::disconnected(&self.status.prefix, error.class());
        let lanes = self.status.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let news = lanes.down.get(&self.id) != Some(error);
        drop(lanes);
        if news {
            self.status.change(self.id, Some(error.clone()), None);
        }
        news
    }

    pub(super) fn up(&self, probed: Probed) {
        observe::connected(&self.status.prefix);
        self.status.clock_offset.store(probed.clock_offset, Ordering::Relaxed);
        self.status.change(self.id, None, Some(probed.round_trip));
    }
}

impl Drop for LaneStatus {
    fn drop(&mut self) {
        self.status.change(self.id, None, None);
    }
}

/// This machine's clock, which is only good for a difference to the server's.
#[expect(clippy::disallowed_methods, reason = "compared with the server's clock, never used alone")]
pub(super) fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(micros(since_epoch.unwrap_or_default()))
}
