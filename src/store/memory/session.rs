use super::shelf::Full;
use super::{Memory, OnMemory, lock};
use crate::policy::session::{Changes, Record};
use crate::store::StoreError;
use crate::store::verbs::{CreateSession, EndSession, LoadSession, SaveSession, Saved};

impl OnMemory for LoadSession {
    fn on_memory(self, memory: &Memory) -> Result<Option<Record>, StoreError> {
        let now = memory.now();
        let mut sessions = lock(&memory.sessions);
        let is_short = sessions.weight_of(&self.id) <= longest(self.max_size);
        let record = sessions.get(&self.id, now).filter(|_| is_short).cloned();
        if record.is_some() {
            sessions.keep_until(&self.id, now.after(self.idle));
        }
        Ok(record)
    }
}

impl OnMemory for CreateSession {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        let now = memory.now();
        let weight = weight(&self.record);
        let mut sessions = lock(&memory.sessions);
        Ok(sessions.insert(self.id, self.record, weight, now.after(self.time_to_live), now)?)
    }
}

impl OnMemory for SaveSession {
    fn on_memory(self, memory: &Memory) -> Result<Saved, StoreError> {
        let now = memory.now();
        let mut sessions = lock(&memory.sessions);
        let is_short = sessions.weight_of(&self.id) <= longest(self.max_size);
        match sessions.get(&self.id, now) {
            None => return Ok(Saved::Gone),
            Some(stored) if stored.version_tag() != self.from => {
                let conflict = || Saved::Conflict(stored.clone());
                return Ok(if is_short { conflict() } else { Saved::Gone });
            }
            Some(_) => {}
        }
        let before = sessions.remove(&self.id);
        let weight_after = weight(&self.record);
        let id = self.rotate_to.unwrap_or(self.id);
        let saved =
            sessions.insert(id, self.record, weight_after, now.after(self.time_to_live), now);
        if let (Err(Full), Some(before)) = (saved, before) {
            let weight_before = weight(&before);
            // It fitted a moment ago, under the same lock.
            let _ =
                sessions.insert(self.id, before, weight_before, now.after(self.time_to_live), now);
            return Err(Full.into());
        }
        Ok(Saved::Done)
    }
}

impl OnMemory for EndSession {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        lock(&memory.sessions).remove(&self.id);
        Ok(())
    }
}

fn weight(record: &Record) -> usize {
    longest(Changes::default().size_with(&record.fields))
}

/// The weight of fields of this size: a JSON value takes about twice its text.
fn longest(max_size: usize) -> usize {
    max_size.saturating_mul(2)
}
