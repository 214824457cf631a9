//! Moving slots from one primary to another.

use std::collections::BTreeSet;

use crate::RedisCluster;

/// How many keys are moved at once.
const BATCH: &str = "100";

impl RedisCluster {
    /// Moves a slot to another primary, with its keys, while clients go on.
    #[track_caller]
    pub fn migrate_slot(&self, slot: u16, to: usize) {
        self.gather_slots([slot], to);
    }

    /// Moves those of these slots to a primary, with their keys, that it does not have yet.
    #[track_caller]
    pub fn gather_slots(&self, slots: impl IntoIterator<Item = u16>, to: usize) {
        for slot in slots.into_iter().filter(|slot| self.primary_of_slot(*slot) != to) {
            self.begin_migration(slot, to);
            self.migrate_keys(slot, to);
            self.assign(slot, to);
        }
        self.wait_until_whole();
    }

    /// Opens a slot for its move to another primary: from now on, the slot's primary answers `ASK`
    /// to what concerns keys that it does not have.
    #[track_caller]
    pub fn begin_migration(&self, slot: u16, to: usize) {
        let from = self.primary_of_slot(slot);
        assert_ne!(from, to, "node {to} has slot {slot} already");
        let (slot, [source, target]) = (slot.to_string(), [from, to].map(|node| &self.ids[node]));
        self.node(to).command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", source]);
        self.node(from).command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", target]);
    }

    /// Moves the keys of a slot whose migration has begun, and returns how many there were. What is
    /// there to be moved later, because clients wrote it meanwhile, is for a further call.
    #[track_caller]
    pub fn migrate_keys(&self, slot: u16, to: usize) -> usize {
        let from = self.node(self.primary_of_slot(slot));
        let (slot, port) = (slot.to_string(), self.node(to).port().to_string());
        let mut moved = BTreeSet::new();
        loop {
            let keys: Vec<String> = from.query(&["CLUSTER", "GETKEYSINSLOT", &slot, BATCH]);
            if keys.is_empty() {
                return moved.len();
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000"];
            if let Some(password) = from.setup.value("--requirepass") {
                migrate.extend(["AUTH", password]);
            }
            migrate.push("KEYS");
            migrate.extend(keys.iter().map(String::as_str));
            from.command(&migrate);
            moved.extend(keys);
        }
    }

    /// Gives a slot whose keys have been moved to its new primary, and waits until all nodes know:
    /// from now on the old one answers `MOVED`.
    #[track_caller]
    pub fn finish_migration(&self, slot: u16, to: usize) {
        self.assign(slot, to);
        self.wait_until_whole();
    }

    fn assign(&self, slot: u16, to: usize) {
        let (slot, id) = (slot.to_string(), &self.ids[to]);
        // The new primary comes first: should the old one let go before, nobody has the slot.
        let others = self.primaries().into_iter().filter(|&node| node != to);
        for node in [to].into_iter().chain(others) {
            self.node(node).command(&["CLUSTER", "SETSLOT", &slot, "NODE", id]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refusal, stranger};

    #[test]
    fn a_slot_moves_step_by_step() {
        let cluster = RedisCluster::shared();
        let keys: Vec<_> = (0..250).map(|number| format!("{{slot-to-move}}:{number}")).collect();
        let slot = cluster.slot_of(&keys[0]);
        let from = cluster.primary_of_slot(slot);
        let to = (from + 1) % 3;
        let (source, target) = (stranger(cluster.node(from)), stranger(cluster.node(to)));
        for key in &keys {
            source.call(&["SET", key, "1"]).expect("OK");
        }

        cluster.begin_migration(slot, to);
        source.call(&["GET", &keys[0]]).expect("it is still there");
        let new = "{slot-to-move}:new";
        let ask = format!("ASK {slot} {}", cluster.node(to).addr());
        assert_eq!(refusal(&source, &["GET", new]), ask);
        let moved = format!("MOVED {slot} {}", cluster.node(from).addr());
        assert_eq!(refusal(&target, &["GET", new]), moved);
        target.call(&["ASKING"]).expect("OK");
        target.call(&["SET", new, "1"]).expect("OK");

        assert_eq!(cluster.migrate_keys(slot, to), keys.len());
        assert_eq!(cluster.migrate_keys(slot, to), 0);
        assert_eq!(refusal(&source, &["GET", &keys[0]]), ask);

        cluster.finish_migration(slot, to);
        let moved = format!("MOVED {slot} {}", cluster.node(to).addr());
        assert_eq!(refusal(&source, &["GET", &keys[0]]), moved);
        for key in keys.iter().map(String::as_str).chain([new]) {
            target.call(&["GET", key]).expect("it is there");
            target.call(&["DEL", key]).expect("OK");
        }
        assert_eq!(cluster.primary_of_slot(slot), to);

        cluster.migrate_slot(slot, from);
        assert_eq!(cluster.primary_of_slot(slot), from);
    }
}
