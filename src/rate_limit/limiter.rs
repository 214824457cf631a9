use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Allowance, Fallback, Key};
use crate::policy::Quota;
use crate::policy::limiting::Act;
use crate::store::verbs::{Block, Reset, Rule};
use crate::{Store, StoreError};

mod asking;
mod together;
mod waiting;

/// A limit to ask in code: in handlers, at log-ins, in what runs in the background.
///
/// It counts together with a [`Limit`](super::Limit) of the same name and way to count, so this is
/// also how an administrator looks at, opens or shuts what a layer limits: by the same [`Key`],
/// which is made of a name or an address.
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::Store;
/// use tower_redis_kit::rate_limit::Quota;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// let store = Store::memory();
/// let mails = store.limiter("mail", Quota::per_hour(2));
/// assert!(mails.take("ada").await?.is_allowed());
/// assert_eq!(mails.take("ada").await?.remaining(), 0);
///
/// let third = mails.take("ada").await?;
/// assert!(!third.is_allowed());
/// assert!(third.retry_after().is_some_and(|wait| wait <= Duration::from_secs(30 * 60)));
///
/// assert!(mails.reset("ada").await?);
/// assert!(mails.take("ada").await?.is_allowed());
/// # Ok(()) }
/// ```
///
/// In a handler a refusal becomes a response by [`Allowance::or_limited`].
///
/// A handle, cheap to clone, and as good when it is made for each request: whoever asks a store and
/// its clones for the same name and quota counts together, also what is counted in this process
/// while the store is away. That is so for 1,024 names and quotas at the same time; of more, the
/// one that was used longest ago begins anew, so a name should not come from a request: that is
/// what a [`Key`] is for.
///
/// # Errors
/// Every method fails when the store cannot answer, but those that take go by the
/// [fallback](Limiter::fallback).
///
/// # Cancel safety
/// What a caller asked for who then leaves may still be done.
#[derive(Clone)]
#[must_use]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    store: Store,
    rule: Arc<Rule>,
    /// The rule's name, for whoever counts.
    name: Arc<str>,
    quota: Quota,
    fallback: Fallback,
}

impl Store {
    /// The limit of this name and quota, for code to ask. In process and on Redis alike.
    ///
    /// # Panics
    /// As [`Limit::new`](crate::rate_limit::Limit::new).
    #[track_caller]
    pub fn limiter(&self, name: &str, quota: Quota) -> Limiter {
        let mut rule = Rule::new(name, quota.counting(), false);
        // Some layer of the same name may remember whom it refused, or have leased something.
        rule.tells = true;
        let (store, rule, fallback) = (self.clone(), Arc::new(rule), Fallback::default());
        Limiter { shared: Arc::new(Shared { store, rule, name: name.into(), quota, fallback }) }
    }
}

impl Limiter {
    /// What a take does while the store cannot answer. [`Fallback::Local`] unless
    /// set; with [`Fallback::Refuse`] it fails.
    pub fn fallback(mut self, fallback: Fallback) -> Limiter {
        Arc::make_mut(&mut self.shared).fallback = fallback;
        self
    }

    /// Takes one from the quota, if it is there.
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn take(&self, key: impl Into<Key>) -> Result<Allowance, StoreError> {
        let key = key.into();
        match self.at_once(&key, 1) {
            Some(allowance) => allowance,
            None => self.later(key, 1).await,
        }
    }

    /// Takes `cost` from the quota, if all of it is there, and nothing otherwise.
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn take_n(&self, key: impl Into<Key>, cost: u32) -> Result<Allowance, StoreError> {
        let key = key.into();
        match self.at_once(&key, cost) {
            Some(allowance) => allowance,
            None => self.later(key, cost).await,
        }
    }

    /// Whether one more would be allowed, and how many are left. Takes nothing.
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn peek(&self, key: impl Into<Key>) -> Result<Allowance, StoreError> {
        self.peek_n(key, 1).await
    }

