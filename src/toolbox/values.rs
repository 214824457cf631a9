use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Unreadable};
use crate::store::Kind;
use crate::store::place::Namespace;
use crate::store::verbs::{DeleteValues, ExpireValue, StoreValue, TakeValue, TimeToLive};
use crate::{Store, StoreError};

/// Values of one namespace, by key, each with a time to live.
///
/// A handle, cheap to clone. Made by [`Store::values`].
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::Store;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// let captchas = Store::memory().values("captchas");
/// captchas.set("a browser", "W7K4", Duration::from_secs(300)).await?;
///
/// // One answer only, right or wrong.
/// let expected: Option<String> = captchas.take("a browser").await?;
/// assert_eq!(expected.as_deref(), Some("W7K4"));
/// assert!(!captchas.exists("a browser").await?);
/// # Ok(()) }
/// ```
///
/// # Keys
/// A key is any text of 1 to 512 bytes, and may be a user's: `{`, `}`, `%` and control characters
/// are escaped, so that it moves no key to another slot of a cluster and is no part of a glob. Keys
/// are stored in the clear; what must stay secret should not be a key.
///
/// # What is stored
/// JSON, by [serde](https://serde.rs); but a string is stored as its text and
/// [`Bytes`](bytes::Bytes) as they are, so `set("a", "text", …)` stores `text` and `get::<String>`
/// reads it. It is the type that decides, the same when writing and reading. (`Vec<u8>` is a list
/// of numbers to serde: use `Bytes`. A type that takes anything, such as `serde_json::Value`, is
/// read as JSON where the text is JSON.) What another service wrote as JSON can be read, and the
/// other way round.
///
/// With the cargo feature `compression`, on by default, what is longer than
/// [4 KiB](Values::compress_above) is compressed where that makes it smaller. A build without the
/// feature answers such a value with an error, [`is_unsupported`](StoreError::is_unsupported), and
/// leaves it. Compressing takes milliseconds for each megabyte, of the caller's thread.
///
/// # What cannot be read
/// A value that is none of the type asked for, because something else wrote it or the type has
/// changed since, counts as absent. It is removed, if it is still the same by then.
///
/// # Errors
/// Every method fails when the store cannot answer, and with
/// [`is_invalid_key`](StoreError::is_invalid_key) when a key is empty or longer than 512 bytes.
/// Those that take a time to live fail with
/// [`is_invalid_time_to_live`](StoreError::is_invalid_time_to_live) when it is zero. After
/// [`is_timeout`](StoreError::is_timeout) a write may have been made.
///
/// # Cancel safety
/// A write whose caller leaves may still be made, whole. A read leaves nothing behind.
///
/// # Room
/// In process, the values used least recently are forgotten when [their
/// share](crate::StoreBuilder::memory_capacity) is full, counters too. On Redis, a value that takes
/// longer than the store's [deadline](crate::StoreBuilder::deadline) to travel is an error: for
/// values of megabytes, set a longer one.
#[derive(Clone)]
pub struct Values {
    pub(super) store: Store,
    pub(super) namespace: Namespace,
    pub(super) codec: Codec,
}

impl Store {
    /// The values of a namespace. On Redis, their keys begin with the store's prefix, `value` and
    /// the namespace: `kit:value:articles:7`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let store = Store::memory();
    /// store.values("titles").set("7", "News", Duration::from_secs(60)).await?;
    /// assert_eq!(store.values("titles").get("7").await?, Some("News".to_owned()));
    /// assert_eq!(store.values("texts").get::<String>("7").await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// When `namespace` is empty, longer than 64 bytes, or has a byte other than letters, digits,
    /// `-`, `_`, `.` and `:`. It is the program's: what comes from a user belongs into keys.
    #[must_use]
    #[track_caller]
    pub fn values(&self, namespace: &str) -> Values {
        Values {
            store: self.clone(),
            namespace: Namespace::new(namespace),
            codec: Codec::default(),
        }
    }
}

