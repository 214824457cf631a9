use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::policy::breaker::backoff;
use crate::store::keys::Fingerprint;
use crate::store::verbs::{AcquireLock, Holder, ReleaseLock, RenewLock};
use crate::store::{Asking, Running};
use crate::{Store, StoreError};

/// A [`Lock`](super::Lock) that this process holds, until it is released, dropped or lost.
///
/// One background task renews it at each third of its [time](super::Lock::ttl). While the store
/// cannot be asked it keeps trying; when that time has passed since the last renewal that the store
/// has confirmed, the lease is lost: by this machine's monotonic clock, counted from before the
/// renewal was sent, so that it is lost here before it is free there. Lost is final.
///
/// ```
/// use tower_redis_kit::{Store, StoreError};
///
/// async fn make_report() {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), StoreError> {
/// let store = Store::memory();
/// let lease = store.lock("nightly-report").try_acquire().await?.expect("nobody has it");
/// tokio::select! {
///     () = make_report() => {}
///     () = lease.lost() => eprintln!("somebody else may be at it: stopped"),
/// }
/// assert!(lease.is_held());
/// drop(lease);
/// # Ok(()) }
/// ```
///
/// What a lease can and cannot do is said at [`Lock`](super::Lock#what-a-lease-cannot-do). It is
/// renewed by a task: where work blocks every thread of the runtime for longer than the lease lasts,
/// the lease is lost.
#[must_use = "a lease is released when it is dropped"]
pub struct Lease {
    claim: Claim,
    number: u64,
    term: watch::Receiver<Term>,
    renewal: AbortHandle,
}

/// How long a lease is certain to be held, as far as this process knows.
struct Term {
    ends: Instant,
    lost: bool,
}

impl Lease {
    fn begin(claim: Claim, number: u64, asked: Instant) -> Lease {
        let (sender, term) = watch::channel(Term { ends: asked + claim.ttl, lost: false });
        let running = claim.store.run();
        let renewal = Renewal { claim: claim.clone(), asked, term: sender, running };
        let renewal = claim.store.spawn(renewal.run());
        let renewal = renewal.expect("a lease is renewed by a task: this needs a tokio runtime");
        Lease { claim, number, term, renewal }
    }

    /// The number of this holding of the lock. It is higher than that of every holder before, so
    /// what is written to can tell a late write: see
    /// [what a lease cannot do](super::Lock#what-a-lease-cannot-do).
    ///
    /// It rises with the store's clock in microseconds, and by one where that stands or goes back,
    /// so it also rises when the lock was forgotten. Only a clock that goes back while the store
    /// loses its memory, or by more than a day, can break that. Below 2^53 for two hundred years.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let lock = tower_redis_kit::Store::memory().lock("a");
    /// let first = lock.try_acquire().await?.expect("it is free");
    /// let number = first.fencing_number();
    /// first.release().await?;
    /// let second = lock.try_acquire().await?.expect("it is free again");
    /// assert!(second.fencing_number() > number);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fencing_number(&self) -> u64 {
        self.number
    }

    /// Whether the lease is not lost yet. Asks nobody: a look at the clock.
    ///
    /// The answer is about now, and what is done because of it comes later: see
    /// [what a lease cannot do](super::Lock#what-a-lease-cannot-do).
    #[must_use]
    pub fn is_held(&self) -> bool {
        // The clock is read while the end cannot be moved: see `Renewal::extend`.
        self.term.borrow().lasts()
    }

    /// Waits until the lease is lost: a renewal found that this holder does not have the lock any
    /// more, or none was confirmed in time. At once if it is lost already.
    ///
    /// # Cancel safety
    /// Nothing is spent.
    pub async fn lost(&self) {
        let mut term = self.term.clone();
        loop {
            let ends = {
                let term = term.borrow_and_update();
                if !term.lasts() {
                    return;
                }
                term.ends
            };
            if let Ok(Err(_)) = timeout_at(ends, term.changed()).await {
                // The runtime has ended the task: nobody renews.
                sleep_until(ends).await;
            }
        }
    }

    /// Gives the lock back, so that the next one need not wait, and answers whether it was still
    /// this lease's. `false`: it was lost, and what was done may not have been done alone.
    ///
    /// A lease that is dropped is released as well, by its task, a moment later. Only a process
    /// that ends before its tasks have leaves the lock taken for the rest of its time.
    ///
    /// # Errors
    /// When the store cannot answer. It is asked again in the background then, until the lock is
    /// free by itself.
    ///
    /// # Cancel safety
    /// As with an error.
    pub async fn release(self) -> Result<bool, StoreError> {
        let was_held = self.claim.take_back().await?;
        self.renewal.abort();
        Ok(was_held)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("fencing_number", &self.number)
            .field("is_held", &self.is_held())
            .finish_non_exhaustive()
    }
}

impl Term {
    fn lasts(&self) -> bool {
        !self.lost && now() < self.ends
    }
}

/// One attempt to hold a lock, under a name of its own.
#[derive(Clone)]
pub(super) struct Claim {
    store: Store,
    name: Fingerprint,
    holder: Holder,
    ttl: Duration,
}

impl Claim {
    pub(super) fn new(store: Store, name: Fingerprint, ttl: Duration) -> Claim {
        Claim { store, name, holder: Holder::random(), ttl }
    }

