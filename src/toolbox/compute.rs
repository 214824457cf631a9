use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Values;
use super::values::checked;
use crate::StoreError;
use crate::store::flights::{Outcome, Role};
use crate::store::place::Place;
use crate::store::verbs::StoreValue;

impl Values {
    /// The value of a key; where there is none, what `compute` makes, stored for `time_to_live`.
    ///
    /// Of the callers in this process who miss the same key at the same time, one computes and the
    /// others wait for what it makes. Other processes compute for themselves.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), std::io::Error> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// async fn load(id: u32) -> std::io::Result<String> {
    ///     Ok(format!("article {id}"))
    /// }
    ///
    /// let articles = Store::memory().values("articles");
    /// let minute = Duration::from_secs(60);
    /// let article = articles.get_or_compute("7", minute, async || load(7).await).await?;
    /// assert_eq!(article, "article 7");
    /// let again = articles.get_or_compute("7", minute, async || load(8).await).await?;
    /// assert_eq!(again, "article 7");
    /// # Ok(()) }
    /// ```
    ///
    /// The error is `compute`'s: trouble with the store is none. While it is away, or when the key,
    /// the time to live or the value cannot be used, the value is computed and not stored, and a
    /// line in the log says why.
    ///
    /// What is deleted while it is computed may be stored after: give it a time to live that you
    /// can bear. `compute` must not ask for the same key, for which it would wait for itself.
    ///
    /// # Errors
    /// What `compute` answers. Those who waited for it then compute for themselves, at once.
    ///
    /// # Cancel safety
    /// When the caller who computes leaves, or its `compute` panics, one of those who wait takes
    /// over. One that is neither polled nor dropped keeps them waiting.
    pub async fn get_or_compute<T, E>(
        &self,
        key: &str,
        time_to_live: Duration,
        compute: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        let place = match self.namespace.place(key) {
            Ok(place) => place,
            Err(error) => {
                self.goes_on(&error);
                return compute().await;
            }
        };
        let flights = self.store.flights();
        let landed = flights.landed();
        // Of a store that does not answer, no further answer is waited for.
        let answers = match self.look_up(&place).await {
            Ok(Some((_, value))) => return Ok(value),
            Ok(None) => true,
            Err(error) => !(error.is_timeout() || error.is_unavailable() || error.is_overloaded()),
        };
        let lead = loop {
            match flights.join(&place) {
                Role::Leader(lead) => break lead,
                Role::Follower(follow) => match follow.wait().await {
                    Some(Outcome::Computed(stored)) => match self.codec.decode(&stored) {
                        Ok(value) => return Ok(value),
                        // Computed as another type.
                        Err(_) => return compute().await,
                    },
                    Some(Outcome::Failed) => return compute().await,
                    None => {}
                },
            }
        };
        // Another flight may have landed between the look-up and this one.
        if answers
            && flights.landed() != landed
            && let Ok(Some((stored, value))) = self.look_up(&place).await
        {
            lead.land(Outcome::Computed(stored));
            return Ok(value);
        }
        let computed = compute().await;
        match &computed {
            Ok(value) => {
                let place = answers.then_some(place);
                lead.land(self.keep(place, value, time_to_live).await);
            }
            Err(_) => lead.land(Outcome::Failed),
        }
        computed
    }

    async fn look_up<T: DeserializeOwned>(
        &self,
        place: &Place,
    ) -> Result<Option<(Bytes, T)>, StoreError> {
        match self.load(vec![place.clone()]).await {
            Ok(mut found) => Ok(found.pop().flatten()),
            Err(error) => {
                self.goes_on(&error);
                Err(error)
            }
        }
    }

    /// Stores what was computed, if there is a place for it, and makes it what those who wait get.
    async fn keep<T: Serialize>(
        &self,
        place: Option<Place>,
        value: &T,
        time_to_live: Duration,
    ) -> Outcome {
        let value = match self.codec.encode(value) {
            Ok(value) => value,
            Err(error) => {
                self.goes_on(&error);
                return Outcome::Failed;
            }
        };
        let Some(place) = place else { return Outcome::Computed(value) };
        let stored = match checked(time_to_live) {
            Ok(time_to_live) => {
                let value = value.clone();
                self.store.ask(StoreValue { place, value, time_to_live, if_absent: false }).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            self.goes_on(&error);
        }
        Outcome::Computed(value)
    }

    fn goes_on(&self, error: &StoreError) {
        let namespace = self.namespace.name();
        tracing::warn!(namespace, error = error.class(), "a value is computed without the store");
    }
}
