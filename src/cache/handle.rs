use super::tags;
use crate::{Store, StoreError};

/// The response cache in handlers: takes out what has changed.
///
/// An extractor in axum; anywhere else, [`Cache::new`].
#[derive(Clone, Debug)]
pub struct Cache {
    store: Store,
}

impl Cache {
    /// The responses cached in `store`.
    #[must_use]
    pub fn new(store: Store) -> Cache {
        Cache { store }
    }

    /// Drops every stored response that carries this [tag](super::CacheTags), and says how many
    /// there were. What a handler is making at this moment, from what was there before, is not
    /// stored any more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use tower_redis_kit::{Store, cache::Cache};
    ///
    /// let cache = Cache::new(Store::memory());
    /// assert_eq!(cache.purge_tag("articles").await?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// On Redis it takes two round trips, and two more for every 500 responses. In process it looks
    /// at every stored response.
    ///
    /// # Errors
    /// When the store cannot answer; some of the responses may be gone then. Purge again.
    ///
    /// # Cancel safety
    /// As with an error.
    pub async fn purge_tag(&self, tag: &str) -> Result<u64, StoreError> {
        self.store.purge_tag(tags::fingerprint(tag)).await
    }
}
