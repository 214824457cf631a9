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
mod tests;
