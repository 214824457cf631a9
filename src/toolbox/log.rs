use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Unreadable};
use crate::policy::LogId;
use crate::store::place::{Namespace, Place};
use crate::store::verbs::{Append, Entry, LogLength, Part, ReadLog};
use crate::{Store, StoreError};

/// A log: entries are appended, and read in their order. For audit logs, histories, queues of
/// operations.
///
/// A handle, cheap to clone. Made by [`Store::log`].
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tower_redis_kit::Store;
/// use tower_redis_kit::toolbox::LogId;
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Event { who: String, what: String }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// let audit = Store::memory().log("audit");
/// for what in ["logged in", "bought tea"] {
///     audit.append(&Event { who: "ada".to_owned(), what: what.to_owned() }).await?;
/// }
///
/// let first: Vec<(LogId, Event)> = audit.read_after(LogId::START, 1).await?;
/// assert_eq!(first[0].1.what, "logged in");
/// // Where to go on.
/// let next: Vec<(LogId, Event)> = audit.read_after(first[0].0, 10).await?;
/// assert_eq!(next[0].1.what, "bought tea");
/// # Ok(()) }
/// ```
///
/// Entries are stored as [values](super::Values#what-is-stored) are, each of 1 MiB at most. One
/// that cannot be read is left out, and a line in the log of the program says so: none of the type
/// asked for (read as `serde_json::Value` it shows what it is), one larger than that, and one that
/// was written by a newer version, or with `compression` where this build lacks it.
///
/// # Room
/// A log keeps [10,000 entries](Log::max_len), for [7 days](Log::retention) after the last was
/// appended. In process, one that finds no more room in [its
/// share](crate::StoreBuilder::memory_capacity) takes no more entries.
///
/// # Errors
/// Every method fails when the store cannot answer, and with
/// [`is_invalid_key`](StoreError::is_invalid_key) when the name given to [`of`](Log::of) is empty
/// or longer than 512 bytes.
#[derive(Clone)]
pub struct Log {
    pub(super) store: Store,
    namespace: Namespace,
    place: Result<Place, StoreError>,
    codec: Codec,
    max_len: u64,
    retention: Duration,
}

