use std::sync::Arc;
use std::time::Duration;

use super::Verb;
use crate::policy::caching::StoredResponse;
use crate::store::keys::Fingerprint;

/// A stored response. Absent, expired and malformed are all `None`.
#[derive(Clone, Debug)]
pub(crate) struct LoadResponse {
    pub(crate) response: Fingerprint,
}

#[derive(Clone, Debug)]
pub(crate) struct LoadedResponse {
    pub(crate) response: Option<Arc<StoredResponse>>,
    /// The last purge of anything, as of this look-up.
    pub(crate) last_purge: LastPurge,
}

/// A point in the order of all purges. Every purge has a later one than the purges before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LastPurge(pub(crate) u64);

impl Verb for LoadResponse {
    const NAME: &'static str = "load_response";

    type Answer = LoadedResponse;
}

/// Stores a response under its tags, unless one of them or its URI was purged after `seen`, the
/// last purge as of the look-up that came before the handler: then it may hold what was purged.
/// Answers whether it was stored. Stored again under fewer tags, it may still be dropped with one
/// that it no longer carries.
#[derive(Clone, Debug)]
pub(crate) struct StoreResponse {
    pub(crate) response: Fingerprint,
    pub(crate) uri: Fingerprint,
    pub(crate) tags: Vec<Fingerprint>,
    pub(crate) stored: Arc<StoredResponse>,
    pub(crate) seen: LastPurge,
}

impl Verb for StoreResponse {
    const NAME: &'static str = "store_response";

    type Answer = bool;
}

/// How long the purge of one tag or URI is remembered. A response whose handler took longer must
/// not be stored.
pub(crate) const PURGE_MEMORY: Duration = Duration::from_secs(10 * 60);

/// Drops the response stored for a URI, with all its variants.
#[derive(Clone, Debug)]
pub(crate) struct PurgeUri {
    pub(crate) uri: Fingerprint,
}

impl Verb for PurgeUri {
    const NAME: &'static str = "purge_uri";

    type Answer = ();
}
