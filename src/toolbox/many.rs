use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Values;
use super::codec::Unreadable;
use super::values::checked;
use crate::StoreError;
use crate::store::place::Place;
use crate::store::verbs::{DeleteValuesIf, LoadValues, StoreValues};

impl Values {
    /// Stores several values for `time_to_live`, in one round trip. Each is stored by itself; for
    /// all or nothing, use a [batch](Values::batch). Nothing is stored when a key or a value cannot
    /// be.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let titles = Store::memory().values("titles");
    /// titles.set_many([("1", "One"), ("2", "Two")], Duration::from_secs(60)).await?;
    /// let all: Vec<Option<String>> = titles.get_many(["2", "3"]).await?;
    /// assert_eq!(all, [Some("Two".to_owned()), None]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As of [`set`](Values::set). Where the store refused one of several, the others may be
    /// stored.
    pub async fn set_many<K: AsRef<str>, T: Serialize>(
        &self,
        values: impl IntoIterator<Item = (K, T)>,
        time_to_live: Duration,
    ) -> Result<(), StoreError> {
        let time_to_live = checked(time_to_live)?;
        let encode = |(key, value): (K, T)| {
            Ok((self.namespace.place(key.as_ref())?, self.codec.encode(&value)?))
        };
        let values: Vec<_> = values.into_iter().map(encode).collect::<Result<_, StoreError>>()?;
        if values.is_empty() {
            return Ok(());
        }
        let stored = self.store.ask(StoreValues { values, time_to_live }).await?;
        stored.into_iter().collect()
    }

    /// The values of several keys, in their order, in one round trip.
    ///
    /// # Errors
    /// As of [`get`](Values::get).
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        let places = keys.into_iter().map(|key| self.namespace.place(key.as_ref()));
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let found = self.load(places).await?;
        Ok(found.into_iter().map(|found| Some(found?.1)).collect())
    }

    /// The values at these places, as they are stored and as they are read. What cannot be read is
    /// removed.
    pub(super) async fn load<T: DeserializeOwned>(
        &self,
        places: Vec<Place>,
    ) -> Result<Vec<Option<(Bytes, T)>>, StoreError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.ask(LoadValues { places: places.clone() }).await?;
        let (mut read, mut corrupt) = (Vec::with_capacity(found.len()), Vec::new());
        for (place, stored) in places.into_iter().zip(found) {
            let decoded = stored.map(|stored| (self.codec.decode(&stored), stored));
            read.push(match decoded {
                None => None,
                Some((Ok(value), stored)) => Some((stored, value)),
                Some((Err(Unreadable::Corrupt), stored)) => {
                    corrupt.push((place, stored));
                    None
                }
                Some((Err(Unreadable::Refused(error)), _)) => return Err(error),
            });
        }
        if !corrupt.is_empty() {
            let namespace = self.namespace.name();
            tracing::warn!(namespace, number = corrupt.len(), "stored values cannot be read");
            // The next reader removes them otherwise.
            let _ = self.store.ask(DeleteValuesIf { values: corrupt }).await;
        }
        Ok(read)
    }
}
