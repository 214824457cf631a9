use std::fmt;
use std::sync::Arc;

use super::asking::counted;
use super::channels::{Channels, Listener};
use super::error::Kind;
use super::flights::Flights;
use super::keys::Fingerprint;
use super::life::Life;
use super::local::Locals;
use super::memory::Memory;
use super::permits::Permits;
use super::place::PlacePrefix;
use super::redis::Redis;
use super::returns::Returns;
use super::turns::Turns;
use super::under_way::UnderWay;
use super::verbs::{Cursor, Page, ReadInfo, Reported, ScanTarget};
use super::{Health, HealthWatch, StoreBuilder, StoreError};
use crate::observe::{self, Call};
use crate::policy::Timestamp;
use crate::policy::monitoring::ServerInfo;
use crate::stopwatch::Stopwatch;

/// What the layers remember things in: this process, or Redis.
///
/// A handle, cheap to clone; clones share everything. [`StoreLayer`](crate::StoreLayer) puts it
/// into every request, where layers and handlers find it.
///
/// ```
/// use tower_redis_kit::Store;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// // Redis where `REDIS_URL` is set, this process where it is not.
/// let store = Store::from_env().await?;
/// assert!(store.health().is_up());
/// # Ok(()) }
/// ```
///
/// # When Redis is away
/// No call waits for it longer than the [deadline](StoreBuilder::deadline). After a lost connection,
/// or three missed deadlines in a row, calls fail within microseconds while a background task
/// reconnects; what the caller then does is each layer's documented policy. Nothing needs to be
/// restarted.
///
/// # Runtime
/// A store on Redis lives in the tokio runtime that connected it, with all that goes on in the
/// background; requests may be in others, and end on any thread. Where that runtime has ended, it is
/// a Redis that is away.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

/// What all handles of a store have in common.
pub(super) struct Shared {
    pub(super) backend: Backend,
    flights: Flights,
    pub(super) locals: Locals,
    pub(super) under_way: Arc<UnderWay>,
    pub(super) permits: Arc<Permits>,
    pub(super) returns: Returns,
    pub(super) turns: Turns,
    pub(super) life: Arc<Life>,
}

pub(super) enum Backend {
    Memory(Box<Memory>),
    Redis(Arc<Redis>),
}

impl Store {
    pub(super) fn new(backend: Backend) -> Store {
        let (flights, locals) = (Flights::default(), Locals::default());
        let (under_way, permits, returns) = (Arc::default(), Arc::default(), Returns::default());
        let (turns, life) = (Turns::default(), Arc::default());
        let shared = Shared { backend, flights, locals, under_way, permits, returns, turns, life };
        Store { shared: Arc::new(shared) }
    }

    /// A store in this process: nothing to install, and nothing outlives it.
    #[must_use]
    pub fn memory() -> Store {
        Store::builder().memory()
    }

    /// The store at `url`:
    ///
    /// | URL | where |
    /// |---|---|
    /// | `memory:` | this process |
    /// | `redis://[user:password@]host[:port][/database]` | one server |
    /// | `unix:///path/to/socket[?db=database&user=user&pass=password]` | one server on this machine |
    /// | `redis-sentinel://[user:password@]host[:port][,host…]/service[/database]` | the primary that Sentinels name; `?sentinel_user=…&sentinel_password=…` for these themselves, `&timeout=seconds` for an answer of one, 0.5 unless set and 1 at most |
    /// | `redis-cluster://[user:password@]host[:port][,host…]` | a cluster; `?read_from_replicas=true` lets replicas answer where what is a little old will do |
    ///
    /// `rediss` in the place of `redis` is TLS (feature `tls` or `tls-ring`), `valkey` means the
    /// same as `redis`, and `protocol=resp3` in the query chooses RESP3. A user without a password
    /// is an error, unless there are [`credentials`](StoreBuilder::credentials): Redis would not be
    /// told the name, and take whoever comes for its default user.
    ///
    /// Connects, logs in, and tries a script, a write and the newest command that is needed, so
    /// that what is wrong shows here.
    ///
    /// # Errors
    /// Tells apart what is wrong: the URL ([`is_invalid_url`](StoreError::is_invalid_url)), the
    /// host's name ([`is_unresolved`](StoreError::is_unresolved)), nothing listening
    /// ([`is_refused`](StoreError::is_refused)), no answer within two seconds
    /// ([`is_timeout`](StoreError::is_timeout)), the user or password
    /// ([`is_unauthorized`](StoreError::is_unauthorized)), another protocol
    /// ([`is_not_redis`](StoreError::is_not_redis)), TLS ([`is_tls`](StoreError::is_tls)), a
    /// Sentinel or a cluster's node in the place of a server, or the other way round
    /// ([`is_wrong_topology`](StoreError::is_wrong_topology)), an access list that is too narrow
    /// for the keys or commands ([`is_forbidden`](StoreError::is_forbidden)). It never shows the
    /// password.
    pub async fn connect(url: &str) -> Result<Store, StoreError> {
        Store::builder().connect(url).await
    }

