use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::command::{Command, KEEP_RESPONSE, LIST_RESPONSE, PURGE, STORE_RESPONSE, millis};
use super::{Lane, OnRedis, Redis, Request, Unexpected, reply};
use crate::policy::caching::StoredResponse;
use crate::store::StoreError;
use crate::store::keys::{Fingerprint, Keys};
use crate::store::verbs::{
    LastPurge, LoadResponse, LoadedResponse, PURGE_MEMORY, PurgeUri, StoreResponse,
};

/// How many responses a purge drops in one round trip: a million at once would hold Redis up.
const BATCH: usize = 500;

/// The last purge of anything is only compared with itself; forgotten, the next one is later.
const LAST_PURGE_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a response may wait for its tags to list it.
const UNCONFIRMED: Duration = Duration::from_secs(5);

impl OnRedis for LoadResponse {
    const LANE: Lane = Lane::Bulk;

    /// A stored response is a little old anyway. An older last purge only keeps more from being
    /// stored.
    const FROM_REPLICA: bool = true;

    fn request(&self, keys: &Keys) -> Request {
        Request::GetAll(vec![keys.response(&self.response), keys.last_purge()])
    }

    fn answer(reply: Value) -> Result<LoadedResponse, Unexpected> {
        let [response, last_purge] = reply::array(reply)?;
        let response =
            reply::bytes(response)?.and_then(|bytes| StoredResponse::decode(bytes.into()));
        let last_purge = purge_number(last_purge)?;
        Ok(LoadedResponse { response: response.map(Arc::new), last_purge })
    }
}

/// What was never purged, or is unreadable, has the first number of all.
fn purge_number(reply: Value) -> Result<LastPurge, Unexpected> {
    let number = reply::bytes(reply)?.and_then(|digits| reply::parsed(&digits));
    Ok(LastPurge(number.unwrap_or_default()))
}

impl OnRedis for StoreResponse {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let mut names = vec![keys.response(&self.response), keys.purged(&self.uri)];
        for tag in &self.tags {
            names.extend([keys.tagged(tag), keys.purged(tag)]);
        }
        Command::script(&STORE_RESPONSE, &names)
            .arg(self.stored.encode())
            .arg(millis(self.stored.freshness.time_to_live()))
            .arg(self.seen.0)
            .arg(self.response.as_bytes())
            .into()
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }

    /// The response waits where no look-up finds it; its tags take it into their indexes, each
    /// unless it was purged; then it takes its place. A purge drops what waits as well: so it
    /// either finds it listed, or was there before and is seen. Where this breaks off, what waits
    /// goes by itself.
    async fn on_cluster(self, redis: &Redis) -> Result<bool, StoreError> {
        let keys = &redis.keys;
        let pending = keys.pending(&self.response);
        let time_to_live = self.stored.freshness.time_to_live();
        let encoded = self.stored.encode();
        let head = &encoded[..encoded.len() - self.stored.body.len()];
        let wait = Command::set(&pending, &encoded, time_to_live.min(UNCONFIRMED));
        redis.call(wait, Lane::Bulk).await?;
        let list = |tag| {
            Command::script(&LIST_RESPONSE, &[keys.tagged(tag), keys.purged(tag)])
                .arg(millis(time_to_live))
                .arg(self.seen.0)
                .arg(self.response.as_bytes())
        };
        let uri = Command::script(&LIST_RESPONSE, &[keys.purged(&self.uri)])
            .arg(0)
            .arg(self.seen.0)
            .arg("");
        let all = self.tags.iter().map(list).chain([uri]).collect();
        let mut kept = true;
        for listed in reply::all(redis.call(Request::Together(all), Lane::Verdict).await?)? {
            kept &= reply::is_one(&listed)?;
        }
        if !kept {
            redis.call(Command::new("UNLINK").arg(pending), Lane::Verdict).await?;
            return Ok(false);
        }
        // Another one may wait in its place by now, which nobody has listed yet, or ever will.
        let keep = Command::script(&KEEP_RESPONSE, &[pending, keys.response(&self.response)])
            .arg(millis(time_to_live))
            .arg(head);
        Ok(reply::is_one(&redis.call(keep, Lane::Verdict).await?)?)
    }
}

