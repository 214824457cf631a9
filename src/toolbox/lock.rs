use std::fmt;
use std::time::Duration;

use super::lease::{Claim, Lease, now};
use crate::policy::breaker::backoff;
use crate::store::keys::Fingerprint;
use crate::{Store, StoreError};

/// A lock by name, which any number of processes on one store may ask for. Made by
/// [`Store::lock`].
///
/// What it gives is a [`Lease`]: held for a time, renewed in the background while it is held, and
/// free again when its holder has gone without a word for that time.
///
/// # What a lease cannot do
/// It keeps two processes from doing the same work twice, nearly always. It cannot keep them from
/// ever doing it at once, and neither can any other lock with a time limit: a holder may be stopped
/// (by its scheduler, a paused machine, a network that delivers late) right after it has seen that
/// the lease is its own, and go on with its next write when somebody else has held the lock for
/// long. No look at the lock, however close before the write, closes that gap, because what is
/// written to does not know of the lock. A Redis that comes back empty, or a replica that takes
/// over before it has heard of the lock, gives it away as well.
///
/// Where two at once would do harm, let the thing that is written to decide: send the
/// [fencing number](Lease::fencing_number) along, and have it refuse a number lower than the
/// highest that it has seen. Then a late write of an earlier holder bounces. Martin Kleppmann makes
/// this argument in "How to do distributed locking" (2016).
#[derive(Clone)]
#[must_use]
pub struct Lock {
    store: Store,
    name: Fingerprint,
    ttl: Duration,
}

/// Below that, an ordinary hiccup of the network ends a lease.
const SHORTEST: Duration = Duration::from_millis(100);

/// Beyond that, clocks run out of numbers.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Store {
    /// The lock of this name: whoever names the same, on the same store and prefix, asks for the
    /// same lock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::memory();
    /// let lock = store.lock("nightly-report").ttl(Duration::from_secs(10));
    ///
    /// let lease = lock.try_acquire().await?.expect("nobody has it");
    /// assert!(lease.is_held());
    /// assert!(lock.try_acquire().await?.is_none());
    ///
    /// let was_held = lease.release().await?;
    /// assert!(was_held);
    /// # Ok(()) }
    /// ```
    pub fn lock(&self, name: impl AsRef<[u8]>) -> Lock {
        let name = Fingerprint::of(&[name.as_ref()]);
        Lock { store: self.clone(), name, ttl: Duration::from_secs(30) }
    }
}

impl Lock {
    /// How long the lock stays taken after the last sign of life of its holder. 30 s unless set, and
    /// a year at most: what is longer is a year.
    ///
    /// The holder renews it each third of that. A short time lets another one in soon when a
    /// holder dies; a long one survives a longer outage of Redis.
    ///
    /// # Panics
    /// When it is less than 100 ms.
    pub fn ttl(mut self, ttl: Duration) -> Lock {
        assert!(ttl >= SHORTEST, "a lease of less than {SHORTEST:?} does not last (got {ttl:?})");
        self.ttl = ttl.min(LONGEST);
        self
    }

    /// Takes the lock, if nobody has it: `None` means that somebody has.
    ///
    /// One command on Redis.
    ///
    /// # Errors
    /// When the store cannot answer. The lock may be taken all the same, by nobody who knows of it;
    /// it is given back, in the background, as soon as the store can be asked to, and is free after
    /// its [time](Lock::ttl) in any case.
    ///
    /// # Cancel safety
    /// As with an error.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn try_acquire(&self) -> Result<Option<Lease>, StoreError> {
        let claim = Claim::new(self.store.clone(), self.name, self.ttl);
        claim.make().await
    }

    /// Takes the lock as soon as nobody has it, and waits for that at most as long as `wait`.
    /// `None` means that the time is up, and somebody still has it.
    ///
    /// Who waits asks again and again, at random moments up to half a second apart. They do not
    /// queue: the lock goes to whoever asks first after it is free.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let lock = Store::memory().lock("invoice:7");
    /// let held = lock.acquire(Duration::from_secs(10)).await?.expect("it is free");
    /// assert!(lock.acquire(Duration::from_secs(1)).await?.is_none());
    ///
    /// let waiting = lock.acquire(Duration::from_secs(10));
    /// drop(held);
    /// assert!(waiting.await?.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the store cannot answer: at once, and not after the wait. As for
    /// [`try_acquire`](Lock::try_acquire).
    ///
    /// # Cancel safety
    /// Whoever leaves while waiting has changed nothing. Apart from that as for
    /// [`try_acquire`](Lock::try_acquire).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn acquire(&self, wait: Duration) -> Result<Option<Lease>, StoreError> {
        let began = now();
        let mut attempt = 0;
        loop {
            let lease = self.try_acquire().await?;
            let left = wait.saturating_sub(now().duration_since(began));
            if lease.is_some() || left.is_zero() {
                return Ok(lease);
            }
            tokio::time::sleep(backoff(attempt, fastrand::f64()).min(left)).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

/// Never the name: it may be somebody's.
impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
