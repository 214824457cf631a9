use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::command::Request;
use super::endpoint::Driver;
use super::probe::{Dialed, dial};
use super::redirect::{Failed, Redirect};
use super::slot::Slot;
use super::status::LaneStatus;
use super::whereabouts::Whereabouts;
use crate::policy::breaker::{Failure, dial_backoff, gives_up};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::target::{Address, HostPort};

/// How long a new connection may take until it has shown that it works.
pub(super) const DIAL: Duration = Duration::from_secs(2);

/// How often a connection is asked whether it lives, so that no request finds out that it does not.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Added to the calls under way when no more are taken.
const CLOSED: usize = 1 << (usize::BITS - 2);

/// Keeps one connection, and answers at once while there is none.
///
/// A call never waits for a connection. When one is lost the breaker is open: calls fail in
/// microseconds, while a single background task dials, probes and only then closes the breaker, so
/// no request pays for finding out whether Redis is back.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What every connection of a store has in common.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) deadline: Duration,
    pub(super) max_in_flight: usize,
    pub(super) probe_key: Arc<str>,
}

struct Shared {
    whereabouts: Whereabouts,
    limits: Limits,
    slot: Slot<Link>,
    /// Calls under way. A call that finds no room is shed: a queue would only add waiting to work
    /// whose deadline passes anyway.
    in_flight: AtomicUsize,
    status: LaneStatus,
    moved: Notify,
    is_up: watch::Sender<bool>,
    was_up: AtomicBool,
}

struct Link {
    /// No other one of this process has it.
    number: u64,
    address: Address,
    connection: MultiplexedConnection,
    deadlines_in_a_row: AtomicU32,
}

impl Supervisor {
    /// Connects, and keeps connected from then on.
    pub(super) async fn start(
        whereabouts: Whereabouts,
        limits: Limits,
        status: LaneStatus,
    ) -> Result<Supervisor, StoreError> {
        let shared = Shared::new(whereabouts, limits, status);
        let dialed = shared.dial().await?;
        // Later on, a connection that cannot do everything is better than none.
        if let Some(refused) = dialed.refused {
            return Err(refused);
        }
        Ok(Supervisor::supervise(shared, Some(dialed)))
    }

