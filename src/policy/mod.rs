//! Decides. Values in, decision out.
//!
//! Everything here is synchronous and total, and is given `now` as an argument: no async, no
//! clock, no Redis, no tower. `tests/architecture.rs` holds it to that.

pub(crate) mod breaker;
pub(crate) mod caching;
mod digest;
pub(crate) mod gcra;
mod log_id;
pub(crate) mod monitoring;
mod quota;
pub(crate) mod revocation;
pub(crate) mod session;
mod time;

pub(crate) use digest::digest;
pub use log_id::{InvalidLogId, LogId};
pub use quota::Quota;
pub(crate) use time::{Timestamp, micros};
