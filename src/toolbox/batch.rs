use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Values;
use super::values::checked;
use crate::StoreError;
use crate::store::Kind;
use crate::store::verbs::{self, Act};

impl Values {
    /// Several acts at once: all of them or none, in one round trip, and nobody sees a part.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::toolbox::BatchOutcome::{Deleted, Stored, Sum};
    ///
    /// let hour = Duration::from_secs(3_600);
    /// let cart = Store::memory().values("cart").grouped("user 7");
    /// let outcomes = cart
    ///     .batch()
    ///     .set("items", &["tea", "cups"], hour)
    ///     .delete("draft")
    ///     .increment("version", 1, hour)
    ///     .run()
    ///     .await?;
    /// assert_eq!(outcomes, [Stored, Deleted(false), Sum(1)]);
    /// # Ok(()) }
    /// ```
    #[must_use = "nothing is done until it is run"]
    pub fn batch(&self) -> Batch {
        Batch { values: self.clone(), acts: Ok(Vec::new()) }
    }
}

/// Acts on values that are done all together, by [`Values::batch`].
///
/// The keys must be of one [group](Values::grouped), so that they are on one server of a cluster;
/// in process as well, so that what works there works everywhere. A single key needs no group.
#[must_use = "nothing is done until it is run"]
pub struct Batch {
    values: Values,
    /// Or why one of them cannot be done.
    acts: Result<Vec<Act>, StoreError>,
}

/// What became of one act of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchOutcome {
    /// The value was stored.
    Stored,
    /// The value was removed, if it was there.
    Deleted(bool),
    /// The value has a new time to live, if it was there.
    Kept(bool),
    /// The counter has this sum.
    Sum(i64),
}

impl Batch {
    /// Stores a value, as [`Values::set`].
    pub fn set<T: Serialize + ?Sized>(self, key: &str, value: &T, time_to_live: Duration) -> Batch {
        self.with(|values| {
            let (place, time_to_live) = (values.namespace.place(key)?, checked(time_to_live)?);
            let value = values.codec.encode(value)?;
            Ok([Act::Store { place, value, time_to_live, if_absent: false }])
        })
    }

    /// Removes a value, as [`Values::delete`].
    pub fn delete(self, key: &str) -> Batch {
        self.with(|values| Ok([Act::Delete { place: values.namespace.place(key)? }]))
    }

    /// Keeps a value for longer, or shorter, as [`Values::expire`].
    pub fn expire(self, key: &str, time_to_live: Duration) -> Batch {
        self.with(|values| {
            let (place, time_to_live) = (values.namespace.place(key)?, checked(time_to_live)?);
            Ok([Act::Expire { place, time_to_live }])
        })
    }

    /// Adds to a counter, as [`Values::increment`].
    pub fn increment(self, key: &str, by: i64, time_to_live: Duration) -> Batch {
        self.with(|values| {
            let (place, time_to_live) = (values.namespace.place(key)?, checked(time_to_live)?);
            let begin = Act::Store {
                place: place.clone(),
                value: "0".into(),
                time_to_live,
                if_absent: true,
            };
            Ok([begin, Act::Add { place, by }])
        })
    }

    /// Does them all, and answers what became of each, in their order.
    ///
    /// # Errors
    /// When the store cannot answer, and before anything is sent when a key, a time to live or a
    /// value cannot be used, or with [`is_ungrouped`](StoreError::is_ungrouped) when there are
    /// several keys and no group. After [`is_timeout`](StoreError::is_timeout) all may have been
    /// done, or nothing.
    ///
    /// One error leaves the others done, for Redis takes nothing back:
    /// [`is_not_a_counter`](StoreError::is_not_a_counter). Give counters keys of their own.
    ///
    /// # Cancel safety
    /// When the caller leaves, all may be done, or nothing.
    pub async fn run(self) -> Result<Vec<BatchOutcome>, StoreError> {
        let acts = self.acts?;
        let Some(first) = acts.first() else { return Ok(Vec::new()) };
        let is_one = acts.iter().all(|act| act.place() == first.place());
        if !is_one && !self.values.namespace.is_grouped() {
            return Err(StoreError::new(Kind::Ungrouped));
        }
        let replies = self.values.store.ask(verbs::Batch { acts: acts.clone() }).await?;
        let mut outcomes = Vec::with_capacity(acts.len());
        for (act, reply) in acts.iter().zip(replies) {
            let reply = reply?;
            outcomes.extend(match act {
                // The beginning of a counter is no act of the caller's.
                Act::Store { if_absent: true, .. } => None,
                Act::Store { .. } => Some(BatchOutcome::Stored),
                Act::Delete { .. } => Some(BatchOutcome::Deleted(reply == 1)),
                Act::Expire { .. } => Some(BatchOutcome::Kept(reply == 1)),
                Act::Add { .. } => Some(BatchOutcome::Sum(reply)),
            });
        }
        Ok(outcomes)
    }

    fn with<const N: usize>(
        mut self,
        more: impl FnOnce(&Values) -> Result<[Act; N], StoreError>,
    ) -> Batch {
        if let Ok(acts) = &mut self.acts {
            match more(&self.values) {
                Ok(more) => acts.extend(more),
                Err(error) => self.acts = Err(error),
            }
        }
        self
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("values", &self.values)
            .field("acts", &self.acts.as_ref().map(Vec::len))
            .finish()
    }
}
