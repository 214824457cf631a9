//! The JSON of the pages. A name ends in its unit; what is not known is null.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::readings::{Latest, Reading};
use super::{
    ByteSize, Finding, Interval, Lookups, MemoryLimit, Mode, Persistence, Replication, Role,
    ServerInfo, Severity, ShelfInfo, Software, Status,
};
use crate::{Health, StoreError};

/// How a store is doing by itself. Of an error only its class: the rest may name the server.
#[derive(Serialize)]
pub(super) struct StoreState {
    up: bool,
    since_unix_s: u64,
    /// The how-many-th connection it is.
    generation: u64,
    /// Why it is down, or was last.
    last_error: Option<&'static str>,
}

impl StoreState {
    pub(super) fn of(health: &Health) -> StoreState {
        let since = health.since().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        StoreState {
            up: health.is_up(),
            since_unix_s: since.as_secs(),
            generation: health.generation(),
            last_error: health.last_error().map(StoreError::class),
        }
    }
}

/// The page of [`Details`](super::Details).
#[derive(Serialize)]
pub(super) struct Report<'a> {
    status: &'static str,
    findings: Vec<Found>,
    store: StoreState,
    /// Why the server did not tell anything when it was asked last.
    reading_error: Option<&'static str>,
    reading: Option<Read<'a>>,
}

#[derive(Serialize)]
struct Found {
    severity: &'static str,
    name: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Read<'a> {
    age_ms: u64,
    round_trip_us: u64,
    #[serde(flatten)]
    server: Server<'a>,
}

#[derive(Serialize)]
struct Server<'a> {
    software: Option<&'static str>,
    version: Option<&'a str>,
    mode: Option<&'static str>,
    uptime_s: Option<u64>,
    connected_clients: Option<u64>,
    memory: Memory<'a>,
    commands: Commands,
    lookups: LookupsSoFar,
    keys: Keys,
    persistence: Option<Persisted>,
    replication: Option<Replicated>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shelves: Vec<Shelf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<Server<'a>>,
}

#[derive(Serialize)]
struct Memory<'a> {
    used_bytes: Option<u64>,
    used: Option<String>,
    /// 0 for none.
    limit_bytes: Option<u64>,
    limit: Option<String>,
    machine_bytes: Option<u64>,
    eviction_policy: Option<&'a str>,
}

#[derive(Serialize)]
struct Commands {
    total: Option<u64>,
    per_second: Option<u64>,
}

#[derive(Serialize)]
struct LookupsSoFar {
    total: Option<Rate>,
    last_interval: Option<IntervalRate>,
}

#[derive(Serialize)]
struct Rate {
    hits: u64,
    misses: u64,
    hit_rate: Option<f64>,
}

#[derive(Serialize)]
struct IntervalRate {
    length_ms: u64,
    #[serde(flatten)]
    rate: Rate,
}

#[derive(Serialize)]
struct Keys {
    expired: Option<u64>,
    evicted: Option<u64>,
    evicted_last_interval: Option<u64>,
}

#[derive(Serialize)]
struct Persisted {
    append_only: Option<bool>,
    snapshots: Option<bool>,
    since_snapshot_s: Option<u64>,
    unsaved_changes: Option<u64>,
    snapshot_succeeded: Option<bool>,
    append_succeeded: Option<bool>,
    loading: Option<bool>,
}

#[derive(Serialize)]
struct Replicated {
    role: Option<&'static str>,
    replicas: Option<u64>,
    link_up: Option<bool>,
    lag_s: Option<u64>,
}

#[derive(Serialize)]
struct Shelf {
    name: &'static str,
    entries: u64,
    used_bytes: u64,
    capacity_bytes: u64,
    when_full: &'static str,
    #[serde(flatten)]
    rate: Rate,
    evicted: u64,
    expired: u64,
}

