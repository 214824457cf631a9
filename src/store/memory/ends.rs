use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Members that go by themselves, by when: what a sorted set of ends is on Redis.
#[derive(Debug)]
pub(super) struct Ends<T> {
    ends: HashMap<T, u64>,
    by_end: BTreeSet<(u64, T)>,
}

impl<T> Default for Ends<T> {
    fn default() -> Ends<T> {
        Ends { ends: HashMap::new(), by_end: BTreeSet::new() }
    }
}

impl<T: Clone + Eq + Hash + Ord> Ends<T> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn contains(&self, member: &T) -> bool {
        self.ends.contains_key(member)
    }

    /// A member until `end`, whatever was its end before.
    pub(super) fn insert(&mut self, member: T, end: u64) {
        self.remove(&member);
        self.by_end.insert((end, member.clone()));
        self.ends.insert(member, end);
    }

    pub(super) fn remove(&mut self, member: &T) -> bool {
        let end = self.ends.remove(member);
        end.is_some_and(|end| self.by_end.remove(&(end, member.clone())))
    }

    /// Removes one that has ended by `now`.
    pub(super) fn pop_ended(&mut self, now: u64) -> Option<T> {
        let (_, member) = self.by_end.first().filter(|(end, _)| *end <= now).cloned()?;
        self.remove(&member);
        Some(member)
    }

    /// First those that end last.
    pub(super) fn last_first(&self) -> impl Iterator<Item = &T> {
        self.by_end.iter().rev().map(|(_, member)| member)
    }
}
