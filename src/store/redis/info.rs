//! Reads the text of `INFO`. Total: what is unknown, missing or garbled is not known, and nothing
//! more comes of it.

use std::time::Duration;

use crate::policy::monitoring::{
    ByteSize, EvictionPolicy, Lookups, MemoryLimit, Mode, Role, ServerInfo, Software,
};

pub(super) fn parse(text: &str) -> ServerInfo {
    let mut info = ServerInfo::default();
    let mut at = Moments::default();
    let (mut hits, mut misses) = (None, None);
    for line in text.lines() {
        let Some((name, value)) = line.trim_end().split_once(':') else { continue };
        match name {
            "redis_version" if info.version.is_none() => {
                info.software.get_or_insert(Software::Redis);
                info.version = word(value);
            }
            "valkey_version" => {
                info.software = Some(Software::Valkey);
                info.version = word(value).or(info.version);
            }
            "redis_mode" | "server_mode" => info.mode = mode(value),
            "run_id" => info.run_id = word(value),
            "uptime_in_seconds" => info.uptime = seconds(value),
            "server_time_usec" => at.now = number(value).map(|micros| micros / 1_000_000),
            "connected_clients" => info.clients = number(value),
            "used_memory" => info.memory.used = number(value).map(ByteSize),
            "maxmemory" => {
                info.memory.limit = number(value).map(|limit| match limit {
                    0 => MemoryLimit::Unlimited,
                    limit => MemoryLimit::At(ByteSize(limit)),
                });
            }
            "total_system_memory" => {
                info.memory.machine = number(value).filter(|size| *size > 0).map(ByteSize);
            }
            "maxmemory_policy" => info.memory.eviction = EvictionPolicy::new(value),
            "total_commands_processed" => info.traffic.commands = number(value),
            "instantaneous_ops_per_sec" => info.traffic.commands_per_second = number(value),
            "keyspace_hits" => hits = number(value),
            "keyspace_misses" => misses = number(value),
            "expired_keys" => info.traffic.expired = number(value),
            "evicted_keys" => info.traffic.evicted = number(value),
            "loading" => info.persistence.is_loading = flag(value),
            "aof_enabled" => info.persistence.append_only = flag(value),
            "aof_last_write_status" => {
                info.persistence.append_succeeded = either(value, "ok", "err")
            }
            "rdb_last_save_time" => at.snapshot = number(value),
            "rdb_changes_since_last_save" => info.persistence.unsaved_changes = number(value),
            "rdb_last_bgsave_status" => {
                info.persistence.snapshot_succeeded = either(value, "ok", "err")
            }
            "role" => info.replication.role = role(value),
            "connected_slaves" => info.replication.replicas = number(value),
            "master_link_status" => info.replication.link_is_up = either(value, "up", "down"),
            "master_last_io_seconds_ago" => info.replication.lag = seconds(value),
            // A server's INFO has this many lines of the kind as it has replicas.
            _ if name.strip_prefix("slave").is_some_and(|it| number(it).is_some()) => {
                info.replication.lag = info.replication.lag.max(replica_lag(value));
            }
            _ => {}
        }
    }
    info.traffic.lookups = hits.zip(misses).map(|(hits, misses)| Lookups { hits, misses });
    info.persistence.since_snapshot = at.since_snapshot();
    info
}

/// By the server's own clock, in seconds since 1970.
#[derive(Default)]
struct Moments {
    now: Option<u64>,
    snapshot: Option<u64>,
}

impl Moments {
    fn since_snapshot(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.now?.saturating_sub(self.snapshot?)))
    }
}

