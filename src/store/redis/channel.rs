use redis::Value;

use super::command::Command;
use super::{Lane, OnRedis, Redis, Request, Unexpected, reply};
use crate::store::StoreError;
use crate::store::channels::{Channels, Listener};
use crate::store::keys::Keys;
use crate::store::verbs::Publish;

impl OnRedis for Publish {
    const LANE: Lane = Lane::Bulk;

    /// On a cluster any node would do; always the same one keeps the order.
    fn request(&self, keys: &Keys) -> Request {
        Command::new("PUBLISH").arg(keys.channel(&self.channel)).arg(&self.message[..]).into()
    }

    /// How many the server knows to listen is true of one server only, and is not told.
    fn answer(reply: Value) -> Result<(), Unexpected> {
        reply::integer(&reply).map(drop)
    }
}

impl Redis {
    /// Listens to a channel: from the answer on, or, where the server does not confirm it within
    /// the deadline, from a first gap on. While the store is known to be away that is at once.
    pub(crate) async fn listen(
        &self,
        channel: &str,
        capacity: usize,
    ) -> Result<Listener, StoreError> {
        let is_up = self.health().is_up();
        self.subscriber.listen(&self.keys.channel(channel), capacity, is_up).await
    }

    pub(crate) fn channels(&self) -> &Channels {
        self.subscriber.channels()
    }
}