    /// The store at `url`, as for [`connect`](Store::connect), but without waiting for it: a
    /// service can start while Redis is away. Until the first connection is made, in the
    /// background, every layer does what it does while Redis is away.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::connect_lazy("redis://127.0.0.1:1")?;
    /// assert!(!store.health().is_up());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the URL cannot be used, or asks for TLS that this build, process or setting does not
    /// have. What else is wrong shows in [`health`](Store::health).
    ///
    /// # Panics
    /// Outside of a tokio runtime, unless the URL is `memory:`.
    pub fn connect_lazy(url: &str) -> Result<Store, StoreError> {
        Store::builder().connect_lazy(url)
    }

    /// The store that the environment names; without one, a store in this process, and a line in the
    /// log that says so.
    ///
    /// `REDIS_URL` wins. Otherwise there are `REDIS_HOST`, `REDIS_PORT`, `REDIS_DB` (or
    /// `REDIS_DATABASE`), `REDIS_USERNAME`, `REDIS_PASSWORD` and `REDIS_USE_SSL`; for Sentinels
    /// `REDIS_USE_SENTINEL`, `REDIS_SENTINELS`, `REDIS_SENTINEL_SERVICE_NAME`,
    /// `REDIS_SENTINEL_USERNAME`, `REDIS_SENTINEL_PASSWORD`, `REDIS_SENTINEL_SOCKET_TIMEOUT`; for a
    /// cluster `REDIS_USE_CLUSTERS`, `REDIS_CLUSTERS`, `REDIS_CLUSTERS_PASSWORD`. In any case
    /// `REDIS_TIMEOUT` (seconds) is the [deadline](StoreBuilder::deadline), `REDIS_MAX_CONNECTIONS`
    /// the [connections](StoreBuilder::connections) and `REDIS_KEY_PREFIX` the
    /// [prefix](StoreBuilder::prefix). A Sentinel is waited for a second at most, whatever is set:
    /// an attempt to connect has two. `NAME_FILE` names a file to read `NAME` from. Files are read
    /// here and not later.
    ///
    /// # Errors
    /// [`is_invalid_config`](StoreError::is_invalid_config) when settings contradict each other or
    /// cannot be read, or a user has no password: it names the variables, never what they hold.
    /// Otherwise see [`Store::connect`].
    pub async fn from_env() -> Result<Store, StoreError> {
        Store::builder().from_env().await
    }

    /// A store with settings of your own.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// How the store is doing right now. Asks nothing of the server.
    #[must_use]
    pub fn health(&self) -> Health {
        match &self.shared.backend {
            Backend::Memory(memory) => Health::always_up(memory.started()),
            Backend::Redis(redis) => redis.health(),
        }
    }

    /// Any command at all, on the supervised connections and within the deadline: what the kit has
    /// no word for.
    ///
    /// ```no_run
    /// use tower_redis_kit::{Store, StoreError, redis};
    ///
    /// # async fn example(store: Store) -> Result<(), StoreError> {
    /// let mut score = redis::cmd("ZSCORE");
    /// score.arg("leaderboard").arg("ada");
    /// let score: Option<f64> = store.raw(score).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// The key is sent as it is, without the store's prefix. On a cluster the node of the first key
    /// is asked. What is large travels on a connection of its own.
    ///
    /// # Errors
    /// [`is_unsupported`](StoreError::is_unsupported) in process, where there are no commands, and
    /// for a command that would block the shared connection or change it for others (`BLPOP`,
    /// `MULTI`, `SELECT`, `SUBSCRIBE`, …). Otherwise as every call; a reply of another type than `T`
    /// is an error that does not show it.
    ///
    /// # Security
    /// Nothing here escapes what a client sent. Arguments are safe, as they have lengths; keys and
    /// patterns made of a client's bytes are not.
    ///
    /// # Cancel safety
    /// A command whose caller leaves may still run.
    pub async fn raw<T: redis::FromRedisValue>(
        &self,
        command: redis::Cmd,
    ) -> Result<T, StoreError> {
        match &self.shared.backend {
            Backend::Memory(_) => Err(StoreError::about(
                Kind::Unsupported,
                "there are no commands in process: connect to Redis",
            )),
            Backend::Redis(redis) => {
                let reply = redis.raw(command).await?;
                T::from_redis_value(reply).map_err(|_| StoreError::new(Kind::UnexpectedReply))
            }
        }
    }