    /// Asks for the lock.
    pub(super) async fn make(self) -> Result<Option<Lease>, StoreError> {
        let Claim { name, holder, ttl, .. } = self;
        let asked = now();
        let asking = self.store.ask(AcquireLock { name, holder, time_to_live: ttl });
        let mut doubt = Doubt { claim: self.clone(), asked, asking };
        let answer = (&mut doubt.asking).await;
        doubt.asking = Asking::Answered(None);
        if answer.is_err() {
            self.clone().settle(asked, &answer);
        }
        Ok(answer?.map(|number| Lease::begin(self, number, asked)))
    }

    /// What came of asking, where there is nobody to hold the lock: it is given back if it may be
    /// taken.
    fn settle(self, asked: Instant, answer: &Result<Option<u64>, StoreError>) {
        let may_come_later = match answer {
            Ok(None) => return,
            Err(error) if error.was_not_done() => return,
            Ok(Some(_)) => false,
            Err(error) => error.has_no_answer(),
        };
        let (store, running) = (self.store.clone(), self.store.run());
        // Whoever asked has gone, or does not wait; it ends when the lock is free.
        store.spawn(async move {
            let free = asked + self.ttl;
            let mut is_over = !may_come_later;
            while !self.give_up(free).await && !is_over && now() < free {
                // What takes the lock may still be on its way, after as long as until now.
                let wait = now().duration_since(asked);
                is_over = timeout(wait, running.ending()).await.is_ok();
            }
        });
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        let Claim { name, holder, ttl, .. } = *self;
        self.store.ask(RenewLock { name, holder, time_to_live: ttl }).await
    }

    /// May be done twice: nobody else has this holder's name.
    async fn take_back(&self) -> Result<bool, StoreError> {
        self.store.ask(ReleaseLock { name: self.name, holder: self.holder }).await
    }

    /// Asks until the store has answered whether the lock was this holder's, or it is `free` by
    /// itself. An access list or the end of the store does not pass in time.
    async fn give_up(&self, free: Instant) -> bool {
        let mut attempt = 0;
        loop {
            match self.take_back().await {
                Ok(was_held) => return was_held,
                Err(error) if error.is_forbidden() || error.is_shut_down() => return false,
                Err(_) if now() >= free => return false,
                Err(_) => sleep(backoff(attempt, fastrand::f64())).await,
            }
            attempt = attempt.saturating_add(1);
        }
    }
}

/// A claim that has no answer yet: when the caller leaves, it may take the lock with nobody to renew
/// or release it. The answer is waited for, so that what gives the lock back does not overtake what
/// takes it, on another connection.
struct Doubt {
    claim: Claim,
    asked: Instant,
    asking: Asking<Option<u64>>,
}

impl Drop for Doubt {
    fn drop(&mut self) {
        let asking = std::mem::replace(&mut self.asking, Asking::Answered(None));
        let (claim, asked) = (self.claim.clone(), self.asked);
        let store = claim.store.clone();
        store.finish(asking, move |answer| claim.settle(asked, &answer));
    }
}

/// What the lease's task does. Holds the other end of the term: that is how it sees that the lease
/// was dropped.
struct Renewal {
    claim: Claim,
    /// When the lock was last asked for, whatever came of it.
    asked: Instant,
    term: watch::Sender<Term>,
    running: Running,
}

impl Renewal {
    async fn run(mut self) {
        self.keep().await;
        // Even if what was asked last was done without an answer.
        self.claim.give_up(self.asked + self.claim.ttl).await;
    }

    /// Until the lease is dropped or lost.
    async fn keep(&mut self) {
        let mut next = self.asked + self.claim.ttl / 3;
        let mut failures = 0;
        loop {
            let ends = self.term.borrow().ends;
            let over = async {
                tokio::select! {
                    () = self.term.closed() => {}
                    () = self.running.ending() => self.lose("the store is shut down"),
                }
            };
            if timeout_at(next.min(ends), over).await.is_ok() {
                return;
            }
            if !self.term.borrow().lasts() {
                return self.lose("no renewal was confirmed in time");
            }
            self.asked = now();
            match timeout_at(ends, self.claim.renew()).await {
                Ok(Ok(true)) if self.extend() => {
                    next = self.asked + self.claim.ttl / 3;
                    failures = 0;
                }
                Ok(Ok(true)) => return self.lose("its renewal was confirmed too late"),
                Ok(Ok(false)) => return self.lose("another holder has it, or it was forgotten"),
                // A renewal can be repeated: it only ever extends what is this holder's.
                Ok(Err(_)) | Err(_) => {
                    next = now() + backoff(failures, fastrand::f64());
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Moves the end to a whole term after the renewal was sent, unless it has come. The clock is
    /// read while nobody else reads the term, so that who has seen the end does not see the lease
    /// come back.
    fn extend(&self) -> bool {
        self.term.send_if_modified(|term| {
            let lasts = term.lasts();
            if lasts {
                term.ends = self.asked + self.claim.ttl;
            }
            lasts
        })
    }

    fn lose(&self, why: &'static str) {
        tracing::warn!(why, "a lease is lost");
        self.term.send_modify(|term| term.lost = true);
    }
}

/// tokio's clock: a test that pauses its time moves leases along.
#[expect(clippy::disallowed_methods, reason = "how long a lease is held is this process's to say")]
pub(super) fn now() -> Instant {
    Instant::now()
}
