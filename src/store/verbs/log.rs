use std::time::Duration;

use bytes::Bytes;

use super::Verb;
use crate::policy::LogId;
use crate::store::StoreError;
use crate::store::place::Place;

/// Appends an entry to a log, and keeps the whole log for `retention` from now on. Its id is higher
/// than every one before. Beyond about `max_len` entries the oldest are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) log: Place,
    pub(crate) entry: Bytes,
    pub(crate) max_len: u64,
    pub(crate) retention: Duration,
}

impl Verb for Append {
    const NAME: &'static str = "append_log";

    type Answer = Result<LogId, StoreError>;
}

/// Up to `limit` entries of a log, those after an id or the last ones, the oldest first. A log that
/// is absent is empty.
#[derive(Clone, Debug)]
pub(crate) struct ReadLog {
    pub(crate) log: Place,
    pub(crate) part: Part,
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    After(LogId),
    Last,
}

pub(crate) type Entry = (LogId, Bytes);

impl Verb for ReadLog {
    const NAME: &'static str = "read_log";

    type Answer = Vec<Entry>;
}

/// How many entries a log has.
#[derive(Clone, Debug)]
pub(crate) struct LogLength {
    pub(crate) log: Place,
}

impl Verb for LogLength {
    const NAME: &'static str = "log_length";

    type Answer = u64;
}
