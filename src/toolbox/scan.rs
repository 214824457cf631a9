use std::collections::HashSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use super::Values;
use crate::StoreError;
use crate::store::place::{Place, PlacePrefix};
use crate::store::verbs::{Cursor, DeleteValues, ScanTarget};

/// How many values go in one round trip: a million at once would hold others up.
const BATCH: usize = 500;

impl Values {
    /// The keys that begin with `prefix`, in no order, a batch at a time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let values = Store::memory().values("values");
    /// let names = [("user:7", "ada"), ("user:8", "bob"), ("order:1", "tea")];
    /// values.set_many(names, Duration::from_secs(60)).await?;
    ///
    /// let (mut users, mut keys) = (Vec::new(), values.keys_with_prefix("user:"));
    /// while let Some(batch) = keys.next().await? {
    ///     users.extend(batch);
    /// }
    /// users.sort();
    /// assert_eq!(users, ["user:7", "user:8"]);
    /// # Ok(()) }
    /// ```
    ///
    /// On Redis the server looks at every key it has, 500 in a round trip, whatever their prefix: it
    /// is for maintenance, and not for answering requests.
    #[must_use = "the keys are read by `next`"]
    pub fn keys_with_prefix(&self, prefix: &str) -> KeysWithPrefix {
        KeysWithPrefix {
            values: self.clone(),
            prefix: self.namespace.prefix(prefix),
            scanned: Vec::new(),
            cursor: Cursor::default(),
        }
    }

    /// Removes the values whose keys begin with `prefix`, and answers how many there were.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let values = Store::memory().values("values");
    /// let names = [("user:7", "ada"), ("user:8", "bob"), ("order:1", "tea")];
    /// values.set_many(names, Duration::from_secs(60)).await?;
    ///
    /// let mut progress = Vec::new();
    /// let deleted = values
    ///     .delete_prefix("user:")
    ///     .except(["user:7"])
    ///     .on_progress(|deleted| progress.push(deleted))
    ///     .await?;
    /// assert_eq!((deleted, progress), (1, vec![1]));
    /// assert!(values.exists("user:7").await? && values.exists("order:1").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// It costs what [`keys_with_prefix`](Values::keys_with_prefix) costs, and a round trip for
    /// every 500 values. What is stored while it runs may stay.
    ///
    /// # Errors
    /// When the store cannot answer, and with [`is_invalid_key`](StoreError::is_invalid_key) when
    /// the prefix is empty or longer than 256 bytes, counting `*`, `?`, `[` and `\` twice. Some of
    /// the values may be gone after an error; do it again.
    ///
    /// # Cancel safety
    /// As with an error.
    #[must_use = "nothing is deleted until it is awaited"]
    pub fn delete_prefix<'a>(&self, prefix: &str) -> DeletePrefix<'a> {
        DeletePrefix {
            keys: self.keys_with_prefix(prefix),
            except: HashSet::new(),
            on_progress: None,
        }
    }
}

/// The keys that begin with a prefix, by [`Values::keys_with_prefix`].
pub struct KeysWithPrefix {
    values: Values,
    prefix: Result<PlacePrefix, StoreError>,
    /// Those that are done.
    scanned: Vec<ScanTarget>,
    cursor: Cursor,
}

impl KeysWithPrefix {
    /// The next batch of keys, which is not empty; `None` after the last.
    ///
    /// A key that is there all the time comes at least once, and may come twice in different
    /// batches; one that comes or goes meanwhile may come or not. After a lost connection the keys
    /// of that server come anew, because another one may have taken over. On a cluster, a key whose
    /// slot is moved meanwhile, to a server that was there before, may come or not.
    ///
    /// # Errors
    /// When the store cannot answer; ask again, and it goes on. With
    /// [`is_invalid_key`](StoreError::is_invalid_key) when the prefix is empty or longer than 256
    /// bytes, counting `*`, `?`, `[` and `\` twice.
    ///
    /// # Cancel safety
    /// No key is left out: the next call goes on where this one was.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        while let Some(places) = self.next_places().await? {
            let namespace = &self.values.namespace;
            let keys: Vec<_> = places.iter().filter_map(|place| namespace.text(place)).collect();
            if !keys.is_empty() {
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }

    async fn next_places(&mut self) -> Result<Option<Vec<Place>>, StoreError> {
        let prefix = self.prefix.as_ref().map_err(StoreError::clone)?;
        let store = &self.values.store;
        // Each time: where a server has taken over from another, that one is no target any more.
        let mut targets = store.scan_targets()?.into_iter();
        let next = targets.find(|target| !self.scanned.contains(target));
        let Some(target) = next else { return Ok(None) };
        let page = store.scan_values(&target, prefix, self.cursor).await?;
        // Only now: a caller who leaves before this point comes back to the same page.
        self.cursor = page.next.unwrap_or_default();
        if page.next.is_none() {
            self.scanned.push(target);
        }
        Ok(Some(page.places))
    }
}

/// Removes the values whose keys begin with a prefix, by [`Values::delete_prefix`].
#[must_use = "nothing is deleted until it is awaited"]
pub struct DeletePrefix<'a> {
    keys: KeysWithPrefix,
    except: HashSet<Place>,
    on_progress: Option<Box<dyn FnMut(u64) + Send + 'a>>,
}

impl<'a> DeletePrefix<'a> {
    /// Leaves these keys.
    pub fn except<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> DeletePrefix<'a> {
        let namespace = &self.keys.values.namespace;
        // What cannot be a key is not among those that are deleted.
        let places = keys.into_iter().filter_map(|key| namespace.place(key.as_ref()).ok());
        self.except.extend(places);
        self
    }

    /// Calls `report` with the number of values deleted so far, whenever it has grown.
    pub fn on_progress(mut self, report: impl FnMut(u64) + Send + 'a) -> DeletePrefix<'a> {
        self.on_progress = Some(Box::new(report));
        self
    }

    async fn run(mut self) -> Result<u64, StoreError> {
        let store = self.keys.values.store.clone();
        let mut deleted = 0;
        while let Some(mut places) = self.keys.next_places().await? {
            places.retain(|place| !self.except.contains(place));
            for batch in places.chunks(BATCH) {
                let before = deleted;
                for was_there in store.ask(DeleteValues { places: batch.to_vec() }).await? {
                    deleted += u64::from(was_there?);
                }
                if let Some(report) = &mut self.on_progress
                    && deleted > before
                {
                    report(deleted);
                }
            }
        }
        Ok(deleted)
    }
}

impl<'a> IntoFuture for DeletePrefix<'a> {
    type Output = Result<u64, StoreError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for KeysWithPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeysWithPrefix").field("values", &self.values).finish_non_exhaustive()
    }
}

impl fmt::Debug for DeletePrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeletePrefix")
            .field("values", &self.keys.values)
            .field("except", &self.except.len())
            .finish_non_exhaustive()
    }
}
