use std::sync::Arc;

use super::ends::Ends;
use super::shelf::{Full, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::store::StoreError;
use crate::store::place::Place;
use crate::store::verbs::{Leave, Present, Touch, WhoIsPresent};

pub(super) type Presences = Shelf<Place, Presence>;

#[derive(Debug, Default)]
pub(super) struct Presence {
    /// In milliseconds: as on Redis, so that the order is the same.
    ends: Ends<Arc<str>>,
    weight: usize,
}

impl Presence {
    fn remove(&mut self, who: &Arc<str>) {
        if self.ends.remove(who) {
            self.weight -= weight(who);
        }
    }

    fn remove_ended(&mut self, now: u64) {
        while let Some(who) = self.ends.pop_ended(now) {
            self.weight -= weight(&who);
        }
    }
}

impl OnMemory for Touch {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        let Touch { presence: place, who, time_to_live } = self;
        let mut presences = lock(&memory.presences);
        let now = memory.now();
        let ends = now.after(time_to_live);
        if presences.get(&place, now).is_none() {
            presences.insert(place.clone(), Presence::default(), place.len(), ends, now)?;
        }
        let presence = presences.get(&place, now).ok_or(Full)?;
        presence.remove_ended(millis(now));
        let more = if presence.ends.contains(&who) { 0 } else { weight(&who) };
        let after = place.len() + presence.weight + more;
        presences.reweigh(&place, after, now)?;
        let presence = presences.get(&place, now).ok_or(Full)?;
        presence.remove(&who);
        presence.weight += weight(&who);
        presence.ends.insert(who, millis(ends));
        let expires = presences.expires(&place, now).max(Some(ends)).unwrap_or(ends);
        presences.keep_until(&place, expires);
        Ok(())
    }
}

impl OnMemory for WhoIsPresent {
    fn on_memory(self, memory: &Memory) -> Result<Present, StoreError> {
        let now = memory.now();
        let mut presences = lock(&memory.presences);
        let Some(presence) = presences.get(&self.presence, now) else {
            return Ok(Present { count: 0, who: Vec::new() });
        };
        presence.remove_ended(millis(now));
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let who = presence.ends.last_first().take(limit).map(|who| who.to_string());
        Ok(Present { count: presence.ends.len() as u64, who: who.collect() })
    }
}

impl OnMemory for Leave {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        let now = memory.now();
        if let Some(presence) = lock(&memory.presences).get(&self.presence, now) {
            presence.remove(&self.who);
        }
        Ok(())
    }
}

/// Whole milliseconds: the last one has begun.
fn millis(time: Timestamp) -> u64 {
    time.0 / 1_000
}

/// A name and its two slots.
fn weight(who: &str) -> usize {
    who.len() + 8 * size_of::<(u64, Arc<str>)>()
}