impl Values {
    /// The values of one group, such as a user's cart. The keys of a group share a slot of a Redis
    /// cluster, which a [batch](Values::batch) over several of them needs; they are apart from
    /// those of other groups and of no group. A group's name follows the rules of keys.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let carts = Store::memory().values("cart");
    /// carts.grouped("user 7").set("items", &["tea"], Duration::from_secs(60)).await?;
    /// assert!(carts.grouped("user 7").exists("items").await?);
    /// assert!(!carts.grouped("user 8").exists("items").await?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn grouped(&self, group: &str) -> Values {
        Values { namespace: self.namespace.grouped(group), ..self.clone() }
    }

    /// How large a value may be, in bytes before compression: to write a larger one, and to read
    /// one, is an error. 16 MiB unless set.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let names = Store::memory().values("names").max_size(8);
    /// let error = names.set("7", "much too long", Duration::from_secs(60)).await.unwrap_err();
    /// assert!(error.is_too_large());
    /// # }
    /// ```
    ///
    /// It bounds what is written and what is unpacked. On Redis, a larger value that something else
    /// wrote travels before it is refused: asked for a part of a value, Redis answers the same of an
    /// empty one as of none.
    #[must_use]
    pub fn max_size(mut self, bytes: usize) -> Values {
        self.codec.max_size = bytes;
        self
    }

    /// From which size on values are compressed, in bytes: longer ones are, where that makes them
    /// smaller. 4 KiB unless set; `usize::MAX` compresses nothing, for values that other services
    /// read.
    #[cfg(feature = "compression")]
    #[cfg_attr(docsrs, doc(cfg(feature = "compression")))]
    #[must_use]
    pub fn compress_above(mut self, bytes: usize) -> Values {
        self.codec.compress_above = bytes;
        self
    }

    /// Stores a value for `time_to_live`, in the place of what the key had.
    ///
    /// # Errors
    /// As on [`Values`], and when the value [is too large](StoreError::is_too_large) or
    /// [cannot be JSON](StoreError::is_invalid_value).
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        time_to_live: Duration,
    ) -> Result<(), StoreError> {
        self.store_value(key, value, time_to_live, false).await.map(drop)
    }

    /// Stores a value where the key has none, and says whether it did: of concurrent callers one
    /// does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let seen = Store::memory().values("webhooks");
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// assert!(seen.set_if_absent("event 7", &true, day).await?);
    /// assert!(!seen.set_if_absent("event 7", &true, day).await?, "delivered twice");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As of [`set`](Values::set).
    pub async fn set_if_absent<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        time_to_live: Duration,
    ) -> Result<bool, StoreError> {
        self.store_value(key, value, time_to_live, true).await
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As on [`Values`], and when the value [is too large](StoreError::is_too_large).
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        Ok(self.get_many([key]).await?.pop().flatten())
    }

    /// Takes a value away and answers it: of concurrent callers one gets it. For what may be used
    /// once, such as a captcha or a code.
    ///
    /// # Errors
    /// As of [`get`](Values::get); a value that is too large is gone all the same.
    ///
    /// # Cancel safety
    /// The value may be gone when its caller left before having it, and after
    /// [`is_timeout`](StoreError::is_timeout).
    pub async fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let place = self.namespace.place(key)?;
        let Some(stored) = self.store.ask(TakeValue { place }).await? else { return Ok(None) };
        match self.codec.decode(&stored) {
            Ok(value) => Ok(Some(value)),
            Err(Unreadable::Corrupt) => Ok(None),
            Err(Unreadable::Refused(error)) => Err(error),
        }
    }

    /// Removes a value, and says whether it was there.
    ///
    /// # Errors
    /// As on [`Values`].
    pub async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        let places = vec![self.namespace.place(key)?];
        let deleted = self.store.ask(DeleteValues { places }).await?;
        deleted.into_iter().next().unwrap_or(Ok(false))
    }

    /// Whether the key has a value.
    ///
    /// # Errors
    /// As on [`Values`].
    pub async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.time_to_live(key).await?.is_some())
    }

    /// Keeps a value for `time_to_live` from now on, be that longer or shorter than before, and
    /// says whether it was there.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let drafts = Store::memory().values("drafts");
    /// drafts.set("7", "Dear", Duration::from_secs(60)).await?;
    /// assert!(drafts.expire("7", Duration::from_secs(3_600)).await?);
    /// assert!(drafts.time_to_live("7").await? > Some(Duration::from_secs(60)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As on [`Values`].
    pub async fn expire(&self, key: &str, time_to_live: Duration) -> Result<bool, StoreError> {
        let place = self.namespace.place(key)?;
        self.store.ask(ExpireValue { place, time_to_live: checked(time_to_live)? }).await
    }

    /// How long a value will be there; `None` when it is not. [`Duration::MAX`] for one that
    /// something else wrote without an end.
    ///
    /// # Errors
    /// As on [`Values`].
    pub async fn time_to_live(&self, key: &str) -> Result<Option<Duration>, StoreError> {
        self.store.ask(TimeToLive { place: self.namespace.place(key)? }).await
    }

    async fn store_value<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        time_to_live: Duration,
        if_absent: bool,
    ) -> Result<bool, StoreError> {
        let place = self.namespace.place(key)?;
        let time_to_live = checked(time_to_live)?;
        let value = self.codec.encode(value)?;
        self.store.ask(StoreValue { place, value, time_to_live, if_absent }).await
    }
}

/// A time to live that keeps something.
pub(super) fn checked(time_to_live: Duration) -> Result<Duration, StoreError> {
    if time_to_live.is_zero() {
        return Err(StoreError::new(Kind::InvalidTimeToLive));
    }
    Ok(time_to_live)
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
