//! What can be asked of a store, as values.
//!
//! A verb is made by a layer's *plan*, travels to the store, and its answer is what *apply* works
//! on. Being values, several verbs can travel together. Each says here what it means on every
//! backend; `contract.rs` holds the backends to it.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{Fingerprint, Subject};
use crate::policy::Timestamp;
use crate::policy::caching::StoredResponse;
use crate::policy::gcra::{Gcra, Taken};
use crate::policy::revocation::Revocations;
use crate::policy::session::{Record, VersionTag};

pub(crate) trait Verb: Send + 'static {
    type Answer: Send + 'static;
}

/// Takes `cost` from a limit if it fits, atomically: of any number of concurrent callers just as
/// many are allowed as the quota says. An absent, expired or malformed state counts as unused.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    pub(crate) name: Arc<str>,
    pub(crate) subject: Subject,
    pub(crate) gcra: Gcra,
    pub(crate) cost: u32,
}

impl Verb for Take {
    type Answer = Taken;
}

/// A session's record, kept for another `idle` from now on. Absent, idle for too long and malformed
/// are all `None`; whether the record's own end has come is for the caller to see.
#[derive(Clone, Debug)]
pub(crate) struct LoadSession {
    pub(crate) id: Fingerprint,
    pub(crate) idle: Duration,
}

impl Verb for LoadSession {
    type Answer = Option<Record>;
}

/// Stores a new session for `time_to_live`.
#[derive(Clone, Debug)]
pub(crate) struct CreateSession {
    pub(crate) id: Fingerprint,
    pub(crate) record: Record,
    pub(crate) time_to_live: Duration,
}

impl Verb for CreateSession {
    type Answer = ();
}

/// Replaces the session's record, if it still is the version `from`; with `rotate_to`, moves it to
/// that id and ends the old one in the same act. A session that is gone stays gone.
#[derive(Clone, Debug)]
pub(crate) struct SaveSession {
    pub(crate) id: Fingerprint,
    pub(crate) rotate_to: Option<Fingerprint>,
    pub(crate) from: VersionTag,
    pub(crate) record: Record,
    pub(crate) time_to_live: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Saved {
    Done,
    /// Another request saved first: this is what it saved.
    Conflict(Record),
    /// The session was ended, or expired, or holds nothing readable.
    Gone,
}

impl Verb for SaveSession {
    type Answer = Saved;
}

/// Ends a session; one that is absent is ended already.
#[derive(Clone, Debug)]
pub(crate) struct EndSession {
    pub(crate) id: Fingerprint,
}

impl Verb for EndSession {
    type Answer = ();
}

/// What is remembered about a token and its subject. A malformed memory counts as revoked.
#[derive(Clone, Debug)]
pub(crate) struct CheckRevoked {
    pub(crate) token: Fingerprint,
    pub(crate) subject: Option<Fingerprint>,
}

impl Verb for CheckRevoked {
    type Answer = Revocations;
}

/// Remembers for `time_to_live` that a token is revoked. Doing it twice does no harm.
#[derive(Clone, Debug)]
pub(crate) struct RevokeToken {
    pub(crate) token: Fingerprint,
    pub(crate) time_to_live: Duration,
}

impl Verb for RevokeToken {
    type Answer = ();
}

/// Revokes every token of a subject issued up to `until`, or up to now. Never takes an earlier
/// revocation back: the later time stays. Answers the time in force.
#[derive(Clone, Debug)]
pub(crate) struct RevokeSubject {
    pub(crate) subject: Fingerprint,
    pub(crate) until: Option<Timestamp>,
}

impl Verb for RevokeSubject {
    type Answer = Timestamp;
}

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
    type Answer = ();
}
