use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Verb};
use crate::policy::LogId;
use crate::store::place::Place;

/// Hands up to `limit` entries of a log to a worker of a group: first those after an id that were
/// handed out `again_after` ago or longer and are not done, though thousands of others were handed
/// out since, then new ones, each in their order. A group begins with what the log holds when it is
/// first heard of, and each entry goes to one of its workers. A log that is absent has none, and
/// what it has dropped is not handed out again.
#[derive(Clone)]
pub(crate) struct Consume {
    pub(crate) log: Place,
    pub(crate) group: Arc<str>,
    pub(crate) worker: Arc<str>,
    pub(crate) limit: u64,
    pub(crate) again_after: Duration,
    /// Where a worker goes on that could do nothing with what it was handed just now.
    pub(crate) after: LogId,
}

impl Verb for Consume {
    const NAME: &'static str = "consume_log";

    type Answer = Vec<Entry>;
}

/// Entries are done, and not handed out to this group again. Answers how many were handed out and
/// not done before.
#[derive(Clone)]
pub(crate) struct Done {
    pub(crate) log: Place,
    pub(crate) group: Arc<str>,
    pub(crate) ids: Vec<LogId>,
}

impl Verb for Done {
    const NAME: &'static str = "done_with_log";

    type Answer = u64;
}