impl Store {
    /// The log of this name. On Redis it is the stream `kit:log:audit`, after the store's prefix.
    ///
    /// # Panics
    /// When `name` is empty, longer than 64 bytes, or has a byte other than letters, digits, `-`,
    /// `_`, `.` and `:`. It is the program's: what comes from a user belongs into [`Log::of`].
    #[must_use]
    #[track_caller]
    pub fn log(&self, name: &str) -> Log {
        let namespace = Namespace::new(name);
        Log {
            store: self.clone(),
            place: Ok(namespace.whole()),
            namespace,
            codec: Codec { max_size: 1 << 20, ..Codec::default() },
            max_len: 10_000,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl Log {
    /// The log of one of many, such as a document's, under the same name. What is given here
    /// follows the rules of [keys](super::Values#keys).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use tower_redis_kit::Store;
    ///
    /// let edits = Store::memory().log("edits");
    /// edits.of("document 7").append("a word").await?;
    /// assert_eq!(edits.of("document 7").len().await?, 1);
    /// assert_eq!(edits.of("document 8").len().await?, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of(&self, what: &str) -> Log {
        Log { place: self.namespace.place(what), ..self.clone() }
    }

    /// How many entries are kept, the newest ones: on Redis up to a hundred more. 10,000 unless set.
    /// An append goes by what its own handle says.
    ///
    /// # Panics
    /// When it is zero.
    #[must_use]
    pub fn max_len(mut self, entries: u64) -> Log {
        assert!(entries > 0, "a log of no entries keeps nothing");
        self.max_len = entries;
        self
    }

    /// How long the log is kept after its last entry was appended. 7 days unless set.
    ///
    /// # Panics
    /// When it is zero.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Log {
        assert!(!retention.is_zero(), "a retention of zero keeps nothing");
        self.retention = retention;
        self
    }

    /// Appends an entry, and answers its id, which is higher than every one before.
    ///
    /// # Errors
    /// As on [`Log`], and when the entry [is too large](StoreError::is_too_large) or
    /// [cannot be JSON](StoreError::is_invalid_value). In process, with
    /// [`is_full`](StoreError::is_full) when there is no room.
    ///
    /// # Cancel safety
    /// The entry of a caller who leaves may still be appended, and after
    /// [`is_timeout`](StoreError::is_timeout); appended again, it is there twice.
    pub async fn append<T: Serialize + ?Sized>(&self, entry: &T) -> Result<LogId, StoreError> {
        let (log, entry) = (self.place()?, self.codec.encode(entry)?);
        let (max_len, retention) = (self.max_len, self.retention);
        self.store.ask(Append { log, entry, max_len, retention }).await?
    }

    /// Up to `limit` entries after an id, the oldest first; from the beginning on after
    /// [`LogId::START`] or `None`. There are no more when it answers none.
    ///
    /// # Errors
    /// As on [`Log`].
    pub async fn read_after<T: DeserializeOwned>(
        &self,
        id: impl Into<Option<LogId>>,
        limit: u64,
    ) -> Result<Vec<(LogId, T)>, StoreError> {
        let mut after = id.into().unwrap_or(LogId::START);
        loop {
            let entries = self.read(Part::After(after), limit).await?;
            let Some((last, _)) = entries.last() else { return Ok(Vec::new()) };
            after = *last;
            let read = self.decode(entries);
            // Or whoever goes on after what came last would never get past what cannot be read.
            if !read.is_empty() {
                return Ok(read);
            }
        }
    }

    /// The last entries, up to `limit`, the oldest of them first.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use tower_redis_kit::Store;
    ///
    /// let visits = Store::memory().log("visits");
    /// for who in ["ada", "bob", "cy"] {
    ///     visits.append(who).await?;
    /// }
    /// let last: Vec<String> = visits.last(2).await?.into_iter().map(|(_, who)| who).collect();
    /// assert_eq!(last, ["bob", "cy"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As on [`Log`].
    pub async fn last<T: DeserializeOwned>(
        &self,
        limit: u64,
    ) -> Result<Vec<(LogId, T)>, StoreError> {
        let entries = self.read(Part::Last, limit).await?;
        Ok(self.decode(entries))
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// As on [`Log`].
    #[expect(clippy::len_without_is_empty, reason = "to ask twice would be two round trips")]
    pub async fn len(&self) -> Result<u64, StoreError> {
        self.store.ask(LogLength { log: self.place()? }).await
    }

    pub(super) fn place(&self) -> Result<Place, StoreError> {
        self.place.clone()
    }

    async fn read(&self, part: Part, limit: u64) -> Result<Vec<Entry>, StoreError> {
        let log = self.place()?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.store.ask(ReadLog { log, part, limit }).await
    }

    /// The entries that can be read. What others could read is left out as well: an error would
    /// keep everybody from what comes after it.
    pub(super) fn decode<T: DeserializeOwned>(&self, entries: Vec<Entry>) -> Vec<(LogId, T)> {
        let all = entries.len();
        let (mut read, mut refused) = (Vec::with_capacity(all), None);
        for (id, entry) in entries {
            match self.codec.decode(&entry) {
                Ok(entry) => read.push((id, entry)),
                Err(Unreadable::Corrupt) => {}
                Err(Unreadable::Refused(error)) => refused = Some(error),
            }
        }
        if read.len() < all {
            let (log, number) = (self.namespace.name(), all - read.len());
            let refused = refused.map(tracing::field::display);
            tracing::warn!(log, number, refused, "entries of a log cannot be read");
        }
        read
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("name", &self.namespace.name())
            .field("max_len", &self.max_len)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
