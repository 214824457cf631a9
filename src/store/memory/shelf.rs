use std::fmt;
use std::hash::Hash;

use foldhash::quality::RandomState;
use indexmap::{Equivalent, IndexMap};

use crate::policy::Timestamp;
use crate::store::StoreError;
use crate::store::error::Kind;

/// A map whose entries expire and whose weight is bounded.
///
/// What expired is dropped when it is met: by its key, by the few slots that every insertion looks
/// at, and by the sample that makes room. The sample is Redis's approximation of least recently
/// used: of a few random entries the one used longest ago goes. What is needed until some time
/// counts as used at that time, and so goes last.
pub(super) struct Shelf<K, V> {
    // Seeded at random: nobody can aim at the keys that collide.
    slots: IndexMap<K, Slot<V>, RandomState>,
    weight: usize,
    capacity: usize,
    overflow: Overflow,
    /// Until when a value is needed, whether or not it is used.
    needed: fn(&V) -> Timestamp,
    pub(super) counts: Counts,
}

/// What happened on a shelf since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// Dropped for others.
    pub(super) evicted: u64,
    /// Dropped because their time was over.
    pub(super) expired: u64,
}

/// What a full shelf does with a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// Drops others for it.
    Evict,
    /// Does not take it.
    Refuse,
}

/// The entry was not taken: everything on the shelf is needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl From<Full> for StoreError {
    fn from(_: Full) -> StoreError {
        StoreError::new(Kind::Full)
    }
}

struct Slot<V> {
    value: V,
    weight: usize,
    used: Timestamp,
    expires: Timestamp,
}

const SAMPLE: usize = 8;
const SWEEP: usize = 2;

impl<K: Hash + Eq, V> Shelf<K, V> {
    /// Of an entry without what its value owns.
    const OWN_WEIGHT: usize = size_of::<K>() + size_of::<Slot<V>>() + size_of::<usize>() * 4;

    pub(super) fn new(capacity: usize, overflow: Overflow) -> Shelf<K, V> {
        let (slots, counts) = (IndexMap::default(), Counts::default());
        Shelf { slots, weight: 0, capacity, overflow, needed: |_| Timestamp(0), counts }
    }

    /// One that drops others before what is needed.
    pub(super) fn sparing(self, needed: fn(&V) -> Timestamp) -> Shelf<K, V> {
        Shelf { needed, ..self }
    }

    /// Whether an entry of this weight has room where there is nothing else.
    pub(super) fn can_hold(&self, weight: usize) -> bool {
        Self::with_slot(weight) <= self.capacity
    }

    pub(super) fn get(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        let index = self.find(key, now)?;
        Some(&mut self.slots[index].value)
    }

    fn find(&mut self, key: &K, now: Timestamp) -> Option<usize> {
        let index = self.position(key, now)?;
        (!self.drop_if_expired(index, now)).then_some(index)
    }

    /// Where an entry is, until something is put there or removed. Its time may be over.
    #[inline]
    pub(super) fn position(
        &mut self,
        key: &(impl Hash + Equivalent<K>),
        now: Timestamp,
    ) -> Option<usize> {
        let Some((index, _, slot)) = self.slots.get_full_mut(key) else {
            self.counts.misses += 1;
            return None;
        };
        if slot.expires > now {
            self.counts.hits += 1;
        } else {
            self.counts.misses += 1;
        }
        slot.used = now;
        Some(index)
    }

    /// The entry there, and when it ends.
    #[inline]
    pub(super) fn slot(&mut self, index: usize) -> (&mut V, &mut Timestamp) {
        let slot = &mut self.slots[index];
        (&mut slot.value, &mut slot.expires)
    }

