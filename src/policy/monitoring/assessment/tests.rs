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
