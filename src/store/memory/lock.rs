use super::shelf::{Overflow, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::store::StoreError;
use crate::store::keys::Fingerprint;
use crate::store::verbs::{AcquireLock, Holder, ReleaseLock, RenewLock};

/// The locks that are held, and the last fencing number of any of them: one that rises for all
/// rises for each.
#[derive(Debug)]
pub(super) struct Locks {
    pub(super) held: Shelf<Fingerprint, Holder>,
    last_number: u64,
}

impl Locks {
    pub(super) fn new(capacity: usize) -> Locks {
        // A lock that is forgotten has two holders: a full shelf refuses.
        Locks { held: Shelf::new(capacity, Overflow::Refuse), last_number: 0 }
    }

    fn is_held_by(&mut self, holder: &Holder, name: &Fingerprint, now: Timestamp) -> bool {
        self.held.get(name, now).is_some_and(|held| held == holder)
    }
}

impl OnMemory for AcquireLock {
    fn on_memory(self, memory: &Memory) -> Result<Option<u64>, StoreError> {
        let mut locks = lock(&memory.locks);
        let now = memory.now();
        if locks.held.get(&self.name, now).is_some() {
            return Ok(None);
        }
        locks.held.insert(self.name, self.holder, 0, now.after(self.time_to_live), now)?;
        locks.last_number = now.0.max(locks.last_number + 1);
        Ok(Some(locks.last_number))
    }
}

impl OnMemory for RenewLock {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let mut locks = lock(&memory.locks);
        let now = memory.now();
        let held = locks.is_held_by(&self.holder, &self.name, now);
        if held {
            locks.held.keep_until(&self.name, now.after(self.time_to_live));
        }
        Ok(held)
    }
}

impl OnMemory for ReleaseLock {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let mut locks = lock(&memory.locks);
        let now = memory.now();
        let held = locks.is_held_by(&self.holder, &self.name, now);
        if held {
            locks.held.remove(&self.name);
        }
        Ok(held)
    }
}
