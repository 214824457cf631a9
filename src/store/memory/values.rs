use bytes::Bytes;

use super::shelf::Shelf;
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::store::StoreError;
use crate::store::place::Place;
use crate::store::verbs::{
    DeleteValues, DeleteValuesIf, ExpireValue, Increment, LoadValues, StoreValue, StoreValues,
    TakeValue, TimeToLive,
};

/// The values of handlers, as they would be on Redis: a counter is its digits.
pub(super) type Values = Shelf<Place, Bytes>;

impl OnMemory for LoadValues {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Option<Bytes>>, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        Ok(self.places.iter().map(|place| values.get(place, now).cloned()).collect())
    }
}

impl OnMemory for TakeValue {
    fn on_memory(self, memory: &Memory) -> Result<Option<Bytes>, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        // Looked up first, because what expired is not there to be taken.
        let is_there = values.get(&self.place, now).is_some();
        Ok(values.remove(&self.place).filter(|_| is_there))
    }
}

impl OnMemory for StoreValue {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        if self.if_absent && values.get(&self.place, now).is_some() {
            return Ok(false);
        }
        store(&mut values, self.place, self.value, now.after(self.time_to_live), now)?;
        Ok(true)
    }
}

impl OnMemory for StoreValues {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let now = memory.now();
        let expires = now.after(self.time_to_live);
        let mut values = lock(&memory.values);
        let stored = self.values.into_iter();
        Ok(stored.map(|(place, value)| store(&mut values, place, value, expires, now)).collect())
    }
}

impl OnMemory for DeleteValues {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Result<bool, StoreError>>, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        Ok(self.places.iter().map(|place| Ok(delete(&mut values, place, now))).collect())
    }
}

impl OnMemory for DeleteValuesIf {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Result<bool, StoreError>>, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        let deleted = self.values.iter().map(|(place, value)| {
            let is_same = values.get(place, now).is_some_and(|stored| stored == value);
            Ok(is_same && delete(&mut values, place, now))
        });
        Ok(deleted.collect())
    }
}

impl OnMemory for ExpireValue {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let now = memory.now();
        Ok(expire(&mut lock(&memory.values), &self.place, now.after(self.time_to_live), now))
    }
}

impl OnMemory for TimeToLive {
    fn on_memory(self, memory: &Memory) -> Result<Option<std::time::Duration>, StoreError> {
        let now = memory.now();
        Ok(lock(&memory.values).expires(&self.place, now).map(|expires| expires.since(now)))
    }
}

impl OnMemory for Increment {
    fn on_memory(self, memory: &Memory) -> Result<Option<i64>, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        add(&mut values, self.place, self.by, now.after(self.time_to_live), now)
    }
}

pub(super) fn store(
    values: &mut Values,
    place: Place,
    value: Bytes,
    expires: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let weight = weight(&place, &value);
    Ok(values.insert(place, value, weight, expires, now)?)
}

pub(super) fn delete(values: &mut Values, place: &Place, now: Timestamp) -> bool {
    values.get(place, now).is_some() && values.remove(place).is_some()
}

pub(super) fn expire(
    values: &mut Values,
    place: &Place,
    expires: Timestamp,
    now: Timestamp,
) -> bool {
    let is_there = values.get(place, now).is_some();
    if is_there {
        values.keep_until(place, expires);
    }
    is_there
}

/// The sum; a new counter lasts until `expires`.
pub(super) fn add(
    values: &mut Values,
    place: Place,
    by: i64,
    expires: Timestamp,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let (count, expires) = match values.get(&place, now) {
        None => (0, expires),
        Some(stored) => {
            let Some(count) = count(stored) else { return Ok(None) };
            (count, values.expires(&place, now).unwrap_or(expires))
        }
    };
    let Some(sum) = count.checked_add(by) else { return Ok(None) };
    store(values, place, sum.to_string().into(), expires, now)?;
    Ok(Some(sum))
}

pub(super) fn weight(place: &Place, value: &Bytes) -> usize {
    place.len() + value.len()
}

/// As Redis reads an integer: spelled the one way that it spells it itself.
fn count(digits: &Bytes) -> Option<i64> {
    let count: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (count.to_string().as_bytes() == &digits[..]).then_some(count)
}
