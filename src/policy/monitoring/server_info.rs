use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{ByteSize, Contents, Demands, Finding, Interval, Observed, assess};

/// What a store says about itself: `INFO` of a server, the shelves of the in-process one.
///
/// `None` is *not known*, never zero: the server is of a version that does not say, or says it in
/// a way that nobody understands.
///
/// ```
/// use tower_redis_kit::Store;
/// use tower_redis_kit::health::{MemoryLimit, Software};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// let info = Store::memory().info().await?;
/// assert_eq!(info.software, Some(Software::InProcess));
/// assert!(info.uptime.is_some());
/// assert!(matches!(info.memory.limit, Some(MemoryLimit::At(_))));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// What answers.
    pub software: Option<Software>,
    /// Its version; for Valkey its own, not the one it is compatible with.
    pub version: Option<String>,
    /// How it takes part in others.
    pub mode: Option<Mode>,
    /// How long it has been running.
    pub uptime: Option<Duration>,
    /// How long the question took on its way there and back; zero in process.
    pub round_trip: Duration,
    /// Whether the server answers, but its access list keeps the rest from this user.
    pub is_withheld: bool,
    /// The number of connections to it, but for those of its replicas.
    pub clients: Option<u64>,
    /// Memory, and what happens when it is used up.
    pub memory: MemoryUse,
    /// What it has done since it started.
    pub traffic: Traffic,
    /// What outlives a restart.
    pub persistence: Persistence,
    /// Copies of it, or what it is a copy of.
    pub replication: Replication,
    /// Of the in-process store: where it keeps what.
    pub shelves: Vec<ShelfInfo>,
    /// Of a cluster: each of its primaries. All above is the whole of them then: sums, and of what
    /// can only be as good as its worst part, that.
    pub nodes: Vec<ServerInfo>,
    /// Which life of which server this is: another one has counters of its own.
    pub(crate) run_id: Option<String>,
}

/// What a [`ServerInfo`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Software {
    /// [`Store::memory`](crate::Store::memory).
    InProcess,
    /// Redis, or what says it is.
    Redis,
    /// Valkey.
    Valkey,
}

/// How a server takes part in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// By itself, or with replicas.
    Standalone,
    /// A node of a cluster.
    Cluster,
    /// A sentinel, which holds no data.
    Sentinel,
}

/// Memory of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// What it has allocated.
    pub used: Option<ByteSize>,
    /// What it may allocate for data (`maxmemory`).
    pub limit: Option<MemoryLimit>,
    /// What its machine has, all processes together.
    pub machine: Option<ByteSize>,
    /// What happens at the limit (`maxmemory-policy`).
    pub eviction: Option<EvictionPolicy>,
}

/// What a server may use for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryLimit {
    /// Whatever its machine has.
    Unlimited,
    /// So many bytes.
    At(ByteSize),
}

/// What a server does when its memory is used up: a `maxmemory-policy`, as it names it.
///
/// ```
/// use tower_redis_kit::health::EvictionPolicy;
///
/// assert!(EvictionPolicy::new("allkeys-lru").unwrap().evicts());
/// assert!(!EvictionPolicy::new("noeviction").unwrap().evicts());
/// assert!(EvictionPolicy::new("two words").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EvictionPolicy(Arc<str>);

impl EvictionPolicy {
    /// A policy of this name; `None` for what is no name of letters, digits and `-`.
    #[must_use]
    pub fn new(name: &str) -> Option<EvictionPolicy> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=32).contains(&name.len()) && name.bytes().all(plain))
            .then(|| EvictionPolicy(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it drops what the kit has written. `volatile-*` does as well as `allkeys-*`: every
    /// key of the kit has a time to live.
    #[must_use]
    pub fn evicts(&self) -> bool {
        &*self.0 != "noeviction"
    }
}

impl fmt::Display for EvictionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a server has done since it started, or since its statistics were reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Commands that it has run, of all its clients.
    pub commands: Option<u64>,
    /// Commands a second, as it is now.
    pub commands_per_second: Option<u64>,
    /// Keys that were looked up.
    pub lookups: Option<Lookups>,
    /// Keys that were dropped because their time was over.
    pub expired: Option<u64>,
    /// Keys that were dropped because room was needed.
    pub evicted: Option<u64>,
}

