//! What a replica has of its primary.

use std::thread;
use std::time::{Duration, Instant};

use crate::RedisServer;

/// How long a replica may be behind.
const LIMIT: Duration = Duration::from_secs(20);

impl RedisServer {
    /// Waits until this replica has all that its primary has by now. A new one is sent nothing until
    /// it has said that it is there, which takes it up to a second.
    ///
    /// # Panics
    ///
    /// Panics after 20 seconds, and if one of them does not run.
    #[track_caller]
    pub fn wait_to_have_all_of(&self, primary: &RedisServer) {
        let (all, began) = (primary.offset("master_repl_offset"), Instant::now());
        while self.offset("slave_repl_offset") < all {
            assert!(began.elapsed() < LIMIT, "the replica at {} is behind", self.addr());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many bytes of the primary's changes it knows of.
    #[track_caller]
    fn offset(&self, name: &str) -> u64 {
        let replication = self.command(&["INFO", "replication"]);
        let values = replication.lines().filter_map(|line| line.split_once(':'));
        let offset =
            values.into_iter().find(|(key, _)| *key == name).expect("it says how far it is");
        offset.1.trim().parse().expect("a number of bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_has_what_its_primary_had() {
        let primary = RedisServer::start();
        let port = primary.port().to_string();
        let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
        while !replica.command(&["INFO", "replication"]).contains("master_link_status:up") {
            thread::sleep(Duration::from_millis(1));
        }
        primary.command(&["SET", "a", "1"]);
        replica.wait_to_have_all_of(&primary);
        assert_eq!(replica.keys(), ["a"]);
    }
}
