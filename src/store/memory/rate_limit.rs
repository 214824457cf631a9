use super::{Memory, OnMemory, lock};
use crate::policy::gcra::{Gcra, Taken};
use crate::store::StoreError;
use crate::store::verbs::Take;

impl OnMemory for Take {
    fn on_memory(self, memory: &Memory) -> Result<Taken, StoreError> {
        let key = (self.name.clone(), self.subject);
        let weight = self.name.len();
        let mut limits = lock(&memory.limits);
        // Read under the lock: concurrent callers see time go one way.
        let now = memory.now();
        let stored = limits.get(&key, now).copied();
        let taken = self.gcra.take(stored, now, self.cost);
        if stored != Some(taken.arrival) {
            let expires = Gcra::expiry(taken.arrival);
            // A shelf too small for one entry remembers nothing; the limit then only decides.
            let _ = limits.insert(key, taken.arrival, weight, expires, now);
        }
        Ok(taken)
    }
}
