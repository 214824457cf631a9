use std::time::Duration;

use super::Values;
use super::values::checked;
use crate::StoreError;
use crate::store::Kind;
use crate::store::verbs::Increment;

impl Values {
    /// Adds to a counter and answers the sum. One that is absent begins at 0 and ends after
    /// `time_to_live`, however often it is added to until then: it counts in fixed windows, of
    /// which the first addition is the beginning. `get::<i64>` reads it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let views = Store::memory().values("views");
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// assert_eq!(views.increment("article 7", 1, day).await?, 1);
    /// assert_eq!(views.increment("article 7", 2, day).await?, 3);
    /// assert_eq!(views.get("article 7").await?, Some(3));
    /// # Ok(()) }
    /// ```
    ///
    /// To limit what somebody may do, use a [rate limit](crate::rate_limit), which has no edges
    /// between windows.
    ///
    /// # Errors
    /// As on [`Values`], and [`is_not_a_counter`](StoreError::is_not_a_counter) when the key has a
    /// value that is no integer, or the sum would leave the range of `i64`.
    pub async fn increment(
        &self,
        key: &str,
        by: i64,
        time_to_live: Duration,
    ) -> Result<i64, StoreError> {
        let place = self.namespace.place(key)?;
        let sum = self.store.ask(Increment { place, by, time_to_live: checked(time_to_live)? });
        sum.await?.ok_or_else(|| StoreError::new(Kind::NotACounter))
    }
}