    /// Whether `cost` would be allowed at once. Takes nothing.
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn peek_n(&self, key: impl Into<Key>, cost: u32) -> Result<Allowance, StoreError> {
        let decision = self.act(Act::Peek, key.into(), cost).await?;
        Ok(Allowance::new(&self.shared.name, decision))
    }

    /// Gives `count` back that were taken, as far as there are any, and answers how many are left.
    ///
    /// What was taken last goes first, so that who takes and gives back leaves all as it was: of a
    /// [log](Quota::sliding_log) the newest entries go, and older ones stay until they are a period
    /// old; of a [sliding window](Quota::sliding_window) this window's requests, and then those of
    /// the one before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::Quota;
    ///
    /// let exports = Store::memory().limiter("exports", Quota::per_day(3));
    /// assert_eq!(exports.take_n("ada", 3).await?.remaining(), 0);
    /// assert_eq!(exports.refund("ada", 2).await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn refund(&self, key: impl Into<Key>, count: u32) -> Result<u64, StoreError> {
        Ok(self.act(Act::Refund, key.into(), count).await?.remaining)
    }

    /// Takes `count` whether they are there or not, and answers how many are left: for who has done
    /// something that deserves it, or what turned out to cost more.
    ///
    /// A GCRA limit forgets what is beyond its whole burst, so that a penalty never shuts somebody
    /// out for longer than an empty quota takes to fill: for that there is
    /// [`block`](Limiter::block).
    ///
    /// What processes have [leased](super::Limit::lease) ends with it, and stays charged: it takes
    /// a message's time until another process spends no more of that.
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn penalty(&self, key: impl Into<Key>, count: u32) -> Result<u64, StoreError> {
        Ok(self.act(Act::Charge, key.into(), count).await?.remaining)
    }

    /// Shuts the limit for somebody for a time, at most some 35 years. In the place of what was
    /// counted. It holds for limits of this name that count in the same way, as by GCRA or in a
    /// fixed window, and while the store can be asked. In process it is forgotten last when
    /// [memory](crate::StoreBuilder::memory_capacity) is used up: only where nearly all that is
    /// there is shut.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::Quota;
    ///
    /// let api = Store::memory().limiter("api", Quota::per_second(10));
    /// api.block("mallory", Duration::from_secs(3_600)).await?;
    /// assert!(api.take("mallory").await?.is_blocked());
    /// assert!(api.unblock("mallory").await?);
    /// assert!(api.take("mallory").await?.is_allowed());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn block(&self, key: impl Into<Key>, time: Duration) -> Result<(), StoreError> {
        self.shut(key.into(), Some(time)).await?;
        Ok(())
    }

    /// Opens the limit for somebody who was [blocked](Limiter::block) or [locked
    /// out](Quota::lockout), and says whether they were. How often somebody was locked out is not
    /// forgotten: for that there is [`reset`](Limiter::reset).
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn unblock(&self, key: impl Into<Key>) -> Result<bool, StoreError> {
        self.shut(key.into(), None).await
    }

    /// Forgets all that was counted of somebody, a block included, and says whether there was
    /// something: after a successful log-in, or for whom a customer service takes pity on. What is
    /// [settled](crate::rate_limit::Limit::settle) after that of a request from before goes back to
    /// what was taken since, where nobody can tell the two apart: by GCRA, and in sliding windows.
    ///
    /// # Errors
    /// As on [`Limiter`].
    pub async fn reset(&self, key: impl Into<Key>) -> Result<bool, StoreError> {
        self.shared.store.ask(Reset { rule: self.shared.rule.clone(), subject: key.into().0 }).await
    }

    async fn shut(&self, key: Key, time: Option<Duration>) -> Result<bool, StoreError> {
        self.shared.store.ask(Block { rule: self.shared.rule.clone(), subject: key.0, time }).await
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.shared.name)
            .field("quota", &self.shared.quota)
            .field("fallback", &self.shared.fallback)
            .finish_non_exhaustive()
    }
}
