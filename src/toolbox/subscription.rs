use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sse;
use crate::store::Delivery;
use crate::store::channels::Listener;

/// What is published on a channel, as it arrives: made by
/// [`Store::subscribe`](crate::Store::subscribe).
///
/// A [`Stream`] of [`Message`]s, and [`next`](Subscription::next) for those who need no more than
/// that. It ends (`None`) with the last handle of its store, or with
/// [`Store::end_subscriptions`](crate::Store::end_subscriptions); nothing else ends it. Dropping it
/// unsubscribes.
///
/// ```
/// use tower_redis_kit::Store;
/// use tower_redis_kit::toolbox::Message;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
/// let store = Store::memory();
/// let mut slow = store.subscribe::<u32>("orders").await?.buffer(2);
/// for order in 1..=3 {
///     store.publish("orders", &order).await?;
/// }
/// // What did not fit is one gap.
/// assert_eq!(slow.next().await, Some(Message::Gap));
/// assert_eq!(slow.next().await, Some(Message::Value(3)));
/// drop(store);
/// assert_eq!(slow.next().await, None);
/// # Ok(()) }
/// ```
#[must_use = "a subscription that is dropped ends"]
pub struct Subscription<T> {
    listener: Listener,
    has_warned: bool,
    values: PhantomData<fn() -> T>,
}

/// What a [`Subscription`] gives.
///
/// There are no further cases to come, so that a `match` has to think of the gap and no wildcard
/// hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<T> {
    /// A published message.
    Value(T),
    /// Something may have been missed at this point: whoever follows a state reads it again from
    /// where it is kept. Everything that was missed was published before this is given.
    ///
    /// - The connection to Redis was lost, and is there again.
    /// - More messages arrived than the subscription's [buffer](Subscription::buffer) holds: what
    ///   waited was dropped.
    /// - A message could not be read: it is no JSON, or not of this type. The first one of a
    ///   subscription is noted in the log, without what it holds.
    Gap,
}

impl<T> Subscription<T> {
    pub(super) fn new(listener: Listener) -> Subscription<T> {
        Subscription { listener, has_warned: false, values: PhantomData }
    }

    /// How many messages wait at most for this subscription to take them. 256 unless set, and never
    /// more than 4 MiB of them, or one.
    ///
    /// When one more arrives, all that wait are dropped, for one [gap](Message::Gap). So who is
    /// slow keeps nobody else waiting and no memory, and catches up.
    ///
    /// # Panics
    /// When it is zero.
    pub fn buffer(self, messages: usize) -> Subscription<T> {
        assert!(messages > 0, "without a buffer no message arrives");
        self.listener.set_capacity(messages);
        self
    }
}

impl<T: DeserializeOwned> Subscription<T> {
    /// The next message; `None` when the store has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not given waits.
    pub async fn next(&mut self) -> Option<Message<T>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The same as a response body that a browser's `EventSource` reads: see [`Sse`].
    pub fn into_sse(self) -> Sse
    where
        T: Serialize,
    {
        Sse::new::<T>(self.listener)
    }
}

/// Ends with the store.
impl<T: DeserializeOwned> Stream for Subscription<T> {
    type Item = Message<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message<T>>> {
        let subscription = self.get_mut();
        let delivery = subscription.listener.poll_next(cx);
        delivery.map(|delivery| delivery.map(|it| read(it, &mut subscription.has_warned)))
    }
}

/// What is delivered, as a message of its type. The first that cannot be read is noted in the log.
pub(super) fn read<T: DeserializeOwned>(delivery: Delivery, has_warned: &mut bool) -> Message<T> {
    let Delivery::Message(message) = delivery else { return Message::Gap };
    match serde_json::from_slice(&message) {
        Ok(value) => Message::Value(value),
        Err(error) => {
            if !std::mem::replace(has_warned, true) {
                // Never the error itself: its text may quote the message.
                let (what, column) = (error.classify(), error.column());
                tracing::warn!(?what, column, "a message could not be read: a gap");
            }
            Message::Gap
        }
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
