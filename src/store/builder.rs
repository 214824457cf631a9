use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::environment::Configured;
use super::error::Kind;
use super::handle::Backend;
use super::keys::is_plain_name;
use super::memory::Memory;
use super::redis::Redis;
use super::target::{Login, Secret, Target};
use super::url::{LONGEST_TIME, check_users, is_in_process};
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
    pub(crate) bulk_deadline: Option<Duration>,
    pub(crate) max_in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) memory_capacity: usize,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: TlsSettings,
}

/// Asked for a user name and password at every new connection.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<dyn Fn() -> (Option<String>, String) + Send + Sync>);

impl Credentials {
    /// A panic of the callback's is an attempt that failed: it must not take down the task that
    /// keeps the connection, for no other would connect then.
    pub(crate) fn ask(&self) -> Result<Login, StoreError> {
        let asked = catch_unwind(AssertUnwindSafe(|| (self.0)()));
        let panicked =
            |_| StoreError::about(Kind::Unavailable, "the credentials callback panicked");
        let (username, password) = asked.map_err(panicked)?;
        Ok(Login { username, password: Some(Secret::new(password)) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TlsSettings {
    pub(crate) allow_insecure: bool,
    /// In PEM.
    pub(crate) roots: Option<Arc<[u8]>>,
    pub(crate) identity: Option<Identity>,
}

/// What the client shows of itself, in PEM.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without TLS nobody asks"))]
pub(crate) struct Identity {
    pub(crate) certificate: Arc<[u8]>,
    pub(crate) key: Secret,
}

impl Default for StoreBuilder {
    fn default() -> StoreBuilder {
        StoreBuilder {
            settings: Settings {
                prefix: "kit".to_owned(),
                deadline: Duration::from_millis(100),
                bulk_deadline: None,
                max_in_flight: 4096,
                connections: 2,
                memory_capacity: 256 << 20,
                credentials: None,
                tls: TlsSettings::default(),
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

    /// How long a call to Redis may take. 100 ms unless set; an hour, where more is given.
    ///
    /// # Panics
    /// When it is zero.
    pub fn deadline(mut self, deadline: Duration) -> StoreBuilder {
        self.settings.deadline = check_deadline(deadline);
        self
    }

    /// How long a call may take that carries a body or a value, which may be large. As long as every
    /// other call, unless set; an hour, where more is given.
    ///
    /// # Panics
    /// When it is zero.
    pub fn bulk_deadline(mut self, deadline: Duration) -> StoreBuilder {
        self.settings.bulk_deadline = Some(check_deadline(deadline));
        self
    }

    /// How many connections each server is given; all calls share them. One carries bodies and
    /// values alone, where there are two or more: so none of these keeps a verdict waiting. 2 unless
    /// set.
    ///
    /// # Panics
    /// When it is not 1 to 64.
    pub fn connections(mut self, connections: usize) -> StoreBuilder {
        assert!((1..=64).contains(&connections), "a server is given 1 to 64 connections");
        self.settings.connections = connections;
        self
    }

    /// Asks for the user name and password at every new connection: for passwords that are rotated.
    /// They come in the place of those in the URL.
    ///
    /// Where it panics, because a file is not there at that moment, the attempt to connect has
    /// failed: it is asked again at the next one.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let store = Store::builder()
    ///     .credentials(|| (Some("app".to_owned()), "today's".to_owned()))
    ///     .connect_lazy("redis://127.0.0.1:1")
    ///     .unwrap();
    /// assert!(!format!("{store:?}").contains("today's"));
    /// # }
    /// ```
    pub fn credentials(
        mut self,
        credentials: impl Fn() -> (Option<String>, String) + Send + Sync + 'static,
    ) -> StoreBuilder {
        self.settings.credentials = Some(Credentials(Arc::new(credentials)));
        self
    }

    /// Believes these root certificates, in PEM, in the place of the system's, where the URL says
    /// `rediss`. What is wrong with them shows when connecting.
    pub fn tls_roots(mut self, pem: impl AsRef<[u8]>) -> StoreBuilder {
        self.settings.tls.roots = Some(pem.as_ref().into());
        self
    }

    /// Shows the server this certificate, in PEM with its chain, and proves it with this key.
    pub fn tls_identity(mut self, certificate: impl AsRef<[u8]>, key: &str) -> StoreBuilder {
        let certificate = certificate.as_ref().into();
        self.settings.tls.identity = Some(Identity { certificate, key: Secret::new(key) });
        self
    }

    /// Lets a URL's `#insecure` mean that whoever answers is believed to be the server.
    ///
    /// # Security
    /// Anybody on the way can then read and change everything. It is for tests.
    pub fn allow_insecure_tls(mut self) -> StoreBuilder {
        self.settings.tls.allow_insecure = true;
        self
    }

    /// How many calls may be in flight on each connection; one more fails at once. 4,096 unless set.
    ///
    /// # Panics
    /// When it is zero.
    pub fn max_in_flight(mut self, calls: usize) -> StoreBuilder {
        assert!(calls > 0, "with no call in flight there is no answer");
        self.settings.max_in_flight = calls;
        self
    }

    /// How much the in-process store may hold, in bytes, of which rate limits, sessions,
    /// revocations, responses, handlers' values and their logs have a sixth each, the last of which
    /// has room for presences, locks and permits as well. 256 MiB unless set.
    ///
    /// When a sixth is full, the limits, responses and values that were used least recently are
    /// forgotten, and limits that are shut for somebody only where nearly all are; new sessions,
    /// revocations, entries of logs, presences, locks and permits are refused.
    pub fn memory_capacity(mut self, bytes: usize) -> StoreBuilder {
        self.settings.memory_capacity = bytes;
        self
    }

    /// A store in this process.
    #[must_use]
    pub fn memory(self) -> Store {
        Store::new(Backend::Memory(Box::new(Memory::new(self.settings.memory_capacity))))
    }

    /// The store at `url`: see [`Store::connect`].
    ///
    /// # Errors
    /// See [`Store::connect`].
    pub async fn connect(self, url: &str) -> Result<Store, StoreError> {
        let target = self.target(url)?;
        self.connect_to(target.as_ref()).await
    }

    /// The store at `url`, without waiting for it: see [`Store::connect_lazy`].
    ///
    /// # Errors
    /// See [`Store::connect_lazy`].
    ///
    /// # Panics
    /// See [`Store::connect_lazy`].
    pub fn connect_lazy(self, url: &str) -> Result<Store, StoreError> {
        match self.target(url)? {
            None => Ok(self.memory()),
            Some(target) => {
                let redis = Redis::connect_lazy(&target, &self.settings)?;
                Ok(Store::new(Backend::Redis(Arc::new(redis))))
            }
        }
    }

    /// The store that the environment names: see [`Store::from_env`]. What the environment says of
    /// the prefix, the deadline and the connections comes in the place of what was set here.
    ///
    /// # Errors
    /// See [`Store::from_env`].
    pub async fn from_env(mut self) -> Result<Store, StoreError> {
        let configured = Configured::from_env(|name| std::env::var_os(name))?;
        configured.check_users(self.settings.credentials.is_some())?;
        let settings = &mut self.settings;
        settings.prefix = configured.prefix.unwrap_or_else(|| std::mem::take(&mut settings.prefix));
        settings.deadline = configured.deadline.unwrap_or(settings.deadline);
        settings.connections = configured.connections.unwrap_or(settings.connections);
        if configured.target.is_none() {
            tracing::info!("the environment names no Redis: the store is in this process alone");
        }
        self.connect_to(configured.target.as_ref()).await
    }

    /// What a URL names; `None` is this process.
    fn target(&self, url: &str) -> Result<Option<Target>, StoreError> {
        if is_in_process(url)? {
            return Ok(None);
        }
        let target = Target::from_url(url)?;
        check_users(&target, self.settings.credentials.is_some())
            .map_err(|why| StoreError::about(Kind::InvalidUrl, why))?;
        Ok(Some(target))
    }

    async fn connect_to(self, target: Option<&Target>) -> Result<Store, StoreError> {
        match target {
            None => Ok(self.memory()),
            Some(target) => {
                let redis = Redis::connect(target, &self.settings).await?;
                Ok(Store::new(Backend::Redis(Arc::new(redis))))
            }
        }
    }
}

/// A deadline that the clock can count: from now, the longest of all durations is beyond its end.
fn check_deadline(deadline: Duration) -> Duration {
    assert!(!deadline.is_zero(), "a deadline of zero lets no call succeed");
    deadline.min(LONGEST_TIME)
}

/// What a key prefix may be; otherwise the rule, in words.
pub(super) fn check_prefix(prefix: &str) -> Result<(), &'static str> {
    let rule = "a key prefix is 1 to 64 letters, digits or any of - _ . :";
    is_plain_name(prefix).then_some(()).ok_or(rule)
}
