use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Limiter, Shared};
use crate::StoreError;
use crate::observe::Limit as Event;
use crate::policy::limiting::Decision;
use crate::rate_limit::{Allowance, Key};
use crate::stopwatch::Stopwatch;
use crate::store::limit_at::LimitAt;
use crate::store::turns::Turn;

/// Between two questions of who waits, also where clocks disagree about when to ask again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Something may have been given back, the limit opened, or the store come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// So often, at most, somebody asks who waits for more than a day.
const PAUSES: u32 = 100_000;

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
    /// A refusal means that it would have to wait for longer, and comes as soon as that is known: to
    /// who is not the first in line, when the first has to wait for so long.
    ///
    /// Who waits in this process for the same key is let through in the order of coming, whatever
    /// each of them costs, and only the first of them asks the store: when, as it said, there will
    /// be enough, and each second, as something may have been given back. Who is not polled for a
    /// second loses its place to the next. Others may take before who waits: other processes, and
    /// who does not wait. Each who waits takes memory, and nothing bounds their number: where
    /// clients are let wait, limit how many [at the same time](crate::rate_limit::concurrency).
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
    /// costs more than there ever is is refused at once, and what costs nothing waits for nobody.
    ///
    /// In processes that take one by one, there may never be many at once for who waits for them
    /// in another.
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
        let left = || wait.saturating_sub(waited.elapsed());
        let Shared { store, rule, quota, .. } = &*self.shared;
        let (turns, what) = (store.turns(), (LimitAt::new(rule, &key.0), *quota));
        let never_waits = cost == 0 || cost > rule.counting.capacity();
        let mut answer = None;
        if never_waits || !turns.is_anybody(&what) {
            let (event, decision) = self.attempt(key, cost).await?;
            if !waits(&decision, left()) {
                return Ok(self.allowance(event, decision));
            }
            answer = Some((event, decision));
        }
        let place = turns.join(what);
        loop {
            match (place.turn(), answer.take()) {
                (Turn::First, answer) => {
                    let (event, decision) = match answer {
                        Some(answer) => answer,
                        None => self.attempt(key, cost).await?,
                    };
                    if !waits(&decision, left()) {
                        return Ok(self.allowance(event, decision));
                    }
                    let again = decision.retry_after().unwrap_or_default();
                    let pause = again.clamp(SHORTEST_PAUSE, longest_pause(again));
                    place.told(decision, pause);
                    sleep(pause).await;
                }
                (Turn::Behind(Some(told)), _) if left().is_zero() || !waits(&told, left()) => {
                    return Ok(self.allowance(Event::of(false), told));
                }
                (Turn::Behind(None), _) if left().is_zero() => {
                    let (event, decision) = self.attempt(key, cost).await?;
                    return Ok(self.allowance(event, decision));
                }
                // What the first is told may become too long.
                (Turn::Behind(told), _) => {
                    let again = told.and_then(|told| told.retry_after()).unwrap_or_default();
                    let _ = timeout(longest_pause(again).min(left()), place.called()).await;
                }
            }
        }
    }
}

/// Until somebody looks again who has to wait for `again`.
fn longest_pause(again: Duration) -> Duration {
    LONGEST_PAUSE.max(again / PAUSES)
}

/// Whether it is a refusal that is worth waiting for.
fn waits(decision: &Decision, left: Duration) -> bool {
    !decision.allowed && decision.retry_after().is_some_and(|again| again <= left)
}
