use std::collections::BTreeMap;
use std::ops::Bound;

use super::log::Log;
use super::{Memory, OnMemory, lock};
use crate::policy::{LogId, Timestamp};
use crate::store::StoreError;
use crate::store::verbs::{Consume, Done, Entry};

/// Workers that share a log's entries among them.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The last entry that was handed out.
    last: LogId,
    /// What is handed out and not done, and since when.
    pending: BTreeMap<LogId, Timestamp>,
}

/// An entry that is handed out, in its tree.
const PENDING: usize = 2 * size_of::<(LogId, Timestamp)>();

impl Group {
    pub(super) fn weight(&self, name: &str) -> usize {
        name.len() + 2 * size_of::<Group>() + self.pending.len() * PENDING
    }

    /// Forgets what the log has dropped.
    pub(super) fn forget_before(&mut self, first: LogId) {
        self.pending = self.pending.split_off(&first);
    }
}

impl OnMemory for Consume {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Entry>, StoreError> {
        let mut logs = lock(&memory.logs);
        let now = memory.now();
        let Some(log) = logs.get(&self.log, now) else { return Ok(Vec::new()) };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let (mut again, mut last) = (Vec::new(), LogId::START);
        if let Some(group) = log.groups.get(&self.group) {
            let due = |since: &Timestamp| since.after(self.again_after) <= now;
            let after = group.pending.range((Bound::Excluded(self.after), Bound::Unbounded));
            let due = after.filter(|(_, since)| due(since)).map(|(id, _)| *id);
            again.extend(due.take(limit));
            last = group.last;
        }
        let new = log.entries.range(log.after(last)..).take(limit - again.len());
        let new: Vec<Entry> = new.cloned().collect();
        // Before anything is handed out, so that nothing is handed out unnoted.
        let more = Group::default().weight(&self.group) + new.len() * PENDING;
        let weight = log.total() + more + self.log.len();
        logs.reweigh(&self.log, weight, now)?;
        let Some(log) = logs.get(&self.log, now) else { return Ok(Vec::new()) };

        let Log { groups, entries, .. } = log;
        let group = groups.entry(self.group).or_default();
        let found = again.iter().filter_map(|id| {
            let at = entries.binary_search_by_key(id, |(other, _)| *other).ok()?;
            entries.get(at).cloned()
        });
        let handed: Vec<Entry> = found.chain(new).collect();
        for (id, _) in &handed {
            group.pending.insert(*id, now);
            group.last = group.last.max(*id);
        }
        Ok(handed)
    }
}

impl OnMemory for Done {
    fn on_memory(self, memory: &Memory) -> Result<u64, StoreError> {
        let now = memory.now();
        let mut logs = lock(&memory.logs);
        let group = logs.get(&self.log, now).and_then(|log| log.groups.get_mut(&self.group));
        let Some(group) = group else { return Ok(0) };
        Ok(self.ids.iter().filter(|id| group.pending.remove(id).is_some()).count() as u64)
    }
}
