use std::cmp::Reverse;
use std::slice;
use std::time::Duration;

use super::finding::is_short;
use super::{
    EvictionPolicy, Finding, Interval, MemoryBasis, MemoryLimit, Role, ServerInfo, Severity,
};

/// What a store holds, which decides what it may do when its memory is used up or it restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contents {
    /// Also what must not be forgotten: sessions, revocations, locks.
    #[default]
    Lasting,
    /// Only what can be made again: responses, limits, values that can be computed anew.
    Disposable,
}

/// How a store is doing, all in all.
///
/// ```
/// use tower_redis_kit::health::{Finding, Status};
///
/// assert_eq!(Status::of(&[]), Status::Ok);
/// assert_eq!(Status::of(&[Finding::UnlimitedMemory]), Status::Ok, "a notice is no trouble");
/// assert_eq!(Status::of(&[Finding::NotPersisted, Finding::NoAnswer]), Status::Critical);
/// assert_eq!(Status::of(&[Finding::Away]), Status::Down);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Nothing is known against it.
    Ok,
    /// Something will do harm if it stays.
    Warning,
    /// Something does harm.
    Critical,
    /// It cannot be used.
    Down,
}

impl Status {
    /// As the gravest of these findings says.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Status {
        let status = |finding: &Finding| match (finding, finding.severity()) {
            (Finding::Away, _) => Status::Down,
            (_, Severity::Notice) => Status::Ok,
            (_, Severity::Warning) => Status::Warning,
            (_, Severity::Critical) => Status::Critical,
        };
        findings.iter().map(status).max().unwrap_or(Status::Ok)
    }
}

/// What is asked of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    pub(crate) contents: Contents,
    /// The share of look-ups that should find something, from 0 to 1.
    pub(crate) min_hit_rate: f64,
}

impl Default for Demands {
    fn default() -> Demands {
        Demands { contents: Contents::default(), min_hit_rate: 0.5 }
    }
}

/// What there is to judge by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Observed<'a> {
    /// There is no connection.
    Away,
    /// There is one, and no answer.
    NoAnswer,
    Answered {
        info: &'a ServerInfo,
        /// What happened since the reading before.
        interval: Option<&'a Interval>,
    },
}

/// Of fewer look-ups a rate says nothing.
const ENOUGH_LOOKUPS: u64 = 1_000;

/// The longest of the snapshot intervals that a server comes with: with changes it lets no more
/// time pass.
const SNAPSHOT_OVERDUE: Duration = Duration::from_secs(60 * 60 + 10 * 60);

/// What somebody should know or do something about, the gravest first.
pub(crate) fn assess(observed: &Observed<'_>, demands: &Demands) -> Vec<Finding> {
    let (info, interval) = match *observed {
        Observed::Away => return vec![Finding::Away],
        Observed::NoAnswer => return vec![Finding::NoAnswer],
        Observed::Answered { info, interval } => (info, interval),
    };
    if info.is_withheld {
        return vec![Finding::Withheld];
    }
    let mut findings = Vec::new();
    let servers = if info.nodes.is_empty() { slice::from_ref(info) } else { &info.nodes };
    for server in servers {
        memory(server, demands.contents, &mut findings);
        shelves(server, &mut findings);
        persistence(server, demands.contents, &mut findings);
        if server.replication.role == Some(Role::Replica)
            && server.replication.link_is_up == Some(false)
        {
            findings.push(Finding::PrimaryLost);
        }
    }
    if let Some(interval) = interval {
        traffic(info, interval, demands, &mut findings);
    }
    findings.sort_by_key(|finding| Reverse(finding.severity()));
    // What several servers have in common is told once, of the one that has it worst.
    let mut told = Vec::new();
    findings.retain(|finding| {
        // Each shelf holds something else.
        let is_shelf = matches!(finding, Finding::ShelfShort { .. });
        let is_new = is_shelf || !told.contains(&finding.name());
        told.push(finding.name());
        is_new
    });
    findings
}

fn memory(info: &ServerInfo, contents: Contents, findings: &mut Vec<Finding>) {
    let memory = &info.memory;
    // The in-process store's shelves are judged one by one: some are meant to be full.
    if !info.shelves.is_empty() {
        return;
    }
    let (of, basis) = match memory.limit {
        Some(MemoryLimit::At(limit)) => (Some(limit), MemoryBasis::Limit),
        Some(MemoryLimit::Unlimited) => (memory.machine, MemoryBasis::Machine),
        None => (None, MemoryBasis::Limit),
    };
    if let (Some(used), Some(of)) = (memory.used, of)
        && is_short(used, of)
    {
        findings.push(Finding::MemoryShort { used, of, basis });
    }
    if memory.limit == Some(MemoryLimit::Unlimited) {
        findings.push(Finding::UnlimitedMemory);
    }
    match (&memory.eviction, contents) {
        (Some(policy), Contents::Lasting) if policy.evicts() => {
            findings.push(Finding::Evicts { policy: policy.clone() });
        }
        // Without a limit no write is refused for it.
        (Some(policy), contents)
            if !policy.evicts() && matches!(memory.limit, Some(MemoryLimit::At(_))) =>
        {
            findings.push(Finding::RefusesWhenFull { contents });
        }
        _ => {}
    }
}

