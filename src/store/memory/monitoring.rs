use std::hash::Hash;
use std::sync::Mutex;

use super::shelf::{Counts, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::monitoring::{ByteSize, Lookups, MemoryLimit, ServerInfo, ShelfInfo, Software};
use crate::store::StoreError;
use crate::store::verbs::{ReadInfo, Reported};

impl OnMemory for ReadInfo {
    fn on_memory(self, memory: &Memory) -> Result<Reported, StoreError> {
        // One lock after the other: readings of a busy store are of slightly different moments.
        let limits = memory.limits.parts().map(|part| shelf("rate limits", &part));
        let limits = limits.reduce(ShelfInfo::plus).expect("there are parts");
        let mut shelves = vec![
            limits,
            locked("sessions", &memory.sessions),
            locked("revoked tokens", &memory.revoked_tokens),
            locked("revoked subjects", &memory.revoked_subjects),
        ];
        let responses = lock(&memory.responses);
        shelves.extend([shelf("responses", &responses.stored), shelf("purges", &responses.purged)]);
        drop(responses);
        shelves.push(locked("values", &memory.values));
        shelves.push(shelf("locks", &lock(&memory.locks).held));
        shelves.push(locked("permits", &memory.semaphores));
        shelves.push(locked("logs", &memory.logs));
        shelves.push(locked("presences", &memory.presences));
        let sum = |of: fn(&ShelfInfo) -> u64| shelves.iter().map(of).sum();
        let mut info = ServerInfo {
            software: Some(Software::InProcess),
            uptime: Some(memory.now().since(memory.started())),
            ..ServerInfo::default()
        };
        info.memory.used = Some(ByteSize(sum(|it| it.used.0)));
        info.memory.limit = Some(MemoryLimit::At(ByteSize(sum(|it| it.capacity.0))));
        info.traffic.lookups =
            Some(Lookups { hits: sum(|it| it.lookups.hits), misses: sum(|it| it.lookups.misses) });
        info.traffic.evicted = Some(sum(|it| it.evicted));
        info.traffic.expired = Some(sum(|it| it.expired));
        info.shelves = shelves;
        Ok(Reported { info: Ok(info), settings_refused: false })
    }
}

fn locked<K: Hash + Eq, V>(name: &'static str, mutex: &Mutex<Shelf<K, V>>) -> ShelfInfo {
    shelf(name, &lock(mutex))
}

fn shelf<K: Hash + Eq, V>(name: &'static str, shelf: &Shelf<K, V>) -> ShelfInfo {
    let Counts { hits, misses, evicted, expired } = shelf.counts;
    ShelfInfo {
        name,
        entries: shelf.len() as u64,
        used: ByteSize(shelf.weight() as u64),
        capacity: ByteSize(shelf.capacity() as u64),
        evicts: shelf.evicts(),
        lookups: Lookups { hits, misses },
        evicted,
        expired,
    }
}
