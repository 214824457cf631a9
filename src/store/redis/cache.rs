use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::command::{Command, DROP_TAGGED, PURGE, STORE_RESPONSE};
use super::session::millis;
use super::{Lane, OnRedis, Redis, Request, Unexpected, reply};
use crate::policy::caching::StoredResponse;
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::keys::{Fingerprint, Keys};
use crate::store::verbs::{
    LastPurge, LoadResponse, LoadedResponse, PURGE_MEMORY, PurgeUri, StoreResponse,
};

/// How many responses a purge drops in one round trip: a million at once would hold Redis up.
const BATCH: usize = 500;

/// The last purge of anything is only compared with itself; forgotten, the next one is later.
const LAST_PURGE_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

impl OnRedis for LoadResponse {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        Request::GetAll(vec![keys.response(&self.response), keys.last_purge()])
    }

    fn answer(reply: Value) -> Result<LoadedResponse, Unexpected> {
        let [response, last_purge] = reply::array(reply)?.map(reply::bytes);
        let response = response?.and_then(|bytes| StoredResponse::decode(bytes.into()));
        let last_purge = last_purge?
            .and_then(|digits| std::str::from_utf8(&digits).ok()?.parse().ok())
            .unwrap_or_default();
        Ok(LoadedResponse { response: response.map(Arc::new), last_purge: LastPurge(last_purge) })
    }
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
        Ok(reply::integer(&reply)? == 1)
    }
}

impl OnRedis for PurgeUri {
    fn request(&self, keys: &Keys) -> Request {
        purge(&[keys.last_purge(), keys.purged(&self.uri), keys.response(&self.uri)]).into()
    }

    fn answer(_: Value) -> Result<(), Unexpected> {
        Ok(())
    }
}

impl Redis {
    /// Marks the tag first, so that nothing made before can be stored from here on; then drops
    /// what the tag's index lists. A response and its place in the index go in one act: one that is
    /// stored anew in between keeps its place, and a purge that breaks off can be made again.
    pub(crate) async fn purge_tag(&self, tag: Fingerprint) -> Result<u64, StoreError> {
        let mark = purge(&[self.keys.last_purge(), self.keys.purged(&tag)]);
        self.call(mark, Lane::Verdict).await?;
        let index = self.keys.tagged(&tag);
        let mut dropped = 0;
        loop {
            let batch = Command::new("ZRANGE").arg(&index).arg(0).arg(BATCH - 1);
            let members = reply::list(self.call(batch, Lane::Bulk).await?).map_err(unexpected)?;
            let members: Vec<Vec<u8>> =
                members.into_iter().filter_map(|it| reply::bytes(it).ok().flatten()).collect();
            let listed = members.len();
            if listed > 0 {
                let responses = members.iter().map(|member| {
                    // What is no name of ours names nothing, and only leaves the index.
                    let name = Fingerprint::from_bytes(member).unwrap_or(tag);
                    self.keys.response(&name)
                });
                let names: Vec<String> = [index.clone()].into_iter().chain(responses).collect();
                let unlink = Command::script(&DROP_TAGGED, &names).arg(members);
                let unlinked = self.call(unlink, Lane::Bulk).await?;
                dropped += reply::count(&unlinked).map_err(unexpected)?;
            }
            if listed < BATCH {
                return Ok(dropped);
            }
        }
    }
}

fn purge(names: &[String]) -> Command {
    Command::script(&PURGE, names).arg(millis(LAST_PURGE_MEMORY)).arg(millis(PURGE_MEMORY))
}

fn unexpected(_: Unexpected) -> StoreError {
    StoreError::new(Kind::UnexpectedReply)
}