fn shelves(info: &ServerInfo, findings: &mut Vec<Finding>) {
    for shelf in info.shelves.iter().filter(|shelf| !shelf.evicts) {
        let (name, used, of) = (shelf.name, shelf.used, shelf.capacity);
        if is_short(used, of) {
            findings.push(Finding::ShelfShort { name, used, of });
        }
    }
}

fn persistence(info: &ServerInfo, contents: Contents, findings: &mut Vec<Finding>) {
    let it = &info.persistence;
    if it.is_loading == Some(true) {
        findings.push(Finding::Loading);
    }
    if it.append_succeeded == Some(false) {
        findings.push(Finding::AppendFailed);
    }
    if it.snapshot_succeeded == Some(false) {
        findings.push(Finding::SnapshotFailed);
    }
    if contents == Contents::Disposable || it.append_only != Some(false) {
        return;
    }
    match it.snapshots {
        Some(true) => {}
        Some(false) => findings.push(Finding::NotPersisted),
        // The server keeps its settings to itself, so they are judged by what comes of them.
        None => {
            if let (Some(since), Some(1..)) = (it.since_snapshot, it.unsaved_changes)
                && since > SNAPSHOT_OVERDUE
            {
                findings.push(Finding::Unsaved { since });
            }
        }
    }
}

