use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::consumer::Group;
use super::shelf::{Full, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::{LogId, Timestamp};
use crate::store::StoreError;
use crate::store::place::Place;
use crate::store::verbs::{Append, Entry, LogLength, Part, ReadLog};

pub(super) type Logs = Shelf<Place, Log>;

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: VecDeque<Entry>,
    pub(super) groups: HashMap<Arc<str>, Group>,
    last: LogId,
    /// What the entries weigh.
    weight: usize,
}

impl Log {
    /// How many of the oldest go when one more comes, and what they weigh.
    fn surplus(&self, max_len: u64) -> (usize, usize) {
        let number = (self.entries.len() + 1).saturating_sub(max_len as usize);
        let number = number.min(self.entries.len());
        (number, self.entries.iter().take(number).map(|(_, entry)| weight(entry)).sum())
    }

    fn push(&mut self, entry: Bytes, now: Timestamp) -> LogId {
        self.last = self.last.next(now);
        self.weight += weight(&entry);
        self.entries.push_back((self.last, entry));
        self.last
    }

    /// What the entries and the groups weigh.
    pub(super) fn total(&self) -> usize {
        let groups = self.groups.iter().map(|(name, group)| group.weight(name));
        self.weight + groups.sum::<usize>()
    }

    /// The position of the first entry after an id.
    pub(super) fn after(&self, id: LogId) -> usize {
        self.entries.partition_point(|(other, _)| *other <= id)
    }
}

impl OnMemory for Append {
    fn on_memory(self, memory: &Memory) -> Result<Result<LogId, StoreError>, StoreError> {
        let mut logs = lock(&memory.logs);
        let now = memory.now();
        let expires = now.after(self.retention);
        if logs.get(&self.log, now).is_none() {
            let (place, weight) = (self.log.clone(), self.log.len());
            logs.insert(place, Log::default(), weight, expires, now)?;
        }
        let log = logs.get(&self.log, now).ok_or(Full)?;
        let (surplus, dropped) = log.surplus(self.max_len);
        let after = log.total() + weight(&self.entry) - dropped;
        // Before anything is dropped: a log that finds no room is as it was.
        logs.reweigh(&self.log, self.log.len() + after, now)?;
        let log = logs.get(&self.log, now).ok_or(Full)?;
        log.entries.drain(..surplus);
        log.weight -= dropped;
        let id = log.push(self.entry, now);
        if let Some((first, _)) = log.entries.front() {
            log.groups.values_mut().for_each(|group| group.forget_before(*first));
        }
        logs.keep_until(&self.log, expires);
        Ok(Ok(id))
    }
}

impl OnMemory for ReadLog {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Entry>, StoreError> {
        let now = memory.now();
        let mut logs = lock(&memory.logs);
        let Some(log) = logs.get(&self.log, now) else { return Ok(Vec::new()) };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let from = match self.part {
            Part::After(id) => log.after(id),
            Part::Last => log.entries.len().saturating_sub(limit),
        };
        Ok(log.entries.iter().skip(from).take(limit).cloned().collect())
    }
}

impl OnMemory for LogLength {
    fn on_memory(self, memory: &Memory) -> Result<u64, StoreError> {
        let now = memory.now();
        Ok(lock(&memory.logs).get(&self.log, now).map_or(0, |log| log.entries.len() as u64))
    }
}

/// An entry and its slot.
fn weight(entry: &Bytes) -> usize {
    entry.len() + size_of::<Entry>()
}
