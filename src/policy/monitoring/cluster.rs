use super::{ByteSize, Lookups, MemoryLimit, Mode, Role, ServerInfo};

impl ServerInfo {
    /// Several servers that hold a part of the keys each, as one: sums, and of what can only be as
    /// good as its worst part, that.
    pub(crate) fn of_nodes(nodes: Vec<ServerInfo>) -> ServerInfo {
        let mut whole = ServerInfo {
            software: nodes.first().and_then(|node| node.software),
            version: nodes.iter().filter_map(|node| node.version.clone()).min(),
            mode: Some(Mode::Cluster),
            uptime: nodes.iter().filter_map(|node| node.uptime).min(),
            is_withheld: nodes.iter().any(|node| node.is_withheld),
            clients: sum(&nodes, |node| node.clients),
            ..ServerInfo::default()
        };
        whole.memory.used = sum(&nodes, |node| node.memory.used.map(|used| used.0)).map(ByteSize);
        whole.memory.limit = limit(&nodes);
        let mut policies = nodes.iter().filter_map(|node| node.memory.eviction.as_ref());
        whole.memory.eviction =
            policies.clone().find(|policy| policy.evicts()).or(policies.next()).cloned();

        whole.traffic.commands = sum(&nodes, |node| node.traffic.commands);
        whole.traffic.commands_per_second = sum(&nodes, |node| node.traffic.commands_per_second);
        let hits = sum(&nodes, |node| node.traffic.lookups.map(|it| it.hits));
        let misses = sum(&nodes, |node| node.traffic.lookups.map(|it| it.misses));
        whole.traffic.lookups = hits.zip(misses).map(|(hits, misses)| Lookups { hits, misses });
        whole.traffic.expired = sum(&nodes, |node| node.traffic.expired);
        whole.traffic.evicted = sum(&nodes, |node| node.traffic.evicted);

        let persistence = || nodes.iter().map(|node| &node.persistence);
        whole.persistence.append_only = all(persistence().map(|it| it.append_only));
        whole.persistence.snapshots = all(persistence().map(|it| it.snapshots));
        whole.persistence.since_snapshot = persistence().filter_map(|it| it.since_snapshot).max();
        whole.persistence.unsaved_changes = sum(&nodes, |node| node.persistence.unsaved_changes);
        whole.persistence.snapshot_succeeded = all(persistence().map(|it| it.snapshot_succeeded));
        whole.persistence.append_succeeded = all(persistence().map(|it| it.append_succeeded));
        let is_loaded = all(persistence().map(|it| it.is_loading.map(|is_loading| !is_loading)));
        whole.persistence.is_loading = is_loaded.map(|is_loaded| !is_loaded);

        let are_primaries = nodes.iter().all(|node| node.replication.role == Some(Role::Primary));
        whole.replication.role = are_primaries.then_some(Role::Primary);
        whole.replication.replicas = sum(&nodes, |node| node.replication.replicas);
        whole.replication.lag = nodes.iter().filter_map(|node| node.replication.lag).max();

        // Of the same nodes, however they are listed.
        let mut run_ids: Vec<&str> =
            nodes.iter().filter_map(|node| node.run_id.as_deref()).collect();
        run_ids.sort_unstable();
        whole.run_id = Some(run_ids.join(" "));
        whole.nodes = nodes;
        whole
    }
}

/// `None` when any part is not known.
fn sum(nodes: &[ServerInfo], part: impl Fn(&ServerInfo) -> Option<u64>) -> Option<u64> {
    nodes.iter().map(part).try_fold(0, |sum: u64, part| Some(sum.saturating_add(part?)))
}

/// False when one is, and otherwise `None` when one is not known.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let (mut known, mut all) = (true, true);
    for part in parts {
        known &= part.is_some();
        all &= part != Some(false);
    }
    (known || !all).then_some(all)
}

fn limit(nodes: &[ServerInfo]) -> Option<MemoryLimit> {
    let mut total = 0u64;
    for node in nodes {
        match node.memory.limit? {
            MemoryLimit::Unlimited => return Some(MemoryLimit::Unlimited),
            MemoryLimit::At(ByteSize(limit)) => total = total.saturating_add(limit),
        }
    }
    Some(MemoryLimit::At(ByteSize(total)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::monitoring::{Contents, EvictionPolicy, Finding, Severity};

    fn node(name: &str, used: u64) -> ServerInfo {
        let mut node = ServerInfo { run_id: Some(name.to_owned()), ..ServerInfo::default() };
        node.uptime = Some(Duration::from_secs(used));
        node.memory.used = Some(ByteSize(used));
        node.memory.limit = Some(MemoryLimit::At(ByteSize(100)));
        node.traffic.lookups = Some(Lookups { hits: used, misses: u64::MAX });
        node.persistence.append_only = Some(true);
        node
    }

    #[test]
    fn a_cluster_is_the_sum_of_its_nodes() {
        let whole = ServerInfo::of_nodes(vec![node("a", 10), node("b", 20)]);
        assert_eq!(whole.memory.used, Some(ByteSize(30)));
        assert_eq!(whole.memory.limit, Some(MemoryLimit::At(ByteSize(200))));
        assert_eq!(whole.traffic.lookups, Some(Lookups { hits: 30, misses: u64::MAX }));
        assert_eq!(whole.uptime, Some(Duration::from_secs(10)));
        assert_eq!((whole.clients, whole.traffic.commands), (None, None));
        assert_eq!(whole.persistence.append_only, Some(true));
        assert_eq!(whole.nodes.len(), 2);
        let listed_otherwise = ServerInfo::of_nodes(vec![node("b", 20), node("a", 10)]);
        assert!(whole.since(&listed_otherwise, Duration::from_secs(1)).is_some());
        let another = ServerInfo::of_nodes(vec![node("a", 10), node("c", 20)]);
        assert!(another.since(&whole, Duration::from_secs(1)).is_none());
    }

    #[test]
    fn each_node_is_judged_by_itself_and_a_finding_told_once() {
        let mut nodes = vec![node("a", 85), node("b", 95), node("c", 1)];
        for node in &mut nodes {
            node.memory.eviction = EvictionPolicy::new("allkeys-lru");
        }
        let findings = ServerInfo::of_nodes(nodes).findings(Contents::Lasting);
        let names: Vec<_> = findings.iter().map(Finding::name).collect();
        assert_eq!(names, ["memory_short", "evicts"]);
        assert_eq!(findings[0].severity(), Severity::Critical);
    }

    #[test]
    fn what_one_node_does_not_have_the_cluster_does_not() {
        let known = [Some(true), Some(false), None];
        for (parts, expected) in [
            (&known[..1], Some(true)),
            (&known[..], Some(false)),
            (&known[2..], None),
            (&[][..], Some(true)),
        ] {
            assert_eq!(all(parts.iter().copied()), expected, "{parts:?}");
        }
    }
}
