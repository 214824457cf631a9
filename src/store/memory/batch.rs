use super::shelf::Full;
use super::values::{Values, add, delete, expire, store, weight};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::verbs::{Act, Batch};

impl OnMemory for Batch {
    fn on_memory(self, memory: &Memory) -> Result<Vec<Result<i64, StoreError>>, StoreError> {
        let now = memory.now();
        let mut values = lock(&memory.values);
        // All or nothing: what does not fit shows before anything is done.
        let fits = |act: &Act| match act {
            Act::Store { place, value, .. } => values.can_hold(weight(place, value)),
            _ => true,
        };
        if !self.acts.iter().all(fits) {
            return Err(Full.into());
        }
        Ok(self.acts.into_iter().map(|act| done(&mut values, act, now)).collect())
    }
}

fn done(values: &mut Values, act: Act, now: Timestamp) -> Result<i64, StoreError> {
    match act {
        Act::Store { place, value, time_to_live, if_absent } => {
            if if_absent && values.get(&place, now).is_some() {
                return Ok(0);
            }
            store(values, place, value, now.after(time_to_live), now).map(|()| 1)
        }
        Act::Delete { place } => Ok(delete(values, &place, now).into()),
        Act::Expire { place, time_to_live } => {
            Ok(expire(values, &place, now.after(time_to_live), now).into())
        }
        Act::Add { place, by } => {
            // It is there, and keeps its end.
            add(values, place, by, now, now)?.ok_or_else(|| StoreError::new(Kind::NotACounter))
        }
    }
}
