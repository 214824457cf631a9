use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Subscription;
use crate::store::Kind;
use crate::store::verbs::Publish;
use crate::{Store, StoreError};

/// How many messages wait for a subscription unless set.
const BUFFER: usize = 256;

const LONGEST_NAME: usize = 256;

impl Store {
    /// Gives a message to everybody who is [subscribed](Store::subscribe) to the channel at this
    /// moment, in this process and in others on the same Redis and
    /// [prefix](crate::StoreBuilder::prefix).
    ///
    /// **At most once.** Nothing is kept for later: who is not there, or not reachable, at this
    /// moment does not get it, and learns by a [gap](super::Message::Gap) that something may have
    /// been missed. So say "order 7 has changed", and keep what must not be lost elsewhere.
    ///
    /// Messages are JSON. On Redis, channel `orders` of a store with the prefix `kit` is
    /// `kit:channel:orders`, should another program publish there; an access list has to allow
    /// `&kit:channel:*`.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::toolbox::Message;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::memory();
    /// store.publish("orders", &6).await?;
    /// let mut orders = store.subscribe::<u32>("orders").await?;
    /// store.publish("orders", &7).await?;
    /// assert_eq!(orders.next().await, Some(Message::Value(7)));
    /// # Ok(()) }
    /// ```
    ///
    /// One command on Redis; nothing is said about how many got it, since no server knows.
    ///
    /// # Errors
    /// When the store cannot answer; the message may have been published all the same after
    /// [`is_timeout`](StoreError::is_timeout). When the message cannot be JSON
    /// ([`is_invalid_value`](StoreError::is_invalid_value)). When the channel's name is empty or
    /// longer than 256 bytes ([`is_invalid_key`](StoreError::is_invalid_key)).
    ///
    /// # Cancel safety
    /// A message whose publisher leaves may still be published.
    pub async fn publish<T>(&self, channel: &str, message: &T) -> Result<(), StoreError>
    where
        T: Serialize + ?Sized,
    {
        check(channel)?;
        let message =
            serde_json::to_vec(message).map_err(|_| StoreError::new(Kind::InvalidValue))?;
        self.ask(Publish { channel: channel.into(), message: message.into() }).await
    }

    /// Subscribes to what is [published](Store::publish) on a channel from now on.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::toolbox::Message;
    ///
    /// #[derive(Serialize, Deserialize, PartialEq, Debug)]
    /// struct Order { id: u32 }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::memory();
    /// let mut orders = store.subscribe::<Order>("orders").await?;
    /// store.publish("orders", &Order { id: 7 }).await?;
    ///
    /// match orders.next().await {
    ///     Some(Message::Value(order)) => assert_eq!(order, Order { id: 7 }),
    ///     Some(Message::Gap) => println!("something may have been missed: read it all again"),
    ///     None => println!("the store has ended"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// All subscriptions of a store share one connection of their own, made for the first of them
    /// and closed after the last; the channels in it are counted, so a thousand subscriptions to
    /// one channel cost Redis one.
    ///
    /// # While Redis is away
    /// A subscription is given all the same, since it will heal by itself: it connects in the
    /// background, and begins with a [gap](super::Message::Gap) when it is in force. That is so
    /// when Redis has not confirmed the subscription within the store's
    /// [deadline](crate::StoreBuilder::deadline), and at once while it is
    /// [known](Store::health) to be away. A subscription that Redis has confirmed has missed nothing
    /// up to its first gap.
    ///
    /// # Errors
    /// Only for what does not heal by itself: Redis's access list does not allow the channel
    /// ([`is_forbidden`](StoreError::is_forbidden)), or the name is empty or longer than 256 bytes
    /// ([`is_invalid_key`](StoreError::is_invalid_key)).
    ///
    /// # Cancel safety
    /// Nothing is left.
    pub async fn subscribe<T>(&self, channel: &str) -> Result<Subscription<T>, StoreError>
    where
        T: DeserializeOwned,
    {
        check(channel)?;
        Ok(Subscription::new(self.listen(channel, BUFFER).await?))
    }

    /// Ends every subscription of this store's handles, after what has arrived, and those that are
    /// made from now on. Subscriptions also end with the last handle.
    ///
    /// For a server that shuts down gracefully: an [event stream](super::Sse) is a response that
    /// would never end, and would keep the server from ending.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::memory();
    /// let mut orders = store.subscribe::<u32>("orders").await?;
    /// store.end_subscriptions();
    /// assert_eq!(orders.next().await, None);
    /// assert_eq!(store.subscribe::<u32>("orders").await?.next().await, None);
    /// # Ok(()) }
    /// ```
    pub fn end_subscriptions(&self) {
        self.channels().end();
    }
}

fn check(channel: &str) -> Result<(), StoreError> {
    if (1..=LONGEST_NAME).contains(&channel.len()) {
        Ok(())
    } else {
        Err(StoreError::about(Kind::InvalidKey, "a channel's name is 1 to 256 bytes"))
    }
}
