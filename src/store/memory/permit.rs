use std::sync::Arc;

use super::ends::Ends;
use super::shelf::{Full, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::store::StoreError;
use crate::store::keys::Subject;
use crate::store::verbs::{
    AcquirePermit, Acquired, Claim, Holder, ReleasePermit, RenewPermits, Verb,
};

/// A semaphore's name, and whom it is for.
type Key = (Arc<str>, Subject);

pub(super) type Semaphores = Shelf<Key, Ends<Holder>>;

/// A holder's two slots, in maps that are half empty.
const HOLDER_WEIGHT: usize = 4 * size_of::<(u64, Holder)>();

fn key(claim: &Claim) -> Key {
    (claim.semaphore.name.clone(), claim.subject)
}

fn acquire(
    semaphores: &mut Semaphores,
    claim: &Claim,
    now: Timestamp,
) -> Result<Acquired, StoreError> {
    let key = key(claim);
    let ends = now.after(claim.semaphore.lease);
    if semaphores.get(&key, now).is_none() {
        semaphores.insert(key.clone(), Ends::default(), key.0.len(), ends, now)?;
    }
    let holders = semaphores.get(&key, now).ok_or(Full)?;
    while holders.pop_ended(now.0).is_some() {}
    let (held, has_one) = (holders.len(), holders.contains(&claim.holder));
    if !has_one && held >= claim.semaphore.permits as usize {
        return Ok(Acquired { is_held: false, held: held as u64 });
    }
    let held = held + usize::from(!has_one);
    semaphores.reweigh(&key, key.0.len() + held * HOLDER_WEIGHT, now)?;
    let holders = semaphores.get(&key, now).ok_or(Full)?;
    holders.insert(claim.holder, ends.0);
    let expires = semaphores.expires(&key, now).max(Some(ends)).unwrap_or(ends);
    semaphores.keep_until(&key, expires);
    Ok(Acquired { is_held: true, held: held as u64 })
}

impl OnMemory for AcquirePermit {
    fn on_memory(self, memory: &Memory) -> Result<Acquired, StoreError> {
        let mut semaphores = lock(&memory.semaphores);
        // Read under the lock: concurrent callers see time go one way.
        let now = memory.now();
        acquire(&mut semaphores, &self.0, now)
    }
}

impl OnMemory for RenewPermits {
    fn on_memory(self, memory: &Memory) -> Result<<RenewPermits as Verb>::Answer, StoreError> {
        let mut semaphores = lock(&memory.semaphores);
        let now = memory.now();
        Ok(self.0.iter().map(|claim| acquire(&mut semaphores, claim, now)).collect())
    }
}

impl OnMemory for ReleasePermit {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let mut semaphores = lock(&memory.semaphores);
        let (now, key) = (memory.now(), key(&self.0));
        let Some(holders) = semaphores.get(&key, now) else { return Ok(false) };
        let was_there = holders.remove(&self.0.holder);
        match holders.len() {
            0 => drop(semaphores.remove(&key)),
            held => semaphores.reweigh(&key, key.0.len() + held * HOLDER_WEIGHT, now)?,
        }
        Ok(was_there)
    }
}
