use std::sync::Arc;

use super::shelf::{Overflow, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::policy::caching::StoredResponse;
use crate::store::StoreError;
use crate::store::keys::Fingerprint;
use crate::store::verbs::{
    LastPurge, LoadResponse, LoadedResponse, PURGE_MEMORY, PurgeUri, StoreResponse,
};

/// Stored responses and what was purged of them, under one lock: so that no response slips in
/// between a purge and its mark.
#[derive(Debug)]
pub(super) struct Responses {
    pub(super) stored: Shelf<Fingerprint, Tagged>,
    pub(super) purged: Shelf<Fingerprint, LastPurge>,
    last_purge: LastPurge,
}

#[derive(Debug)]
pub(super) struct Tagged {
    response: Arc<StoredResponse>,
    tags: Vec<Fingerprint>,
}

impl Responses {
    pub(super) fn new(capacity: usize) -> Responses {
        // Marks are small and short-lived; one that is evicted only costs its guarantee about
        // handlers that were running at the time.
        Responses {
            stored: Shelf::new(capacity - capacity / 16, Overflow::Evict),
            purged: Shelf::new(capacity / 16, Overflow::Evict),
            last_purge: LastPurge::default(),
        }
    }

    fn mark_purged(&mut self, what: Fingerprint, now: Timestamp) {
        self.last_purge = LastPurge(self.last_purge.0 + 1);
        let _ = self.purged.insert(what, self.last_purge, 0, now.after(PURGE_MEMORY), now);
    }
}

impl OnMemory for LoadResponse {
    fn on_memory(self, memory: &Memory) -> Result<LoadedResponse, StoreError> {
        let now = memory.now();
        let mut responses = lock(&memory.responses);
        Ok(LoadedResponse {
            response: responses.stored.get(&self.response, now).map(|it| it.response.clone()),
            last_purge: responses.last_purge,
        })
    }
}

impl OnMemory for StoreResponse {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let mut responses = lock(&memory.responses);
        let now = memory.now();
        for mark in self.tags.iter().chain([&self.uri]) {
            if responses.purged.get(mark, now).is_some_and(|purge| *purge > self.seen) {
                return Ok(false);
            }
        }
        let expires = now.after(self.stored.freshness.time_to_live());
        let weight = self.stored.weight() + self.tags.len() * size_of::<Fingerprint>();
        let tagged = Tagged { response: self.stored, tags: self.tags };
        Ok(responses.stored.insert(self.response, tagged, weight, expires, now).is_ok())
    }
}

impl OnMemory for PurgeUri {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        let mut responses = lock(&memory.responses);
        let now = memory.now();
        responses.mark_purged(self.uri, now);
        responses.stored.remove(&self.uri);
        Ok(())
    }
}

impl Memory {
    /// Looks at every stored response: an index of tags would cost each of them memory, and a purge
    /// is rare.
    pub(crate) fn purge_tag(&self, tag: Fingerprint) -> u64 {
        let mut responses = lock(&self.responses);
        let now = self.now();
        responses.mark_purged(tag, now);
        responses.stored.drop_where(now, |it| it.tags.contains(&tag))
    }
}