    /// Begins with the breaker open: the first connection is made in the background.
    pub(super) fn start_lazy(
        whereabouts: Whereabouts,
        limits: Limits,
        status: LaneStatus,
    ) -> Supervisor {
        status.down(&StoreError::new(Kind::Unavailable));
        Supervisor::supervise(Shared::new(whereabouts, limits, status), None)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the task of a connection: it ends with the last handle"
    )]
    fn supervise(shared: Arc<Shared>, dialed: Option<Dialed>) -> Supervisor {
        let first = dialed.map(|dialed| shared.restore(dialed));
        let task = tokio::spawn(shared.clone().supervise(first)).abort_handle();
        Supervisor { shared, task }
    }

    /// Sends a request, and waits for the reply until `by`.
    ///
    /// # Cancel safety
    /// A request whose caller leaves may still run; its reply is dropped.
    pub(super) async fn call(&self, request: &Request, by: Instant) -> Result<Value, Failed> {
        self.shared.call(request, by).await
    }

    /// Takes no further calls.
    pub(super) fn refuse(&self) {
        self.shared.in_flight.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// Waits for the calls under way, of which each has a deadline.
    pub(super) async fn drained(&self) {
        while self.shared.in_flight.load(Ordering::Relaxed) > CLOSED {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the connection for good. Nobody may have waited for the calls under way: whoever comes
    /// later is to be told the same.
    pub(super) fn close(&self) {
        self.refuse();
        self.task.abort();
        if let Some(link) = self.shared.slot.link() {
            self.shared.slot.lose(&link, || {});
        }
        self.shared.status.down(&StoreError::new(Kind::ShutDown));
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection().is_some()
    }

    /// The connection that there is, by its number.
    pub(super) fn connection(&self) -> Option<u64> {
        self.shared.slot.link().map(|link| link.number)
    }

    /// Whether there has been no connection yet.
    pub(super) fn is_new(&self) -> bool {
        !self.shared.was_up.load(Ordering::Relaxed)
    }

    /// Waits for a connection, until `by` at most.
    pub(super) async fn until_up(&self, by: Instant) -> bool {
        let mut is_up = self.shared.is_up.subscribe();
        tokio::time::timeout_at(by, is_up.wait_for(|is_up| *is_up)).await.is_ok()
    }

    /// The server is at `place` from now on: a connection to another one is made anew, at once.
    pub(super) fn moved(&self, place: &HostPort) {
        let is_there = |link: &Link| matches!(&link.address, Address::Tcp(it) if it == place);
        match self.shared.slot.link() {
            Some(link) if is_there(&link) => return,
            Some(link) => self.shared.lose(&link, &StoreError::new(Kind::Unavailable)),
            None => {}
        }
        self.shared.moved.notify_one();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call's place among those under way.
struct Admitted<'a>(&'a AtomicUsize);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn new(whereabouts: Whereabouts, limits: Limits, status: LaneStatus) -> Arc<Shared> {
        Arc::new(Shared {
            whereabouts,
            limits,
            slot: Slot::empty(),
            in_flight: AtomicUsize::new(0),
            status,
            moved: Notify::new(),
            is_up: watch::Sender::new(false),
            was_up: AtomicBool::new(false),
        })
    }

    async fn call(&self, request: &Request, by: Instant) -> Result<Value, Failed> {
        let _admitted = self.admit()?;
        let Some(link) = self.slot.link() else {
            return Err(StoreError::new(Kind::Unavailable).into());
        };
        let mut connection = link.connection.clone();
        match tokio::time::timeout_at(by, request.send(&mut connection)).await {
            Ok(Ok(value)) => {
                link.replied();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failed(&link, &error)),
            Err(_) => {
                let in_a_row = link.deadlines_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                let error = StoreError::new(Kind::Timeout);
                if gives_up(Failure::Deadline { in_a_row }) {
                    self.lose(&link, &error);
                }
                Err(error.into())
            }
        }
    }

    fn admit(&self) -> Result<Admitted<'_>, StoreError> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(&self.in_flight);
        match before {
            CLOSED.. => Err(StoreError::new(Kind::ShutDown)),
            _ if before < self.limits.max_in_flight => Ok(admitted),
            _ => Err(StoreError::new(Kind::Overloaded)),
        }
    }

    #[cold]
    fn failed(&self, link: &Arc<Link>, error: &RedisError) -> Failed {
        let (failure, failed) = match error.code() {
            Some(code) => {
                link.replied();
                let redirect = Redirect::of(error, &link.address);
                let failed = Failed { error: StoreError::reply(code), redirect };
                (Failure::ErrorReply { code }, failed)
            }
            None => (Failure::Disconnected, StoreError::new(Kind::Lost).into()),
        };
        if gives_up(failure) {
            self.lose(link, &failed.error);
        }
        failed
    }

    /// Opens the breaker, unless somebody did so before or `link` was replaced already.
    fn lose(&self, link: &Arc<Link>, error: &StoreError) {
        self.slot.lose(link, || {
            let server = &self.whereabouts;
            tracing::warn!(error = error.class(), %server, "Redis is lost; reconnecting");
            self.status.down(error);
            self.is_up.send_replace(false);
        });
    }

    /// Closes the breaker.
    fn restore(&self, dialed: Dialed) -> (Arc<Link>, Driver) {
        static LINKS: AtomicU64 = AtomicU64::new(1);
        let Dialed { address, connection, driver, probed, .. } = dialed;
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        let deadlines_in_a_row = AtomicU32::new(0);
        let link = Arc::new(Link { number, address, connection, deadlines_in_a_row });
        self.slot.restore(link.clone(), || {
            self.status.up(probed);
            self.was_up.store(true, Ordering::Relaxed);
            self.is_up.send_replace(true);
        });
        (link, driver)
    }

    async fn supervise(self: Arc<Shared>, first: Option<(Arc<Link>, Driver)>) {
        let mut current = first;
        loop {
            if let Some((link, driver)) = current {
                self.keep(&link, driver).await;
            }
            current = Some(self.redial().await);
        }
    }

    /// Runs a connection until it is lost.
    async fn keep(&self, link: &Arc<Link>, driver: Driver) {
        let mut driver = driver.fuse();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        loop {
            tokio::select! {
                () = &mut driver => self.lose(link, &StoreError::new(Kind::Unavailable)),
                () = self.slot.lost() => return,
                _ = heartbeat.tick() => {
                    tokio::select! {
                        () = &mut driver => self.lose(link, &StoreError::new(Kind::Unavailable)),
                        () = self.beat() => {}
                    }
                }
            }
        }
    }

    /// Asks until there is an answer, or the calls without one have opened the breaker.
    #[expect(clippy::disallowed_methods, reason = "a deadline is counted from now on")]
    async fn beat(&self) {
        let ping = Request::ping();
        while let Err(failed) = self.call(&ping, Instant::now() + self.limits.deadline).await
            && failed.error.is_timeout()
        {}
    }

    async fn redial(&self) -> (Arc<Link>, Driver) {
        let mut attempt = 0;
        loop {
            let wait = tokio::time::sleep(dial_backoff(attempt, fastrand::f64()));
            let dialing = async {
                wait.await;
                self.dial().await
            };
            let error = tokio::select! {
                dialed = dialing => match dialed {
                    Ok(dialed) => {
                        let server = &self.whereabouts;
                        tracing::info!(attempts = attempt + 1, %server, "Redis is back");
                        return self.restore(dialed);
                    }
                    Err(error) => error,
                },
                // Whatever was tried last is no longer where the server is.
                () = self.moved.notified() => {
                    attempt = 0;
                    continue;
                }
            };
            // Once for each reason: the attempts go on.
            if self.status.down(&error) {
                tracing::warn!(%error, "Redis is still away");
            }
            attempt = attempt.saturating_add(1);
        }
    }

    async fn dial(&self) -> Result<Dialed, StoreError> {
        let dialing = async {
            let endpoint = self.whereabouts.locate().await?;
            dial(&endpoint, &self.limits.probe_key, self.limits.deadline).await
        };
        match tokio::time::timeout(DIAL, dialing).await {
            Ok(dialed) => dialed,
            Err(_) => Err(StoreError::about(Kind::Timeout, self.whereabouts.to_string())),
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
            .field("server", &self.shared.whereabouts)
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}
