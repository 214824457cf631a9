use std::sync::Arc;
use std::time::Duration;

use super::error::Kind;
use super::handle::Backend;
use super::memory::Memory;
use super::redis::Redis;
use super::url::is_in_process;
use super::{Store, StoreError};

/// Settings of a [`Store`], made by [`Store::builder`].
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::Store;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let store = Store::builder()
///     .prefix("shop-staging")
///     .deadline(Duration::from_millis(50))
///     .connect("memory:")
///     .await
///     .unwrap();
/// assert!(store.health().is_up());
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct StoreBuilder {
    settings: Settings,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) prefix: String,
    pub(crate) deadline: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) memory_capacity: usize,
}

impl Default for StoreBuilder {
    fn default() -> StoreBuilder {
        StoreBuilder {
            settings: Settings {
                prefix: "kit".to_owned(),
                deadline: Duration::from_millis(100),
                max_in_flight: 4096,
                memory_capacity: 256 << 20,
            },
        }
    }
}

impl StoreBuilder {
    /// Puts `prefix` in front of every key on Redis, to tell applications, or development and
    /// production, apart. `kit` unless set.
    ///
    /// # Panics
    /// When it is empty, longer than 64 bytes, or has a byte other than letters, digits, `-`, `_`,
    /// `.` and `:`.
    pub fn prefix(mut self, prefix: &str) -> StoreBuilder {
        if let Err(rule) = check_prefix(prefix) {
            panic!("{rule} (got {prefix:?})");
        }
        prefix.clone_into(&mut self.settings.prefix);
        self
    }

    /// How long a call to Redis may take. 100 ms unless set.
    ///
    /// # Panics
    /// When it is zero.
    pub fn deadline(mut self, deadline: Duration) -> StoreBuilder {
        assert!(!deadline.is_zero(), "a deadline of zero lets no call succeed");
        self.settings.deadline = deadline;
        self
    }

    /// How many calls to Redis may be in flight; one more fails at once. 4,096 unless set.
    ///
    /// # Panics
    /// When it is zero.
    pub fn max_in_flight(mut self, calls: usize) -> StoreBuilder {
        assert!(calls > 0, "with no call in flight there is no answer");
        self.settings.max_in_flight = calls;
        self
    }

    /// How much the in-process store may hold, in bytes, of which rate limits, sessions,
    /// revocations and responses have a quarter each. 256 MiB unless set.
    ///
    /// When a quarter is full, the limits and responses that were used least recently are
    /// forgotten; new sessions and revocations are refused.
    pub fn memory_capacity(mut self, bytes: usize) -> StoreBuilder {
        self.settings.memory_capacity = bytes;
        self
    }

    /// A store in this process.
    #[must_use]
    pub fn memory(self) -> Store {
        Store::new(Backend::Memory(Arc::new(Memory::new(self.settings.memory_capacity))))
    }

    /// The store at `url`: see [`Store::connect`].
    ///
    /// # Errors
    /// See [`Store::connect`].
    pub async fn connect(self, url: &str) -> Result<Store, StoreError> {
        match self.in_process(url)? {
            Some(store) => Ok(store),
            None => {
                let redis = Redis::connect(url, &self.settings).await?;
                Ok(Store::new(Backend::Redis(Arc::new(redis))))
            }
        }
    }

    /// The store at `url`, without waiting for it: see [`Store::connect_lazy`].
    ///
    /// # Errors
    /// See [`Store::connect_lazy`].
    ///
    /// # Panics
    /// See [`Store::connect_lazy`].
    pub fn connect_lazy(self, url: &str) -> Result<Store, StoreError> {
        match self.in_process(url)? {
            Some(store) => Ok(store),
            None => {
                let redis = Redis::connect_lazy(url, &self.settings)?;
                Ok(Store::new(Backend::Redis(Arc::new(redis))))
            }
        }
    }

    fn in_process(&self, url: &str) -> Result<Option<Store>, StoreError> {
        Ok(is_in_process(url)?.then(|| self.clone().memory()))
    }

    /// The store that `REDIS_URL` names: see [`Store::from_env`].
    ///
    /// # Errors
    /// See [`Store::from_env`].
    pub async fn from_env(self) -> Result<Store, StoreError> {
        match std::env::var("REDIS_URL") {
            Ok(url) => self.connect(&url).await,
            Err(std::env::VarError::NotPresent) => {
                tracing::info!("REDIS_URL is not set: the store is in this process alone");
                Ok(self.memory())
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(StoreError::about(Kind::InvalidUrl, "REDIS_URL is not UTF-8"))
            }
        }
    }
}

/// What a key prefix may be; otherwise the rule, in words.
pub(super) fn check_prefix(prefix: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=64).contains(&prefix.len()) && prefix.bytes().all(plain) {
        return Ok(());
    }
    Err("a key prefix is 1 to 64 letters, digits or any of - _ . :")
}
