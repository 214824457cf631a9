use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

use super::Request;
use super::endpoint::{Dialed, Endpoint, wall_clock};
use crate::policy::Timestamp;
use crate::policy::breaker::{Failure, backoff, gives_up};
use crate::store::error::Kind;
use crate::store::health::Health;
use crate::store::{Settings, StoreError};

/// Keeps one connection, and answers at once while there is none.
///
/// A call never waits for a connection. When one is lost the breaker is open: calls fail in
/// microseconds, while a single background task dials, probes and only then closes the breaker, so
/// no request pays for finding out whether Redis is back.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    endpoint: Endpoint,
    deadline: Duration,
    /// `None` is the open breaker.
    link: ArcSwapOption<Link>,
    /// Calls under way. A call that finds no room is shed: a queue would only add waiting to work
    /// whose deadline passes anyway.
    admission: Semaphore,
    health: watch::Sender<Health>,
    lost: Notify,
}

struct Link {
    connection: MultiplexedConnection,
    clock_offset: i64,
    deadlines_in_a_row: AtomicU32,
}

impl Supervisor {
    /// Connects, and keeps connected from then on.
    pub(super) async fn start(
        endpoint: Endpoint,
        settings: &Settings,
    ) -> Result<Supervisor, StoreError> {
        let dialed = endpoint.dial().await?;
        // Later on, a connection that cannot do everything is better than none.
        if let Some(refused) = dialed.refused {
            return Err(refused);
        }
        let shared = Shared::new(endpoint, settings);
        shared.restore(dialed);
        Ok(Supervisor::supervise(shared))
    }

    /// Begins with the breaker open: the first connection is made in the background.
    pub(super) fn start_lazy(endpoint: Endpoint, settings: &Settings) -> Supervisor {
        let shared = Shared::new(endpoint, settings);
        shared.lost.notify_one();
        Supervisor::supervise(shared)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one task of the crate: it ends with the last handle"
    )]
    fn supervise(shared: Arc<Shared>) -> Supervisor {
        let task = tokio::spawn(shared.clone().supervise()).abort_handle();
        Supervisor { shared, task }
    }

    /// Sends a request, within the deadline.
    ///
    /// # Cancel safety
    /// A command whose caller leaves may still run; its reply is dropped.
    pub(super) async fn call(&self, request: Request) -> Result<Value, StoreError> {
        let Some(link) = self.shared.link.load_full() else {
            return Err(StoreError::new(Kind::Unavailable));
        };
        let Ok(_permit) = self.shared.admission.try_acquire() else {
            return Err(StoreError::new(Kind::Overloaded));
        };
        let mut connection = link.connection.clone();
        let reply = tokio::time::timeout(self.shared.deadline, request.send(&mut connection)).await;
        match reply {
            Ok(reply) => self.shared.settle(&link, reply),
            Err(_) => {
                let in_a_row = link.deadlines_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                let error = StoreError::new(Kind::Timeout);
                if gives_up(Failure::Deadline { in_a_row }) {
                    self.shared.lose(&link, &error);
                }
                Err(error)
            }
        }
    }

    /// The server's clock, as of the last dial; this machine's while there is no connection.
    pub(super) fn now(&self) -> Timestamp {
        let offset = self.shared.link.load().as_ref().map_or(0, |link| link.clock_offset);
        Timestamp(wall_clock().0.saturating_add_signed(offset))
    }

    pub(super) fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn new(endpoint: Endpoint, settings: &Settings) -> Arc<Shared> {
        let down = Health::down(wall_clock(), StoreError::new(Kind::Unavailable));
        Arc::new(Shared {
            endpoint,
            deadline: settings.deadline,
            link: ArcSwapOption::empty(),
            admission: Semaphore::new(settings.max_in_flight),
            health: watch::Sender::new(down),
            lost: Notify::new(),
        })
    }

    fn settle(&self, link: &Arc<Link>, reply: RedisResult<Value>) -> Result<Value, StoreError> {
        let error = match reply {
            Ok(value) => {
                link.replied();
                return Ok(value);
            }
            Err(error) => error,
        };
        let (failure, error) = match error.code() {
            Some(code) => {
                link.replied();
                (Failure::ErrorReply { code }, StoreError::reply(code))
            }
            None => (Failure::Disconnected, StoreError::new(Kind::Unavailable)),
        };
        if gives_up(failure) {
            self.lose(link, &error);
        }
        Err(error)
    }

    /// Opens the breaker, unless somebody did so before or `link` was replaced already.
    fn lose(&self, link: &Arc<Link>, error: &StoreError) {
        let before = self.link.compare_and_swap(link, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, link)) {
            tracing::warn!(error = error.class(), "Redis is lost; reconnecting");
            self.health.send_modify(|health| health.lost(wall_clock(), error.clone()));
            self.lost.notify_one();
        }
    }

    /// Closes the breaker.
    fn restore(&self, dialed: Dialed) {
        self.health.send_modify(|health| health.restored(wall_clock(), dialed.round_trip));
        self.link.store(Some(Arc::new(Link {
            connection: dialed.connection,
            clock_offset: dialed.clock_offset,
            deadlines_in_a_row: AtomicU32::new(0),
        })));
    }

    async fn supervise(self: Arc<Shared>) {
        loop {
            self.lost.notified().await;
            let mut attempt = 0;
            loop {
                tokio::time::sleep(backoff(attempt, fastrand::f64())).await;
                match self.endpoint.dial().await {
                    Ok(dialed) => {
                        self.restore(dialed);
                        tracing::info!(attempts = attempt + 1, "Redis is back");
                        break;
                    }
                    Err(error) => {
                        // Once for each reason: the attempts go on.
                        if self.health.borrow().error() != Some(&error) {
                            tracing::warn!(%error, "Redis is still away");
                        }
                        self.health.send_modify(|health| health.still_down(error));
                        attempt = attempt.saturating_add(1);
                    }
                }
            }
        }
    }
}

impl Link {
    fn replied(&self) {
        // Only written when there is something to take back: the line stays shared among cores.
        if self.deadlines_in_a_row.load(Ordering::Relaxed) != 0 {
            self.deadlines_in_a_row.store(0, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("endpoint", &self.shared.endpoint)
            .field("health", &*self.shared.health.borrow())
            .finish_non_exhaustive()
    }
}