    /// What was said of a key's entry when it was put there; nothing, where there is none.
    pub(super) fn weight_of(&self, key: &K) -> usize {
        self.slots.get(key).map_or(0, |slot| slot.weight - Self::OWN_WEIGHT)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn evicts(&self) -> bool {
        self.overflow == Overflow::Evict
    }

    /// Puts an entry in the place of what the key had. `weight` is what the value owns beyond its
    /// own size, in bytes.
    pub(super) fn insert(
        &mut self,
        key: K,
        value: V,
        weight: usize,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), Full> {
        let weight = Self::with_slot(weight);
        if let Some(index) = self.slots.get_index_of(&key) {
            self.remove_at(index);
        }
        self.sweep(now);
        if weight > self.capacity {
            return Err(Full);
        }
        while self.weight + weight > self.capacity {
            self.make_room(now)?;
        }
        self.weight += weight;
        self.slots.insert(key, Slot { value, weight, used: now, expires });
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.slots.get_index_of(key)?;
        self.remove_at(index)
    }

    /// Keeps an entry until `expires`, if it is there.
    pub(super) fn keep_until(&mut self, key: &K, expires: Timestamp) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.expires = expires;
        }
    }

    /// Gives an entry that has changed its new weight, or leaves it the old one. For shelves that
    /// refuse: others might drop that very entry.
    pub(super) fn reweigh(&mut self, key: &K, weight: usize, now: Timestamp) -> Result<(), Full> {
        let after = Self::with_slot(weight);
        let before = self.slots.get(key).map_or(0, |slot| slot.weight);
        while self.weight - before + after > self.capacity {
            self.make_room(now)?;
        }
        if let Some(slot) = self.slots.get_mut(key) {
            slot.weight = after;
            self.weight = self.weight - before + after;
        }
        Ok(())
    }

    /// When an entry ends, if it is there.
    pub(super) fn expires(&self, key: &K, now: Timestamp) -> Option<Timestamp> {
        self.slots.get(key).map(|slot| slot.expires).filter(|expires| *expires > now)
    }

    /// The keys of all entries, in no order.
    pub(super) fn keys(&self, now: Timestamp) -> impl Iterator<Item = &K> {
        self.slots.iter().filter(move |(_, slot)| slot.expires > now).map(|(key, _)| key)
    }

    /// Drops every entry that `drops` names, and says how many had not expired by `now`.
    pub(super) fn drop_where(&mut self, now: Timestamp, drops: impl Fn(&V) -> bool) -> u64 {
        let mut dropped = 0;
        let mut weight = self.weight;
        self.slots.retain(|_, slot| {
            let goes = drops(&slot.value);
            if goes {
                weight -= slot.weight;
                dropped += u64::from(slot.expires > now);
            }
            !goes
        });
        self.weight = weight;
        dropped
    }

    fn with_slot(weight: usize) -> usize {
        weight + Self::OWN_WEIGHT
    }

    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEEP {
            if let Some(index) = self.random_index() {
                self.drop_if_expired(index, now);
            }
        }
    }

    fn make_room(&mut self, now: Timestamp) -> Result<(), Full> {
        let sample = (0..SAMPLE).filter_map(|_| self.random_index());
        let oldest = sample.min_by_key(|&index| {
            let slot = &self.slots[index];
            let used = || slot.used.max((self.needed)(&slot.value));
            if slot.expires <= now { Timestamp(0) } else { used() }
        });
        let index = match (oldest, self.overflow) {
            (Some(index), Overflow::Evict) => index,
            (Some(index), Overflow::Refuse) if self.slots[index].expires <= now => index,
            // The sample held nothing expired; the last resort is to look at all.
            (Some(_), Overflow::Refuse) => {
                self.slots.values().position(|slot| slot.expires <= now).ok_or(Full)?
            }
            (None, _) => return Err(Full),
        };
        if !self.drop_if_expired(index, now) {
            self.counts.evicted += 1;
            self.remove_at(index);
        }
        Ok(())
    }

    fn drop_if_expired(&mut self, index: usize, now: Timestamp) -> bool {
        let is_expired = self.slots[index].expires <= now;
        if is_expired {
            self.counts.expired += 1;
            self.remove_at(index);
        }
        is_expired
    }

    fn random_index(&self) -> Option<usize> {
        (!self.slots.is_empty()).then(|| fastrand::usize(..self.slots.len()))
    }

    fn remove_at(&mut self, index: usize) -> Option<V> {
        let (_, slot) = self.slots.swap_remove_index(index)?;
        self.weight -= slot.weight;
        Some(slot.value)
    }
}

