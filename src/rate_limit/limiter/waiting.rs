use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Limiter;
use crate::StoreError;
use crate::policy::limiting::Act;
use crate::rate_limit::{Allowance, Key};
use crate::stopwatch::Stopwatch;

/// Between two questions of who waits, also where clocks disagree about when to ask again.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

impl Limiter {
    /// Takes one as soon as it is there, and waits for that at most as long as `wait`: for work in
    /// the background, and calls of somebody else's service that has a limit of its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::Quota;
    ///
    /// // All instances together.
    /// let calls = Store::memory().limiter("payments-api", Quota::per_second(2));
    /// let began = tokio::time::Instant::now();
    /// for _ in 0..4 {
    ///     assert!(calls.take_within("all", Duration::from_secs(5)).await?.is_allowed());
    /// }
    /// assert_eq!(began.elapsed().as_secs(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// A refusal means that it would have to wait for longer, and comes as soon as that is known.
    /// Who waits in this process for the same key is let through in the order of coming, and only
    /// the first of them asks the store: each time when, as it said, one more will be there. Others
    /// may take that before: other processes, and who does not wait.
    ///
    /// # Errors
    /// As on [`Limiter`]: at once, and not after the wait. What is decided while the store is away,
    /// by the [fallback](Limiter::fallback), is waited for as well.
    ///
    /// # Cancel safety
    /// Who leaves while waiting has taken nothing. Apart from that as on [`Limiter`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn take_within(
        &self,
        key: impl Into<Key>,
        wait: Duration,
    ) -> Result<Allowance, StoreError> {
        self.take_n_within(key, 1, wait).await
    }

    /// Takes `cost` as soon as all of it is there: see [`take_within`](Limiter::take_within). What
    /// costs more than there ever is is refused at once.
    ///
    /// # Errors
    /// # Cancel safety
    /// # Panics
    /// As [`take_within`](Limiter::take_within).
    pub async fn take_n_within(
        &self,
        key: impl Into<Key>,
        cost: u32,
        wait: Duration,
    ) -> Result<Allowance, StoreError> {
        let (key, waited) = (key.into(), Stopwatch::start());
        let place = self.shared.store.queue(&self.shared.rule, &key.0);
        // Whose time is up before it is their turn asks as well: there may be enough for all.
        let _turn = timeout(wait, place.turn()).await;
        loop {
            let answer = self.act(Act::Take, key, cost).await;
            let (event, decision) = self.outcome(&key, cost, answer)?;
            match decision.retry_after() {
                Some(again)
                    if !decision.allowed && again <= wait.saturating_sub(waited.elapsed()) =>
                {
                    sleep(again.max(SHORTEST_WAIT)).await;
                }
                _ => return Ok(self.allowance(event, decision)),
            }
        }
    }
}
