use std::time::Duration;

use super::Verb;
use crate::policy::session::{Record, VersionTag};
use crate::store::keys::Fingerprint;

/// A session's record, kept for another `idle` from now on. Absent, idle for too long, malformed
/// and longer than fields of `max_size` bytes can be are all `None`; what is too long is not even
/// carried over a network. Whether the record's own end has come is for the caller to see.
#[derive(Clone, Debug)]
pub(crate) struct LoadSession {
    pub(crate) id: Fingerprint,
    pub(crate) idle: Duration,
    pub(crate) max_size: usize,
}

impl Verb for LoadSession {
    const NAME: &'static str = "load_session";

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
    const NAME: &'static str = "create_session";

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
    /// As for [`LoadSession`], of what another request saved.
    pub(crate) max_size: usize,
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
    const NAME: &'static str = "save_session";

    type Answer = Saved;
}

/// Ends a session; one that is absent is ended already.
#[derive(Clone, Debug)]
pub(crate) struct EndSession {
    pub(crate) id: Fingerprint,
}

impl Verb for EndSession {
    const NAME: &'static str = "end_session";

    type Answer = ();
}