impl<K, V> fmt::Debug for Shelf<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("entries", &self.slots.len())
            .field("weight", &self.weight)
            .field("capacity", &self.capacity)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Timestamp = Timestamp(u64::MAX);

    #[test]
    fn what_expired_is_gone() {
        let mut shelf = Shelf::new(10_000, Overflow::Evict);
        shelf.insert(1, "a", 0, Timestamp(10), Timestamp(0)).unwrap();
        assert_eq!(shelf.get(&1, Timestamp(9)), Some(&mut "a"));
        assert_eq!(shelf.get(&1, Timestamp(10)), None);
        assert_eq!(shelf.weight, 0);
    }

    #[test]
    fn it_counts_what_happened() {
        let mut shelf = Shelf::new(500, Overflow::Evict);
        shelf.insert(0, (), 0, Timestamp(10), Timestamp(0)).unwrap();
        shelf.get(&0, Timestamp(9));
        shelf.get(&0, Timestamp(10));
        shelf.get(&1, Timestamp(10));
        let counts = Counts { hits: 1, misses: 2, evicted: 0, expired: 1 };
        assert_eq!(shelf.counts, counts);
        for key in 0..100 {
            shelf.insert(key, (), 0, NEVER, Timestamp(11)).unwrap();
        }
        let evicted = 100 - shelf.len() as u64;
        assert!(evicted > 0);
        assert_eq!(shelf.counts, Counts { evicted, ..counts });
    }

    #[test]
    fn a_million_identities_stay_below_the_cap() {
        let mut shelf = Shelf::new(1 << 20, Overflow::Evict);
        for key in 0..1_000_000u32 {
            shelf.insert(key, (), 100, NEVER, Timestamp(u64::from(key))).unwrap();
            assert!(shelf.weight <= 1 << 20);
        }
    }

    #[test]
    fn what_was_used_lately_survives_the_flood() {
        let mut shelf = Shelf::new(100_000, Overflow::Evict);
        shelf.insert(u32::MAX, (), 0, NEVER, Timestamp(0)).unwrap();
        for key in 0..20_000 {
            shelf.insert(key, (), 0, NEVER, Timestamp(u64::from(key))).unwrap();
            assert!(shelf.get(&u32::MAX, Timestamp(u64::from(key))).is_some());
        }
    }

    #[test]
    fn what_is_needed_goes_last_and_first_of_it_what_is_needed_no_longer() {
        let mut shelf =
            Shelf::new(100_000, Overflow::Evict).sparing(|until: &u64| Timestamp(*until));
        for key in 0..10 {
            shelf.insert(key, 1 << 40, 0, NEVER, Timestamp(0)).unwrap();
        }
        let flood = 100..20_000;
        for key in flood.clone() {
            shelf.insert(key, 0, 0, NEVER, Timestamp(key)).unwrap();
        }
        assert!((0..10).all(|key| shelf.get(&key, Timestamp(20_000)).is_some()));
        for key in flood {
            shelf.insert(key, key, 0, NEVER, Timestamp(0)).unwrap();
            assert!(shelf.weight <= 100_000);
        }
        assert!((0..10).all(|key| shelf.get(&key, Timestamp(0)).is_some()));
        assert_eq!(shelf.get(&100, Timestamp(0)), None);
    }

    #[test]
    fn a_full_shelf_that_must_not_forget_refuses_until_something_expires() {
        let mut shelf = Shelf::new(1_000, Overflow::Refuse);
        let mut key = 0;
        while shelf.insert(key, (), 0, Timestamp(50), Timestamp(0)).is_ok() {
            key += 1;
        }
        assert!(shelf.get(&0, Timestamp(0)).is_some());
        assert_eq!(shelf.insert(key, (), 0, NEVER, Timestamp(49)), Err(Full));
        assert_eq!(shelf.insert(key, (), 0, NEVER, Timestamp(50)), Ok(()));
    }

    #[test]
    fn an_entry_grows_only_where_there_is_room() {
        let mut shelf = Shelf::new(1_000, Overflow::Refuse);
        shelf.insert(1, (), 0, NEVER, Timestamp(0)).unwrap();
        shelf.insert(2, (), 400, Timestamp(50), Timestamp(0)).unwrap();
        assert_eq!(shelf.reweigh(&1, 600, Timestamp(0)), Err(Full));
        assert_eq!(shelf.reweigh(&1, 300, Timestamp(0)), Ok(()));
        assert_eq!(shelf.reweigh(&1, 600, Timestamp(50)), Ok(()));
        assert_eq!(shelf.get(&2, Timestamp(50)), None);
        assert_eq!(shelf.reweigh(&1, 1_000, Timestamp(50)), Err(Full));
        shelf.remove(&1);
        assert_eq!(shelf.weight, 0);
    }

    #[test]
    fn an_entry_heavier_than_the_shelf_is_refused_at_once() {
        let mut shelf = Shelf::new(1_000, Overflow::Evict);
        shelf.insert(1, (), 0, NEVER, Timestamp(0)).unwrap();
        assert_eq!(shelf.insert(2, (), 1_001, NEVER, Timestamp(0)), Err(Full));
        assert!(shelf.get(&1, Timestamp(0)).is_some());
    }
}