fn traffic(info: &ServerInfo, interval: &Interval, demands: &Demands, findings: &mut Vec<Finding>) {
    let by_policy = info.memory.eviction.as_ref().is_some_and(EvictionPolicy::evicts);
    if let Some(keys @ 1..) = interval.evicted
        && by_policy
        && demands.contents == Contents::Lasting
    {
        findings.push(Finding::Evicted { keys });
    }
    if let Some(lookups) = interval.lookups
        && lookups.total() >= ENOUGH_LOOKUPS
        && lookups.hit_rate().is_some_and(|rate| rate < demands.min_hit_rate)
    {
        findings.push(Finding::LowHitRate { lookups });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::monitoring::{ByteSize, Lookups, ShelfInfo};

    fn judged(info: &ServerInfo, contents: Contents) -> Vec<&'static str> {
        names(&info.findings(contents))
    }

    fn names(findings: &[Finding]) -> Vec<&'static str> {
        findings.iter().map(Finding::name).collect()
    }

    /// A server with nothing against it.
    fn sound() -> ServerInfo {
        let mut info = ServerInfo::default();
        info.memory.used = Some(ByteSize(10));
        info.memory.limit = Some(MemoryLimit::At(ByteSize(100)));
        info.memory.machine = Some(ByteSize(1_000));
        info.persistence.append_only = Some(true);
        info.replication.role = Some(Role::Primary);
        info
    }

    #[test]
    fn of_a_server_without_fault_nothing_is_said() {
        assert_eq!(judged(&sound(), Contents::Lasting), [""; 0]);
        assert_eq!(judged(&ServerInfo::default(), Contents::Lasting), [""; 0]);
    }

    #[test]
    fn memory_is_short_from_eighty_percent_and_critical_from_ninety() {
        let table = [
            (0, 100, None),
            (80, 100, None),
            (81, 100, Some(Severity::Warning)),
            (90, 100, Some(Severity::Warning)),
            (91, 100, Some(Severity::Critical)),
            (500, 100, Some(Severity::Critical)),
            (u64::MAX, u64::MAX, Some(Severity::Critical)),
        ];
        for (used, limit, severity) in table {
            let mut info = sound();
            info.memory.used = Some(ByteSize(used));
            info.memory.limit = Some(MemoryLimit::At(ByteSize(limit)));
            let findings = info.findings(Contents::Lasting);
            assert_eq!(findings.first().map(Finding::severity), severity, "{used} of {limit}");
        }
    }

    #[test]
    fn without_a_limit_memory_is_compared_with_the_machines() {
        let mut info = sound();
        info.memory.limit = Some(MemoryLimit::Unlimited);
        info.memory.used = Some(ByteSize(950));
        let findings = info.findings(Contents::Lasting);
        assert_eq!(names(&findings), ["memory_short", "unlimited_memory"]);
        assert!(findings[0].to_string().contains("not the server's alone"));
        info.memory.machine = None;
        assert_eq!(judged(&info, Contents::Lasting), ["unlimited_memory"]);
    }

    #[test]
    fn what_must_last_is_on_no_server_that_evicts() {
        let table = [
            ("noeviction", Contents::Lasting, "refuses_when_full"),
            ("noeviction", Contents::Disposable, "refuses_when_full"),
            ("allkeys-lru", Contents::Lasting, "evicts"),
            ("allkeys-random", Contents::Lasting, "evicts"),
            ("volatile-ttl", Contents::Lasting, "evicts"),
            ("allkeys-lru", Contents::Disposable, ""),
        ];
        for (policy, contents, expected) in table {
            let mut info = sound();
            info.memory.eviction = EvictionPolicy::new(policy);
            let expected = Some(expected).filter(|name| !name.is_empty());
            assert_eq!(judged(&info, contents).first().copied(), expected, "{policy}");
        }
        let mut unlimited = sound();
        unlimited.memory.limit = Some(MemoryLimit::Unlimited);
        unlimited.memory.eviction = EvictionPolicy::new("noeviction");
        assert_eq!(judged(&unlimited, Contents::Lasting), ["unlimited_memory"]);
    }

    #[test]
    fn what_must_last_outlives_a_restart() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        let table = [
            (Some(true), Some(false), hours(9), Some(1), None),
            (Some(false), Some(true), hours(9), Some(1), None),
            (Some(false), Some(false), None, None, Some("not_persisted")),
            (Some(false), None, hours(1), Some(1), None),
            (Some(false), None, hours(9), Some(0), None),
            (Some(false), None, hours(9), Some(1), Some("unsaved")),
            (None, None, hours(9), Some(1), None),
        ];
        for (append_only, snapshots, since_snapshot, unsaved_changes, expected) in table {
            let mut info = sound();
            info.persistence.append_only = append_only;
            info.persistence.snapshots = snapshots;
            info.persistence.since_snapshot = since_snapshot;
            info.persistence.unsaved_changes = unsaved_changes;
            assert_eq!(judged(&info, Contents::Lasting).first().copied(), expected);
            assert_eq!(judged(&info, Contents::Disposable), [""; 0]);
        }
    }

    #[test]
    fn what_cannot_be_written_is_critical_whatever_it_is() {
        let mut info = sound();
        info.persistence.append_succeeded = Some(false);
        info.persistence.snapshot_succeeded = Some(false);
        assert_eq!(judged(&info, Contents::Disposable), ["append_failed", "snapshot_failed"]);
        assert_eq!(Status::of(&info.findings(Contents::Lasting)), Status::Critical);
    }

    #[test]
    fn a_low_hit_rate_is_told_of_a_thousand_lookups() {
        let table = [
            (0, 0, 0.5, false),
            (0, 999, 0.5, false),
            (0, 1_000, 0.5, true),
            (499, 501, 0.5, true),
            (500, 500, 0.5, false),
            (u64::MAX, u64::MAX, 0.9, false),
            (89, 911, 0.1, true),
            (0, 1_000, 0.0, false),
        ];
        for (hits, misses, min_hit_rate, expected) in table {
            let interval = Interval {
                elapsed: Duration::from_secs(1),
                commands: None,
                lookups: Some(Lookups { hits, misses }),
                expired: None,
                evicted: None,
            };
            let observed = Observed::Answered { info: &sound(), interval: Some(&interval) };
            let findings = assess(&observed, &Demands { min_hit_rate, ..Demands::default() });
            assert_eq!(!findings.is_empty(), expected, "{hits} of {misses}");
            assert_eq!(Status::of(&findings) == Status::Warning, expected);
        }
    }

    #[test]
    fn an_eviction_is_told_where_it_does_harm() {
        let interval = Interval {
            elapsed: Duration::from_secs(1),
            commands: None,
            lookups: None,
            expired: Some(5),
            evicted: Some(3),
        };
        let mut info = sound();
        info.memory.eviction = EvictionPolicy::new("allkeys-lru");
        let observed = Observed::Answered { info: &info, interval: Some(&interval) };
        assert_eq!(names(&assess(&observed, &Demands::default())), ["evicts", "evicted"]);
        let disposable = Demands { contents: Contents::Disposable, ..Demands::default() };
        assert_eq!(names(&assess(&observed, &disposable)), [""; 0]);
    }

    #[test]
    fn a_replica_without_its_primary_is_told() {
        let mut info = sound();
        info.replication.role = Some(Role::Replica);
        info.replication.link_is_up = Some(false);
        assert_eq!(judged(&info, Contents::Lasting), ["primary_lost"]);
    }

    #[test]
    fn a_shelf_that_refuses_is_told_before_it_is_full_and_one_that_evicts_never() {
        let shelf = |name, evicts| ShelfInfo {
            name,
            entries: 1,
            used: ByteSize(85),
            capacity: ByteSize(100),
            evicts,
            lookups: Lookups::default(),
            evicted: 0,
            expired: 0,
        };
        let mut info = sound();
        info.memory.used = Some(ByteSize(99));
        info.shelves = vec![shelf("responses", true), shelf("sessions", false)];
        let findings = info.findings(Contents::Lasting);
        assert_eq!(names(&findings), ["shelf_short"]);
        assert!(findings[0].to_string().contains("sessions"));
    }

    #[test]
    fn what_is_not_known_is_held_against_nobody() {
        let mut info = sound();
        info.is_withheld = true;
        let findings = info.findings(Contents::Lasting);
        assert_eq!(names(&findings), ["withheld"]);
        assert_eq!(Status::of(&findings), Status::Ok);
        assert_eq!(Status::of(&assess(&Observed::Away, &Demands::default())), Status::Down);
        let unanswered = assess(&Observed::NoAnswer, &Demands::default());
        assert_eq!(Status::of(&unanswered), Status::Critical);
    }
}