/// How many keys that were looked up were there, and how many were not.
///
/// ```
/// use tower_redis_kit::health::Lookups;
///
/// assert_eq!(Lookups { hits: 3, misses: 1 }.hit_rate(), Some(0.75));
/// assert_eq!(Lookups { hits: 0, misses: 0 }.hit_rate(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lookups {
    /// Those that were there.
    pub hits: u64,
    /// Those that were not.
    pub misses: u64,
}

impl Lookups {
    /// Both.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hits.saturating_add(self.misses)
    }

    /// The share of those that were there, from 0 to 1; `None` of nothing.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        (self.total() > 0).then(|| self.hits as f64 / self.total() as f64)
    }
}

/// What of a server outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Persistence {
    /// Whether every write is appended to a file (AOF).
    pub append_only: Option<bool>,
    /// Whether snapshots (RDB) are due by themselves. `None` also where the server keeps its
    /// settings to itself.
    pub snapshots: Option<bool>,
    /// How long ago the last snapshot was made; that is since the start where there was none.
    pub since_snapshot: Option<Duration>,
    /// The number of changes since then.
    pub unsaved_changes: Option<u64>,
    /// Whether the last snapshot could be written.
    pub snapshot_succeeded: Option<bool>,
    /// Whether the last write could be appended.
    pub append_succeeded: Option<bool>,
    /// Whether it is still reading its data after a start.
    pub is_loading: Option<bool>,
}

/// Copies of a server, or what it is a copy of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replication {
    /// Which of the two it is.
    pub role: Option<Role>,
    /// How many replicas are connected to it.
    pub replicas: Option<u64>,
    /// Whether a replica is connected to its primary.
    pub link_is_up: Option<bool>,
    /// Of a replica, how long it has not heard from its primary; of a primary, how long its slowest
    /// replica has not reported.
    pub lag: Option<Duration>,
}

/// What a server is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Copies a primary.
    Replica,
    /// Watches others.
    Sentinel,
}

/// One part of the in-process store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShelfInfo {
    /// What it holds.
    pub name: &'static str,
    /// How many.
    pub entries: u64,
    /// What they weigh, about.
    pub used: ByteSize,
    /// What they may weigh.
    pub capacity: ByteSize,
    /// Whether a full one drops others for a new entry; if not, it refuses it.
    pub evicts: bool,
    /// What was looked up here.
    pub lookups: Lookups,
    /// Entries that were dropped for others.
    pub evicted: u64,
    /// Entries that were dropped because their time was over, as far as anybody met them.
    pub expired: u64,
}

impl ShelfInfo {
    /// Two parts of one shelf.
    pub(crate) fn plus(self, other: ShelfInfo) -> ShelfInfo {
        ShelfInfo {
            entries: self.entries + other.entries,
            used: ByteSize(self.used.0 + other.used.0),
            capacity: ByteSize(self.capacity.0 + other.capacity.0),
            lookups: Lookups {
                hits: self.lookups.hits + other.lookups.hits,
                misses: self.lookups.misses + other.lookups.misses,
            },
            evicted: self.evicted + other.evicted,
            expired: self.expired + other.expired,
            ..self
        }
    }
}

impl ServerInfo {
    /// What this says that somebody should know or do something about, as far as it shows in one
    /// reading of a server that holds `contents`.
    ///
    /// ```
    /// use tower_redis_kit::health::{Contents, EvictionPolicy, Finding, ServerInfo, Severity};
    ///
    /// let mut info = ServerInfo::default();
    /// info.memory.eviction = EvictionPolicy::new("allkeys-lru");
    /// let findings = info.findings(Contents::Lasting);
    /// assert!(matches!(&findings[..], [Finding::Evicts { .. }]));
    /// assert_eq!(findings[0].severity(), Severity::Warning);
    /// assert!(info.findings(Contents::Disposable).is_empty());
    /// ```
    #[must_use]
    pub fn findings(&self, contents: Contents) -> Vec<Finding> {
        let demands = Demands { contents, ..Demands::default() };
        assess(&Observed::Answered { info: self, interval: None }, &demands)
    }

    /// What happened between an earlier reading and this one. `None` when the two are of different
    /// servers, or of different lives of one, or its statistics were reset in between.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::memory();
    /// let earlier = store.info().await?;
    /// let later = store.info().await?;
    /// let interval = later.since(&earlier, Duration::from_secs(1)).unwrap();
    /// assert_eq!(interval.lookups.unwrap().total(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &ServerInfo, elapsed: Duration) -> Option<Interval> {
        Interval::between(earlier, self, elapsed)
    }
}
