//! What is under way in this process, for while the store cannot answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keys::Subject;
use super::verbs::Semaphore;

/// How many requests are under way at the limits of one store, by name, for each subject: no more
/// entries than these.
#[derive(Default)]
pub(super) struct UnderWay {
    counts: Mutex<HashMap<Place, u32>>,
}

type Place = (Arc<str>, Subject);

/// One of those.
#[derive(Debug)]
pub(crate) struct Counted {
    under_way: Arc<UnderWay>,
    place: Place,
}

impl UnderWay {
    /// One more, which the store has admitted.
    pub(super) fn count(self: &Arc<UnderWay>, semaphore: &Semaphore, subject: Subject) -> Counted {
        let place = (semaphore.name.clone(), subject);
        *self.counts().entry(place.clone()).or_default() += 1;
        Counted { under_way: self.clone(), place }
    }

    /// One more, unless there are as many as there may be; and how many there are then.
    pub(super) fn admit(
        self: &Arc<UnderWay>,
        semaphore: &Semaphore,
        subject: Subject,
    ) -> (Option<Counted>, u32) {
        let place = (semaphore.name.clone(), subject);
        let mut counts = self.counts();
        match counts.get(&place).copied().unwrap_or_default() {
            count if count >= semaphore.permits => (None, count),
            count => {
                counts.insert(place.clone(), count + 1);
                (Some(Counted { under_way: self.clone(), place }), count + 1)
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Place, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.under_way.counts().entry(self.place.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderWay").field("places", &self.counts().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn two(name: &str) -> Semaphore {
        Semaphore { name: name.into(), permits: 2, lease: Duration::from_secs(30) }
    }

    #[test]
    fn what_ends_makes_room_and_leaves_nothing() {
        let (under_way, two) = (Arc::new(UnderWay::default()), two("exports"));
        let one = Subject::Address(Ipv4Addr::LOCALHOST.into());
        let shared = under_way.count(&two, one);
        let (here, 2) = under_way.admit(&two, one) else { panic!("there is room") };
        assert!(matches!(under_way.admit(&two, one), (None, 2)));
        drop(shared);
        assert!(matches!(under_way.admit(&two, one), (Some(_), 2)));
        drop(here);
        assert!(under_way.counts().is_empty());
    }

    #[test]
    fn each_name_and_each_subject_counts_by_itself() {
        let under_way = Arc::new(UnderWay::default());
        let [one, other] = [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST];
        let admit = |name, it: Ipv4Addr| under_way.admit(&two(name), Subject::Address(it.into())).0;
        let _held = [admit("exports", one), admit("exports", one)].map(Option::unwrap);
        assert!(admit("exports", one).is_none());
        assert!(admit("exports", other).is_some() && admit("imports", one).is_some());
    }
}
