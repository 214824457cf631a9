//! What is under way in this process, for while the store cannot answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::keys::Subject;

/// How many requests of each subject are under way: no more entries than these.
#[derive(Default)]
pub(super) struct Local {
    counts: Mutex<HashMap<Subject, u32>>,
}

/// One of those.
#[derive(Debug)]
pub(super) struct Counted {
    local: Arc<Local>,
    subject: Subject,
}

impl Local {
    /// One more, which the store has admitted.
    pub(super) fn count(self: &Arc<Local>, subject: Subject) -> Counted {
        *self.counts().entry(subject).or_default() += 1;
        Counted { local: self.clone(), subject }
    }

    /// One more, unless there are as many as there may be; and how many there are then.
    pub(super) fn admit(self: &Arc<Local>, subject: Subject, most: u32) -> (Option<Counted>, u32) {
        let mut counts = self.counts();
        match counts.get(&subject).copied().unwrap_or_default() {
            count if count >= most => (None, count),
            count => {
                counts.insert(subject, count + 1);
                (Some(Counted { local: self.clone(), subject }), count + 1)
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Subject, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.local.counts().entry(self.subject) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("subjects", &self.counts().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_ends_makes_room_and_leaves_nothing() {
        let local = Arc::new(Local::default());
        let one = Subject::Address(Ipv4Addr::LOCALHOST.into());
        let shared = local.count(one);
        let (here, 2) = local.admit(one, 2) else { panic!("there is room") };
        assert!(matches!(local.admit(one, 2), (None, 2)));
        drop(shared);
        assert!(matches!(local.admit(one, 2), (Some(_), 2)));
        drop(here);
        assert!(local.counts().is_empty());
    }
}
