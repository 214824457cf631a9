use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::values::checked;
use crate::store::place::{Namespace, Place, check_text};
use crate::store::verbs::{Leave, Touch, WhoIsPresent};
use crate::{Store, StoreError};

/// Who is present: online on a site, in a room, at work on a document.
///
/// Whoever is [touched](Presence::touch) is present for a while; who is not touched again goes by
/// itself. A handle, cheap to clone. Made by [`Store::presence`].
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::Store;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// let online = Store::memory().presence("site");
/// online.touch("ada", Duration::from_secs(60)).await?;
/// online.touch("bob", Duration::from_secs(30)).await?;
/// assert_eq!(online.count().await?, 2);
///
/// online.leave("bob").await?;
/// assert_eq!(online.list(100).await?, ["ada"]);
/// # Ok(()) }
/// ```
///
/// Names are any text of 1 to 512 bytes, and are stored as they are. Time is the store's: on Redis
/// the server's, so that processes whose clocks differ agree.
///
/// # Room
/// In process, a presence that finds no more room in
/// [its share](crate::StoreBuilder::memory_capacity) takes nobody in.
///
/// # Errors
/// Every method fails when the store cannot answer, and with
/// [`is_invalid_key`](StoreError::is_invalid_key) when a name is empty or longer than 512 bytes.
#[derive(Clone)]
pub struct Presence {
    store: Store,
    namespace: Namespace,
    place: Result<Place, StoreError>,
}

impl Store {
    /// The presence of this name. On Redis it is the sorted set `kit:presence:site`, after the
    /// store's prefix.
    ///
    /// # Panics
    /// When `name` is empty, longer than 64 bytes, or has a byte other than letters, digits, `-`,
    /// `_`, `.` and `:`. It is the program's: what comes from a user belongs into [`Presence::of`].
    #[must_use]
    #[track_caller]
    pub fn presence(&self, name: &str) -> Presence {
        let namespace = Namespace::new(name);
        Presence { store: self.clone(), place: Ok(namespace.whole()), namespace }
    }
}

impl Presence {
    /// The presence in one of many, such as a room, under the same name. What is given here follows
    /// the rules of [keys](super::Values#keys).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// let rooms = Store::memory().presence("room");
    /// rooms.of("room 7").touch("ada", Duration::from_secs(60)).await?;
    /// assert_eq!(rooms.of("room 7").count().await?, 1);
    /// assert_eq!(rooms.of("room 8").count().await?, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of(&self, what: &str) -> Presence {
        Presence { place: self.namespace.place(what), ..self.clone() }
    }

    /// Somebody is present for this long from now on, whatever was said before.
    ///
    /// # Errors
    /// As on [`Presence`]; with [`is_invalid_time_to_live`](StoreError::is_invalid_time_to_live)
    /// when `time_to_live` is zero; in process, with [`is_full`](StoreError::is_full) when there is
    /// no room.
    ///
    /// # Cancel safety
    /// A touch whose caller leaves may still be made.
    pub async fn touch(&self, who: &str, time_to_live: Duration) -> Result<(), StoreError> {
        let (presence, who) = (self.place.clone()?, name(who)?);
        self.store.ask(Touch { presence, who, time_to_live: checked(time_to_live)? }).await
    }

    /// How many are present.
    ///
    /// # Errors
    /// As on [`Presence`].
    pub async fn count(&self) -> Result<u64, StoreError> {
        let presence = self.place.clone()?;
        Ok(self.store.ask(WhoIsPresent { presence, limit: 0 }).await?.count)
    }

    /// Up to `limit` of those who are present, first those who are for longest.
    ///
    /// # Errors
    /// As on [`Presence`].
    pub async fn list(&self, limit: u64) -> Result<Vec<String>, StoreError> {
        let presence = self.place.clone()?;
        Ok(self.store.ask(WhoIsPresent { presence, limit }).await?.who)
    }

    /// Somebody is not present any more.
    ///
    /// # Errors
    /// As on [`Presence`].
    ///
    /// # Cancel safety
    /// Whoever was to leave may have left when the caller does.
    pub async fn leave(&self, who: &str) -> Result<(), StoreError> {
        let (presence, who) = (self.place.clone()?, name(who)?);
        self.store.ask(Leave { presence, who }).await
    }
}

fn name(who: &str) -> Result<Arc<str>, StoreError> {
    check_text(who, "a name is 1 to 512 bytes")?;
    Ok(who.into())
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("name", &self.namespace.name()).finish_non_exhaustive()
    }
}
