use std::fmt;
use std::time::Duration;

use super::{ByteSize, Contents, EvictionPolicy, Lookups};

/// Something about a store that somebody should know or do something about.
///
/// Its text says what is the matter, why that matters, and what to do.
///
/// ```
/// use tower_redis_kit::health::{Contents, MemoryLimit, ServerInfo, Severity};
///
/// let mut info = ServerInfo::default();
/// info.memory.limit = Some(MemoryLimit::Unlimited);
/// let finding = &info.findings(Contents::Lasting)[0];
/// assert_eq!(finding.name(), "unlimited_memory");
/// assert_eq!(finding.severity(), Severity::Notice);
/// assert!(finding.to_string().contains("CONFIG SET maxmemory"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The store has no working connection.
    Away,
    /// The store has a connection, and the latest question was not answered on it.
    NoAnswer,
    /// The server's access list does not let this user read what is going on.
    Withheld,
    /// The server is still reading its data.
    Loading,
    /// The memory is nearly used up.
    MemoryShort {
        /// What is used.
        used: ByteSize,
        /// Of how much.
        of: ByteSize,
        /// What that is.
        basis: MemoryBasis,
    },
    /// No limit of memory is set.
    UnlimitedMemory,
    /// When memory is used up, the server drops what it should keep.
    Evicts {
        /// By this policy.
        policy: EvictionPolicy,
    },
    /// When memory is used up, the server refuses writes.
    RefusesWhenFull {
        /// What it holds.
        contents: Contents,
    },
    /// The server dropped keys for others since the last reading, and should not have.
    Evicted {
        /// So many.
        keys: u64,
    },
    /// Few of the keys that were looked up since the last reading were there.
    LowHitRate {
        /// What was looked up.
        lookups: Lookups,
    },
    /// Nothing on the server outlives a restart.
    NotPersisted,
    /// Nothing was saved for long, although there were changes.
    Unsaved {
        /// For so long.
        since: Duration,
    },
    /// The last snapshot could not be written.
    SnapshotFailed,
    /// The last write could not be appended to the file.
    AppendFailed,
    /// The server is a replica and has lost its primary.
    PrimaryLost,
    /// A part of the in-process store that refuses new entries when it is full nearly is.
    ShelfShort {
        /// What it holds.
        name: &'static str,
        /// What is used.
        used: ByteSize,
        /// Of how much.
        of: ByteSize,
    },
}

/// What used memory is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryBasis {
    /// The server's limit (`maxmemory`).
    Limit,
    /// Without one, what its machine has, which it shares with others.
    Machine,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Good to know.
    Notice,
    /// Will do harm if it stays.
    Warning,
    /// Does harm.
    Critical,
}

/// More than this share of memory is a warning, and critical, in percent.
const MEMORY_WARNING: u64 = 80;
const MEMORY_CRITICAL: u64 = 90;

/// Whether `used` is short enough to be found.
pub(super) fn is_short(used: ByteSize, of: ByteSize) -> bool {
    exceeds(used, of, MEMORY_WARNING)
}

