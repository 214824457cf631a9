//! Decides. Values in, decision out.
//!
//! Everything here is synchronous and total, and is given `now` as an argument: no async, no
//! clock, no Redis, no tower. `tests/architecture.rs` holds it to that.

pub(crate) mod breaker;
pub(crate) mod caching;
mod digest;
pub(crate) mod limiting;
mod log_id;
pub(crate) mod monitoring;
pub(crate) mod revocation;
pub(crate) mod session;
mod time;

pub(crate) use digest::digest;
#[cfg(feature = "time-zones")]
pub use limiting::UnknownTimeZone;
pub use limiting::{InvalidQuota, Quota};
pub use log_id::{InvalidLogId, LogId};
pub(crate) use time::{Timestamp, micros};
