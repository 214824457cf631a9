use std::fmt;

use crate::store::keys::Fingerprint;

/// Names that a stored response can be purged by; part of a handler's answer.
///
/// In axum, an element of the response tuple: `(CacheTags::new(["articles"]), body)`. Anywhere else,
/// put it into the response's extensions. Tags never leave the server.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheTags {
    tags: Vec<Fingerprint>,
}

/// More tags on one response than this make every store of it slow; it is not stored then.
pub(super) const MOST: usize = 64;

impl CacheTags {
    /// These tags. A response with more than 64 is not stored.
    pub fn new<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> CacheTags {
        let mut tags: Vec<_> = tags.into_iter().map(|tag| fingerprint(tag.as_ref())).collect();
        tags.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        tags.dedup();
        CacheTags { tags }
    }

    pub(super) fn fingerprints(&self) -> &[Fingerprint] {
        &self.tags
    }

    /// Both.
    #[must_use]
    pub(super) fn and(mut self, other: CacheTags) -> CacheTags {
        self.tags.extend(other.tags);
        self.tags.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        self.tags.dedup();
        self
    }
}

impl fmt::Debug for CacheTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheTags").field("len", &self.tags.len()).finish_non_exhaustive()
    }
}

pub(super) fn fingerprint(tag: &str) -> Fingerprint {
    Fingerprint::of(&[b"tag", tag.as_bytes()])
}
