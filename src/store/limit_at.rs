use std::hash::{Hash, Hasher};

use indexmap::Equivalent;

use super::keys::{Fingerprint, Subject};
use super::verbs::Rule;

/// A limit, by its name and algorithm, at a subject: what this process remembers something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitAt {
    pub(crate) limit: Fingerprint,
    pub(crate) subject: Subject,
}

/// The same where it is: nothing is copied to look it up.
pub(crate) struct LentLimitAt<'a> {
    limit: &'a Fingerprint,
    subject: &'a Subject,
}

impl LimitAt {
    pub(crate) fn new(rule: &Rule, subject: &Subject) -> LimitAt {
        LimitAt { limit: rule.id, subject: *subject }
    }

    #[inline]
    pub(crate) fn lent<'a>(rule: &'a Rule, subject: &'a Subject) -> LentLimitAt<'a> {
        LentLimitAt { limit: &rule.id, subject }
    }
}

impl Hash for LimitAt {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        LentLimitAt { limit: &self.limit, subject: &self.subject }.hash(state);
    }
}

/// In one piece, as maps are asked at every request. Others may have the same sum, but nobody can
/// make up many of them.
impl Hash for LentLimitAt<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.limit.to_bits().wrapping_add(self.subject.to_bits()));
    }
}

impl Equivalent<LimitAt> for LentLimitAt<'_> {
    #[inline]
    fn equivalent(&self, other: &LimitAt) -> bool {
        *self.subject == other.subject && *self.limit == other.limit
    }
}