fn exceeds(used: ByteSize, of: ByteSize, percent: u64) -> bool {
    u128::from(used.0) * 100 > u128::from(of.0) * u128::from(percent)
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Finding::Withheld | Finding::UnlimitedMemory | Finding::RefusesWhenFull { .. } => {
                Severity::Notice
            }
            Finding::MemoryShort { used, of, .. } | Finding::ShelfShort { used, of, .. }
                if !exceeds(*used, *of, MEMORY_CRITICAL) =>
            {
                Severity::Warning
            }
            Finding::Evicts { .. }
            | Finding::Evicted { .. }
            | Finding::LowHitRate { .. }
            | Finding::NotPersisted
            | Finding::Unsaved { .. }
            | Finding::PrimaryLost
            | Finding::Loading => Severity::Warning,
            Finding::Away
            | Finding::NoAnswer
            | Finding::MemoryShort { .. }
            | Finding::ShelfShort { .. }
            | Finding::SnapshotFailed
            | Finding::AppendFailed => Severity::Critical,
        }
    }

    /// One word for machines: `memory_short`, `evicts`, and so on.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Away => "away",
            Finding::NoAnswer => "no_answer",
            Finding::Withheld => "withheld",
            Finding::Loading => "loading",
            Finding::MemoryShort { .. } => "memory_short",
            Finding::UnlimitedMemory => "unlimited_memory",
            Finding::Evicts { .. } => "evicts",
            Finding::RefusesWhenFull { .. } => "refuses_when_full",
            Finding::Evicted { .. } => "evicted",
            Finding::LowHitRate { .. } => "low_hit_rate",
            Finding::NotPersisted => "not_persisted",
            Finding::Unsaved { .. } => "unsaved",
            Finding::SnapshotFailed => "snapshot_failed",
            Finding::AppendFailed => "append_failed",
            Finding::PrimaryLost => "primary_lost",
            Finding::ShelfShort { .. } => "shelf_short",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Away => f.write_str(
                "there is no working connection to the server: see the store's error; it \
                 reconnects by itself once the server is back",
            ),
            Finding::NoAnswer => f.write_str(
                "the server did not answer in time: look for slow commands (SLOWLOG GET) and for \
                 swapping, or give the store a longer deadline",
            ),
            Finding::Withheld => f.write_str(
                "this user may not read the server's state, so nothing more is known: allow it \
                 by ACL SETUSER <user> +info +ping",
            ),
            Finding::Loading => {
                f.write_str("the server is reading its data after a start: wait until that is done")
            }
            Finding::MemoryShort { used, of, basis: MemoryBasis::Limit } => write!(
                f,
                "{used} of {of} of memory is used: raise maxmemory, or shorten what is kept and \
                 for how long"
            ),
            Finding::MemoryShort { used, of, basis: MemoryBasis::Machine } => write!(
                f,
                "{used} is used of {of}, which is all of the machine's memory and not the \
                 server's alone: set a limit by CONFIG SET maxmemory, and give it more room"
            ),
            Finding::UnlimitedMemory => f.write_str(
                "the server may use all of its machine's memory until the system ends it: set a \
                 limit by CONFIG SET maxmemory, below what the machine can spare",
            ),
            Finding::Evicts { policy } => write!(
                f,
                "when memory is used up, {policy} drops sessions, locks and revocations, and a \
                 token whose revocation is dropped is good again: CONFIG SET maxmemory-policy \
                 noeviction, and keep what may be dropped on another server"
            ),
            Finding::RefusesWhenFull { contents: Contents::Lasting } => f.write_str(
                "when memory is used up, writes fail, which is right for sessions and \
                 revocations: have an alarm before maxmemory is reached",
            ),
            Finding::RefusesWhenFull { contents: Contents::Disposable } => f.write_str(
                "when memory is used up, writes fail although all of it may be dropped: CONFIG \
                 SET maxmemory-policy allkeys-lru",
            ),
            Finding::Evicted { keys } => write!(
                f,
                "{keys} keys were dropped for others since the last reading, and sessions or \
                 revocations may have been among them: raise maxmemory, and CONFIG SET \
                 maxmemory-policy noeviction"
            ),
            Finding::LowHitRate { lookups } => write!(
                f,
                "of {} keys that were looked up {} were there: raise what cached answers are \
                 good for, or see what purges them; limits of new callers and checks of tokens \
                 miss by nature, so where there are many, set another .min_hit_rate()",
                lookups.total(),
                lookups.hits
            ),
            Finding::NotPersisted => f.write_str(
                "a restart of the server forgets everything: all are logged out, and revoked \
                 tokens are good again: CONFIG SET appendonly yes",
            ),
            Finding::Unsaved { since } => write!(
                f,
                "nothing was saved for {} minutes although there were changes, and a restart \
                 would forget them: CONFIG SET appendonly yes",
                since.as_secs() / 60
            ),
            Finding::SnapshotFailed => f.write_str(
                "the last snapshot could not be written, and the server may refuse writes until \
                 one can: see its log, usually about a full disk or too little memory to fork",
            ),
            Finding::AppendFailed => f.write_str(
                "the append-only file cannot be written, and the server refuses writes: see its \
                 log, usually about a full disk",
            ),
            Finding::PrimaryLost => f.write_str(
                "this replica has lost its primary and grows stale: see to the primary and the \
                 network between the two, or connect to the primary",
            ),
            Finding::ShelfShort { name, used, of } => write!(
                f,
                "{used} of {of} for {name} is used, and a full store refuses new ones: raise \
                 StoreBuilder::memory_capacity, or keep them on a server"
            ),
        }
    }
}
