use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Log;
use crate::StoreError;
use crate::policy::LogId;
use crate::store::place::check_text;
use crate::store::verbs::{Consume, Done};

/// The most that is handed out at once: the server does nothing else meanwhile.
const MOST: u64 = 1_000;

/// A worker of a group that shares the entries of a [`Log`] among its workers: a queue of which
/// every entry is handed out at least once.
///
/// A handle, cheap to clone. Made by [`Log::consumer`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// use tower_redis_kit::Store;
///
/// let jobs = Store::memory().log("jobs");
/// jobs.append("a letter to ada").await?;
/// jobs.append("a letter to bob").await?;
///
/// let worker = jobs.consumer("mail", "worker 1");
/// for (id, job) in worker.next::<String>(1).await? {
///     assert_eq!(job, "a letter to ada");
///     // Last of all: the job of a worker that fails before this is handed out again.
///     worker.done([id]).await?;
/// }
/// let other = jobs.consumer("mail", "worker 2");
/// assert_eq!(other.next::<String>(10).await?[0].1, "a letter to bob");
/// # Ok(()) }
/// ```
///
/// An entry that is not [done](Consumer::done) within [a minute](Consumer::again_after) is handed
/// out again, to any worker of the group: one may have been done twice, or by two at once, and
/// should do no harm then. What the log drops, by its length or its retention, is lost to the
/// group.
///
/// Nothing waits for entries: a worker that was handed none asks again after a while.
#[derive(Clone)]
pub struct Consumer {
    log: Log,
    /// Or why they cannot be.
    names: Result<(Arc<str>, Arc<str>), StoreError>,
    again_after: Duration,
}

impl Log {
    /// A worker of a group. Each group is handed every entry, from those on that the log holds when
    /// it is first heard of; each entry goes to one of its workers. Both names are any text of 1 to
    /// 512 bytes; give a worker the same name when it starts again, because Redis notes each.
    #[must_use]
    pub fn consumer(&self, group: &str, worker: &str) -> Consumer {
        let rule = "the name of a group or a worker is 1 to 512 bytes";
        let checked = check_text(group, rule).and_then(|()| check_text(worker, rule));
        Consumer {
            log: self.clone(),
            names: checked.map(|()| (group.into(), worker.into())),
            again_after: Duration::from_secs(60),
        }
    }
}

impl Consumer {
    /// After which time an entry that is not done is handed out again: longer than any takes. One
    /// minute unless set.
    ///
    /// # Panics
    /// When it is zero.
    #[must_use]
    pub fn again_after(mut self, time: Duration) -> Consumer {
        assert!(!time.is_zero(), "handed out again at once, every entry goes to every worker");
        self.again_after = time;
        self
    }

    /// Up to `limit` entries, at most 1,000: first those that were not done in time, then new ones.
    /// None: there is nothing to be read for now.
    ///
    /// One that [cannot be read](Log) is left out, and a line in the program's log says so. It is
    /// not done by that, and is handed out again, for a newer version of the program may know it.
    /// Where all were left out, it asks for more, at once.
    ///
    /// # Errors
    /// As on [`Log`], and with [`is_invalid_key`](StoreError::is_invalid_key) when a name is empty
    /// or longer than 512 bytes. In process, with [`is_full`](StoreError::is_full) when there is no
    /// room to note what is handed out.
    ///
    /// # Cancel safety
    /// What is handed to a caller who leaves, or with an error on the way, is handed out again in
    /// time.
    pub async fn next<T: DeserializeOwned>(
        &self,
        limit: u64,
    ) -> Result<Vec<(LogId, T)>, StoreError> {
        let (log, (group, worker)) = (self.log.place()?, self.names.clone()?);
        let (limit, again_after) = (limit.min(MOST), self.again_after);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut after = LogId::START;
        loop {
            let (log, group, worker) = (log.clone(), group.clone(), worker.clone());
            let consume = Consume { log, group, worker, limit, again_after, after };
            let handed = self.log.store.ask(consume).await?;
            let Some((last, _)) = handed.last() else { return Ok(Vec::new()) };
            // Each is looked at once, even if its time comes again meanwhile.
            after = *last;
            let read = self.log.decode(handed);
            // Or what cannot be read would hold up what comes after it.
            if !read.is_empty() {
                return Ok(read);
            }
        }
    }

    /// These entries are done, and are not handed out to the group again. Answers how many of them
    /// were handed out and not done before.
    ///
    /// # Errors
    /// As of [`next`](Consumer::next).
    ///
    /// # Cancel safety
    /// They may be done when the caller leaves.
    pub async fn done(&self, ids: impl IntoIterator<Item = LogId>) -> Result<u64, StoreError> {
        let (log, (group, _)) = (self.log.place()?, self.names.clone()?);
        let ids: Vec<LogId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(0);
        }
        self.log.store.ask(Done { log, group, ids }).await
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("log", &self.log)
            .field("again_after", &self.again_after)
            .finish_non_exhaustive()
    }
}