/// Only digits: `parse` would also take a sign.
fn number(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

fn seconds(value: &str) -> Option<Duration> {
    number(value).map(Duration::from_secs)
}

fn flag(value: &str) -> Option<bool> {
    number(value).map(|flag| flag != 0)
}

fn either(value: &str, yes: &str, no: &str) -> Option<bool> {
    if value == yes { Some(true) } else { (value == no).then_some(false) }
}

/// What may be shown to anybody: a version, an id.
fn word(value: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    ((1..=64).contains(&value.len()) && value.bytes().all(plain)).then(|| value.to_owned())
}

fn mode(value: &str) -> Option<Mode> {
    match value {
        "standalone" => Some(Mode::Standalone),
        "cluster" => Some(Mode::Cluster),
        "sentinel" => Some(Mode::Sentinel),
        _ => None,
    }
}

fn role(value: &str) -> Option<Role> {
    match value {
        "master" | "primary" => Some(Role::Primary),
        "slave" | "replica" => Some(Role::Replica),
        "sentinel" => Some(Role::Sentinel),
        _ => None,
    }
}

/// Of `ip=…,port=…,state=online,offset=14,lag=1`.
fn replica_lag(value: &str) -> Option<Duration> {
    value.split(',').find_map(|part| seconds(part.strip_prefix("lag=")?))
}

/// Whatever a server says.
#[cfg(fuzzing)]
pub(crate) fn fuzz(text: &str) {
    use crate::policy::monitoring::Contents;

    let info = parse(text);
    for contents in [Contents::Lasting, Contents::Disposable] {
        let _ = info.findings(contents);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_primary_is_read() {
        let info = parse(
            "# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n\
             server_time_usec:1700000100000000\r\nuptime_in_seconds:86400\r\n\r\n\
             # Clients\r\nconnected_clients:12\r\n\
             # Memory\r\nused_memory:1048576\r\nmaxmemory:2097152\r\n\
             maxmemory_policy:volatile-lru\r\ntotal_system_memory:8589934592\r\n\
             # Persistence\r\nloading:0\r\nrdb_changes_since_last_save:5\r\n\
             rdb_last_save_time:1700000000\r\nrdb_last_bgsave_status:err\r\naof_enabled:1\r\n\
             aof_last_write_status:ok\r\n\
             # Stats\r\ntotal_commands_processed:99\r\ninstantaneous_ops_per_sec:7\r\n\
             keyspace_hits:30\r\nkeyspace_misses:10\r\nexpired_keys:3\r\nevicted_keys:2\r\n\
             # Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=1\r\n\
             slave1:ip=10.0.0.2,port=6379,state=online,offset=10,lag=4\r\n",
        );
        assert_eq!(info.software, Some(Software::Redis));
        assert_eq!(info.version.as_deref(), Some("6.2.14"));
        assert_eq!(info.mode, Some(Mode::Standalone));
        assert_eq!(info.uptime, Some(Duration::from_secs(86_400)));
        assert_eq!(info.clients, Some(12));
        assert_eq!(info.memory.used, Some(ByteSize(1 << 20)));
        assert_eq!(info.memory.limit, Some(MemoryLimit::At(ByteSize(2 << 20))));
        assert_eq!(info.memory.machine, Some(ByteSize(8 << 30)));
        assert_eq!(info.memory.eviction.as_ref().unwrap().as_str(), "volatile-lru");
        assert_eq!(info.persistence.since_snapshot, Some(Duration::from_secs(100)));
        assert_eq!(info.persistence.unsaved_changes, Some(5));
        assert_eq!(info.persistence.snapshot_succeeded, Some(false));
        assert_eq!(info.persistence.append_succeeded, Some(true));
        assert_eq!(info.persistence.append_only, Some(true));
        assert_eq!(info.persistence.is_loading, Some(false));
        assert_eq!(info.traffic.commands, Some(99));
        assert_eq!(info.traffic.commands_per_second, Some(7));
        assert_eq!(info.traffic.lookups.unwrap().hit_rate(), Some(0.75));
        assert_eq!((info.traffic.expired, info.traffic.evicted), (Some(3), Some(2)));
        assert_eq!(info.replication.role, Some(Role::Primary));
        assert_eq!(info.replication.replicas, Some(2));
        assert_eq!(info.replication.lag, Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_replica_is_read() {
        let info = parse(
            "role:slave\nmaster_host:10.0.0.1\nmaster_link_status:down\n\
             master_last_io_seconds_ago:-1\nconnected_slaves:0\n",
        );
        assert_eq!(info.replication.role, Some(Role::Replica));
        assert_eq!(info.replication.link_is_up, Some(false));
        assert_eq!(info.replication.lag, None);
        let info = parse("role:slave\nmaster_link_status:up\nmaster_last_io_seconds_ago:3\n");
        assert_eq!(info.replication.link_is_up, Some(true));
        assert_eq!(info.replication.lag, Some(Duration::from_secs(3)));
    }

    #[test]
    fn valkey_is_read_whichever_version_it_names_first() {
        let names = ["redis_version:7.2.4\n", "server_name:valkey\n", "valkey_version:8.1.0\n"];
        for text in [names.concat(), [names[2], names[0]].concat()] {
            let info = parse(&format!("{text}server_mode:cluster\n"));
            assert_eq!(info.software, Some(Software::Valkey));
            assert_eq!(info.version.as_deref(), Some("8.1.0"));
            assert_eq!(info.mode, Some(Mode::Cluster));
        }
    }

    #[test]
    fn what_is_garbled_is_not_known() {
        for value in ["", " ", "-1", "+1", "1.5", "18446744073709551616", "0x1", "many", "1 "] {
            let info = parse(&format!("used_memory:{value}x\nevicted_keys:{value}\nno line\n:\n"));
            assert_eq!(info.memory.used, None, "{value:?}");
            // Blanks at the end of a line are nobody's.
            let expected = (value == "1 ").then_some(1);
            assert_eq!(info.traffic.evicted, expected, "{value:?}");
        }
        let info = parse("aof_last_write_status:?\nmaster_link_status:?\nloading:no");
        assert_eq!(info, ServerInfo::default());
        let info =
            parse("redis_version:<b>\nmaxmemory_policy:a b\nredis_mode:x\nrole:\nkeyspace_hits:1");
        assert_eq!((info.version, info.memory.eviction, info.mode), (None, None, None));
        assert_eq!((info.replication.role, info.traffic.lookups), (None, None));
        let most =
            parse("keyspace_hits:18446744073709551615\nkeyspace_misses:18446744073709551615");
        assert_eq!(most.traffic.lookups.unwrap().total(), u64::MAX);
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in any::<String>(), lines in proptest::collection::vec(
            ("(uptime_in_seconds|slave0|slave|rdb_last_save_time|server_time_usec|maxmemory)", ".*"),
            0..9,
        )) {
            parse(&text);
            let lines: Vec<_> = lines.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            let info = parse(&lines.join("\r\n"));
            // Whatever was read can be judged.
            let _ = info.findings(Default::default());
        }
    }
}