impl<'a> Report<'a> {
    pub(super) fn new(health: &Health, latest: &'a Latest, findings: &[Finding]) -> Report<'a> {
        let asked = latest.asked.as_ref().and_then(|asked| asked.outcome.as_ref());
        Report {
            status: match Status::of(findings) {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Critical => "critical",
                Status::Down => "down",
            },
            findings: findings.iter().map(Found::new).collect(),
            store: StoreState::of(health),
            reading_error: asked.and_then(|asked| asked.as_ref().err()).map(StoreError::class),
            reading: latest.reading.as_deref().map(Read::new),
        }
    }
}

impl Found {
    fn new(finding: &Finding) -> Found {
        Found {
            severity: match finding.severity() {
                Severity::Notice => "notice",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            },
            name: finding.name(),
            text: finding.to_string(),
        }
    }
}

impl<'a> Read<'a> {
    fn new(reading: &'a Reading) -> Read<'a> {
        Read {
            age_ms: reading.read.elapsed().as_millis() as u64,
            round_trip_us: reading.info.round_trip.as_micros() as u64,
            server: Server::new(&reading.info, reading.interval.as_ref()),
        }
    }
}

impl<'a> Server<'a> {
    fn new(info: &'a ServerInfo, interval: Option<&Interval>) -> Server<'a> {
        let traffic = &info.traffic;
        Server {
            software: info.software.map(|software| match software {
                Software::InProcess => "in_process",
                Software::Redis => "redis",
                Software::Valkey => "valkey",
            }),
            version: info.version.as_deref(),
            mode: info.mode.map(|mode| match mode {
                Mode::Standalone => "standalone",
                Mode::Cluster => "cluster",
                Mode::Sentinel => "sentinel",
            }),
            uptime_s: info.uptime.as_ref().map(Duration::as_secs),
            connected_clients: info.clients,
            memory: Memory::new(info),
            commands: Commands { total: traffic.commands, per_second: traffic.commands_per_second },
            lookups: LookupsSoFar {
                total: traffic.lookups.map(Rate::new),
                last_interval: interval.and_then(|interval| {
                    let length_ms = interval.elapsed.as_millis() as u64;
                    Some(IntervalRate { length_ms, rate: Rate::new(interval.lookups?) })
                }),
            },
            keys: Keys {
                expired: traffic.expired,
                evicted: traffic.evicted,
                evicted_last_interval: interval.and_then(|interval| interval.evicted),
            },
            persistence: Persisted::new(&info.persistence),
            replication: Replicated::new(&info.replication),
            shelves: info.shelves.iter().map(Shelf::new).collect(),
            nodes: info.nodes.iter().map(|node| Server::new(node, None)).collect(),
        }
    }
}

impl<'a> Memory<'a> {
    fn new(info: &'a ServerInfo) -> Memory<'a> {
        let memory = &info.memory;
        let limit = memory.limit.map(|limit| match limit {
            MemoryLimit::Unlimited => ByteSize(0),
            MemoryLimit::At(limit) => limit,
        });
        Memory {
            used_bytes: memory.used.map(|used| used.0),
            used: memory.used.map(|used| used.to_string()),
            limit_bytes: limit.map(|limit| limit.0),
            limit: limit.map(|limit| match limit {
                ByteSize(0) => "unlimited".to_owned(),
                limit => limit.to_string(),
            }),
            machine_bytes: memory.machine.map(|size| size.0),
            eviction_policy: memory.eviction.as_ref().map(|policy| policy.as_str()),
        }
    }
}

impl Persisted {
    /// Nothing of a store for which it has no meaning.
    fn new(persistence: &Persistence) -> Option<Persisted> {
        (*persistence != Persistence::default()).then(|| Persisted {
            append_only: persistence.append_only,
            snapshots: persistence.snapshots,
            since_snapshot_s: persistence.since_snapshot.as_ref().map(Duration::as_secs),
            unsaved_changes: persistence.unsaved_changes,
            snapshot_succeeded: persistence.snapshot_succeeded,
            append_succeeded: persistence.append_succeeded,
            loading: persistence.is_loading,
        })
    }
}

impl Replicated {
    fn new(replication: &Replication) -> Option<Replicated> {
        (*replication != Replication::default()).then(|| Replicated {
            role: replication.role.map(|role| match role {
                Role::Primary => "primary",
                Role::Replica => "replica",
                Role::Sentinel => "sentinel",
            }),
            replicas: replication.replicas,
            link_up: replication.link_is_up,
            lag_s: replication.lag.as_ref().map(Duration::as_secs),
        })
    }
}

impl Rate {
    fn new(lookups: Lookups) -> Rate {
        let hit_rate = lookups.hit_rate().map(|rate| (rate * 10_000.0).round() / 10_000.0);
        Rate { hits: lookups.hits, misses: lookups.misses, hit_rate }
    }
}

impl Shelf {
    fn new(shelf: &ShelfInfo) -> Shelf {
        Shelf {
            name: shelf.name,
            entries: shelf.entries,
            used_bytes: shelf.used.0,
            capacity_bytes: shelf.capacity.0,
            when_full: if shelf.evicts { "evicts" } else { "refuses" },
            rate: Rate::new(shelf.lookups),
            evicted: shelf.evicted,
            expired: shelf.expired,
        }
    }
}
