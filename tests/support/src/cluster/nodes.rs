//! What can be done to the nodes.

use std::time::Duration;

use crate::{Counts, RedisCluster};

impl RedisCluster {
    /// Kills a node at once, and waits until it is gone.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// Starts a node again, on the same port and with the same identity, but without its keys.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].start_again();
        self.before[node] = Counts::default();
    }

    /// Starts a node again, on the same port and with its keys, which take it about so long to load:
    /// see [`RedisServer::loading`].
    pub fn loading(&mut self, node: usize, duration: Duration) {
        self.nodes[node].loading(duration);
        self.before[node] = Counts::default();
    }

    /// Stops a node in its tracks: connections stay open, nothing is answered.
    pub fn pause(&self, node: usize) {
        self.nodes[node].pause();
    }

    /// Lets a paused node go on.
    pub fn resume(&self, node: usize) {
        self.nodes[node].resume();
    }

    /// How long a node may be silent from now on until it counts as failed: a second, if nothing
    /// else is said.
    #[track_caller]
    pub fn set_patience(&self, patience: Duration) {
        let millis = patience.as_millis().to_string();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            node.command(&["CONFIG", "SET", "cluster-node-timeout", &millis]);
        }
    }
}