impl OnRedis for PurgeUri {
    fn request(&self, keys: &Keys) -> Request {
        purge(&[keys.last_purge(), keys.purged(&self.uri), keys.response(&self.uri)]).into()
    }

    fn answer(_: Value) -> Result<(), Unexpected> {
        Ok(())
    }

    async fn on_cluster(self, redis: &Redis) -> Result<(), StoreError> {
        let mark = redis.mark(&self.uri).await?;
        let unlink = redis.unlink(&self.uri);
        // In one slot, so one after the other.
        let both = Request::Together(vec![mark, unlink]);
        reply::all(redis.call(both, Lane::Verdict).await?).map(drop)
    }
}

impl Redis {
    /// Drops a response, and on a cluster what waits to take its place.
    fn unlink(&self, response: &Fingerprint) -> Command {
        let unlink = Command::new("UNLINK").arg(self.keys.response(response));
        if self.is_cluster() { unlink.arg(self.keys.pending(response)) } else { unlink }
    }

    /// Numbers a purge on a cluster, and gives the command that marks what is purged with it.
    async fn mark(&self, what: &Fingerprint) -> Result<Command, StoreError> {
        let number = self.call(purge(&[self.keys.last_purge()]), Lane::Verdict).await?;
        Ok(Command::script(&PURGE, &[self.keys.purged(what)])
            .arg(millis(PURGE_MEMORY))
            .arg(millis(PURGE_MEMORY))
            .arg(reply::count(&number)?))
    }

    /// Marks the tag first, so that nothing made before can be stored from here on; then takes its
    /// index away and drops what that lists. What is stored anew goes into a new index, and a purge
    /// that broke off is ended by the next.
    pub(crate) async fn purge_tag(&self, tag: Fingerprint) -> Result<u64, StoreError> {
        let mark = if self.is_cluster() {
            self.mark(&tag).await?
        } else {
            purge(&[self.keys.last_purge(), self.keys.purged(&tag)])
        };
        let dropping = self.keys.dropping(&tag);
        let take = Command::new("RENAMENX").arg(self.keys.tagged(&tag)).arg(&dropping);
        let list = Command::new("ZRANGE").arg(&dropping).arg(0).arg(BATCH - 1);
        // One key's name is in all of these: they are in one slot, so one comes after the other.
        let all = Request::Together(vec![mark, take.clone(), list.clone()]);
        let [marked, taken, listed] = reply::array(self.call(all, Lane::Verdict).await?)?;
        reply::extracted(marked)?;
        let mut dropped = self.drop_listed(&dropping, &list, listed).await?;
        // Another purge's rest was in the way.
        if taken == Value::Int(0) {
            let all = Request::Together(vec![take, list.clone()]);
            // An index that is not there is an error, and leaves nothing to list.
            let [_, listed] = reply::array(self.call(all, Lane::Verdict).await?)?;
            dropped += self.drop_listed(&dropping, &list, listed).await?;
        }
        Ok(dropped)
    }

    /// A response leaves the list after it is gone: what is listed can be dropped again.
    async fn drop_listed(
        &self,
        key: &str,
        list: &Command,
        mut listed: Value,
    ) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let members = reply::list(reply::extracted(listed)?)?;
            let members: Vec<Vec<u8>> =
                members.into_iter().filter_map(|it| reply::bytes(it).ok().flatten()).collect();
            if members.is_empty() {
                return Ok(dropped);
            }
            // What is no name of ours names nothing, and only leaves the list.
            let names = members.iter().filter_map(|member| Fingerprint::from_bytes(member));
            let unlink = Request::Together(names.map(|name| self.unlink(&name)).collect());
            for unlinked in reply::all(self.call(unlink, Lane::Bulk).await?)? {
                dropped += reply::count(&unlinked)?;
            }
            let forget = Command::new("ZREM").arg(key).arg(&members);
            let both = Request::Together(vec![forget, list.clone()]);
            let mut replies = reply::all(self.call(both, Lane::Bulk).await?)?;
            listed = replies.pop().ok_or(Unexpected)?;
        }
    }
}

fn purge(names: &[String]) -> Command {
    Command::script(&PURGE, names).arg(millis(LAST_PURGE_MEMORY)).arg(millis(PURGE_MEMORY))
}