    /// Follows [`health`](Store::health) as it changes.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::connect_lazy("redis://127.0.0.1:1")?;
    /// let mut watch = store.watch_health();
    /// assert!(!watch.current().is_up());
    /// // By the first attempt to connect it is known why.
    /// assert!(watch.changed().await.error().unwrap().is_refused());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn watch_health(&self) -> HealthWatch {
        match &self.shared.backend {
            Backend::Memory(_) => HealthWatch::constant(self.health()),
            Backend::Redis(redis) => HealthWatch::new(redis.watch_health()),
        }
    }

    /// What the server says about itself, or the in-process store: memory, traffic, persistence,
    /// replication. One round trip; on a cluster, one to each primary at the same time.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::health::Contents;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let info = Store::memory().info().await?;
    /// println!("{} used", info.memory.used.unwrap());
    /// assert!(info.findings(Contents::Lasting).is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the server does not answer. One that answers but does not let this user run `INFO` is no
    /// error: [`is_withheld`](ServerInfo::is_withheld) says so.
    pub async fn info(&self) -> Result<ServerInfo, StoreError> {
        self.read_info(ReadInfo { with_settings: true }).await?.info
    }

    pub(crate) async fn read_info(&self, read: ReadInfo) -> Result<Reported, StoreError> {
        let took = Stopwatch::start();
        let mut reported = self.ask(read).await?;
        if let (Backend::Redis(_), Ok(info)) = (&self.shared.backend, &mut reported.info) {
            info.round_trip = took.elapsed();
        }
        Ok(reported)
    }

    /// The store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.shared.backend {
            Backend::Memory(memory) => memory.now(),
            Backend::Redis(redis) => redis.now(),
        }
    }

    /// What together holds all keys.
    pub(crate) fn scan_targets(&self) -> Result<Vec<ScanTarget>, StoreError> {
        match &self.shared.backend {
            Backend::Memory(_) => Ok(vec![ScanTarget::default()]),
            Backend::Redis(redis) => redis.scan_targets(),
        }
    }

    /// A page of the places of values that begin with `prefix`, on one target.
    pub(crate) async fn scan_values(
        &self,
        target: &ScanTarget,
        prefix: &PlacePrefix,
        from: Cursor,
    ) -> Result<Page, StoreError> {
        match &self.shared.backend {
            Backend::Memory(memory) => {
                observe::answered("scan_values", "ok");
                Ok(memory.scan_values(prefix))
            }
            Backend::Redis(redis) => {
                let call = Call::begin("scan_values");
                counted(call, redis.scan_values(target, prefix, from).await)
            }
        }
    }

    /// What is being computed for it in this process.
    pub(crate) fn flights(&self) -> &Flights {
        &self.shared.flights
    }

    /// Whether two handles are of one store.
    pub(crate) fn is(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Listens to a channel; up to `capacity` messages wait to be taken.
    pub(crate) async fn listen(
        &self,
        channel: &str,
        capacity: usize,
    ) -> Result<Listener, StoreError> {
        match &self.shared.backend {
            Backend::Memory(memory) => Ok(memory.listen(channel, capacity)),
            Backend::Redis(redis) => redis.listen(channel, capacity).await,
        }
    }

    /// Who listens, in this process.
    pub(crate) fn channels(&self) -> &Channels {
        match &self.shared.backend {
            Backend::Memory(memory) => memory.channels(),
            Backend::Redis(redis) => redis.channels(),
        }
    }

    /// Drops the responses under a tag, in as many round trips as it takes.
    pub(crate) async fn purge_tag(&self, tag: Fingerprint) -> Result<u64, StoreError> {
        match &self.shared.backend {
            Backend::Memory(memory) => {
                observe::answered("purge_tag", "ok");
                Ok(memory.purge_tag(tag))
            }
            Backend::Redis(redis) => {
                let call = Call::begin("purge_tag");
                counted(call, redis.purge_tag(tag).await)
            }
        }
    }
}

impl Default for Store {
    fn default() -> Store {
        Store::memory()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared.backend {
            Backend::Memory(memory) => f.debug_tuple("Store").field(memory).finish(),
            Backend::Redis(redis) => f.debug_tuple("Store").field(redis).finish(),
        }
    }
}
