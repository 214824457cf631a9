//! What the columns of the concurrency limit hold: one request is under way from each that the store
//! admits to the next, so that a fault meets a permit that is held.

use std::sync::Mutex;

use axum::body::Body;
use http::Response;
use support::RedisServer;
use tower_redis_kit::rate_limit::{ConcurrencyLimitLayer, Fallback, Header};

use crate::columns::LEASE;

const PERMITS: u32 = 1_000;

/// Permits of other processes, by which the store's count differs from that of this process.
const OTHERS: u64 = 500;

pub(crate) fn layer(fallback: Fallback) -> ConcurrencyLimitLayer {
    let limit = ConcurrencyLimitLayer::new("exports", PERMITS, Header::new("x-api-key"));
    limit.lease(LEASE).fallback(fallback)
}

/// A response whose body nobody reads.
#[derive(Default)]
pub(crate) struct UnderWay(Mutex<Option<Response<Body>>>);

impl UnderWay {
    /// In the place of the one before, which ends.
    pub(crate) fn keep(&self, response: Response<Body>) {
        *self.0.lock().unwrap() = Some(response);
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.lock().unwrap().is_some().into()
    }
}

/// Their leases are long, and so is the key's life.
pub(crate) fn add_others(server: &RedisServer, key: &str) {
    let script = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], '9e15', i) end \
                  return redis.call('PEXPIRE', KEYS[1], 86400000)";
    server.command(&["EVAL", script, "1", key, &OTHERS.to_string()]);
}

/// How many permits are held by us, or were taken for us without an answer.
pub(crate) fn held(server: &RedisServer, key: &str) -> u64 {
    let now = format!("({}", micros(server));
    server.query::<u64>(&["ZCOUNT", key, &now, "+inf"]) - OTHERS
}

/// The server's clock.
pub(crate) fn micros(server: &RedisServer) -> u64 {
    let time: Vec<u64> = server.query(&["TIME"]);
    time[0] * 1_000_000 + time[1]
}
