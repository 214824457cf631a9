//! The store on Redis: `endpoint` says where, `supervisor` keeps the connection, one file per noun
//! says how each verb is spelled.

mod cache;
mod command;
mod endpoint;
mod rate_limit;
mod reply;
mod session;
mod supervisor;
mod token;

use std::sync::Arc;

pub(crate) use self::command::{Lane, Request};
pub(crate) use self::endpoint::Endpoint;
pub(crate) use self::reply::Unexpected;
use self::supervisor::Supervisor;
use super::error::Kind;
use super::health::Health;
use super::keys::Keys;
use super::verbs::Verb;
use super::{Settings, StoreError};
use crate::policy::Timestamp;

/// How a verb is spelled for Redis.
pub(crate) trait OnRedis: Verb {
    /// The connection it takes.
    const LANE: Lane = Lane::Verdict;

    fn request(&self, keys: &Keys) -> Request;

    /// Reads the reply to `request`.
    fn answer(reply: redis::Value) -> Result<Self::Answer, Unexpected>;
}

#[derive(Debug)]
pub(crate) struct Redis {
    keys: Keys,
    supervisor: Supervisor,
}

impl Redis {
    pub(crate) async fn connect(url: &str, settings: &Settings) -> Result<Redis, StoreError> {
        let keys = Keys::new(&settings.prefix);
        let endpoint = Endpoint::new(url, keys.probe())?;
        let supervisor = Supervisor::start(endpoint, settings).await?;
        Ok(Redis { keys, supervisor })
    }

    pub(crate) fn connect_lazy(url: &str, settings: &Settings) -> Result<Redis, StoreError> {
        let keys = Keys::new(&settings.prefix);
        let endpoint = Endpoint::new(url, keys.probe())?;
        let supervisor = Supervisor::start_lazy(endpoint, settings);
        Ok(Redis { keys, supervisor })
    }

    pub(crate) async fn ask<V: OnRedis>(
        self: Arc<Redis>,
        verb: V,
    ) -> Result<V::Answer, StoreError> {
        let reply = self.call(verb.request(&self.keys), V::LANE).await?;
        V::answer(reply).map_err(|Unexpected| StoreError::new(Kind::UnexpectedReply))
    }

    /// Sends a request, within the deadline.
    async fn call(
        &self,
        request: impl Into<Request>,
        _lane: Lane,
    ) -> Result<redis::Value, StoreError> {
        self.supervisor.call(request.into()).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.supervisor.now()
    }

    pub(crate) fn health(&self) -> Health {
        self.supervisor.health()
    }
}
