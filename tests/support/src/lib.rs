//! Real parts for tests and benchmarks: private Redis servers, alone, as a cluster and watched by
//! sentinels, with what can go wrong in each; a TCP proxy that misbehaves on request; and the
//! project's own example programs.
//!
//! Everything here blocks, and is meant to be called from plain test code. Nothing outlives the
//! test process, however that ends: each child runs under a watchdog that kills it and removes its
//! folder once the test process is gone.
//!
//! ```no_run
//! let server = support::RedisServer::start();
//! let before = server.count();
//! // ... the code under test talks to `server.url()` ...
//! let cost = server.count().since(&before);
//! assert_eq!(cost.round_trips, 1);
//! ```

#![expect(clippy::disallowed_methods, reason = "tests wait in real time")]

mod acl;
mod client;
mod cluster;
mod counts;
pub mod example;
mod fault;
mod launch;
mod monitor;
mod port;
mod process;
pub mod proxy;
mod redis_server;
mod replication;
mod sentinels;
#[cfg(test)]
mod testing;
mod tls;

pub use cluster::RedisCluster;
pub use counts::Counts;
pub use example::Example;
pub use fault::Fault;
pub use monitor::Monitor;
pub use port::free_port;
pub use proxy::Proxy;
pub use redis_server::RedisServer;
pub use sentinels::{SentinelSetup, Sentinels};
pub use tls::{Certificate, TlsSetup};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks even after a panic elsewhere, so that one failed test does not fail its neighbours.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
