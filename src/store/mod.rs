//! Remembers. Verbs in, answers out.
//!
//! [`Store`] is the handle that layers and handlers hold. `verbs` says what can be asked, `memory`
//! and `redis` each say how; `keys` spells every key once, `place` what handlers name in them.
//! `url` and `environment` each say where Redis is, which is a `target`. `channels` is who listens
//! in this process, `permits` what this process holds of semaphores, `returns` what of that it has
//! yet to give back, `local` what limits count here while the store cannot answer.

mod alarm;
mod asking;
mod builder;
pub(crate) mod channels;
#[cfg(test)]
mod contract;
mod environment;
mod error;
pub(crate) mod flights;
mod handle;
mod health;
#[cfg(test)]
mod histories;
pub(crate) mod keys;
mod life;
pub(crate) mod limit_at;
pub(crate) mod local;
mod mailbox;
mod memory;
pub(crate) mod permits;
pub(crate) mod place;
mod portable;
mod redis;
mod returns;
mod target;
pub(crate) mod turns;
#[cfg(test)]
mod two_limits;
mod under_way;
mod url;
pub(crate) mod verbs;

pub(crate) use self::asking::Asking;
pub(crate) use self::builder::Settings;
pub use self::builder::StoreBuilder;
#[cfg(fuzzing)]
pub(crate) use self::environment::fuzz as fuzz_environment;
pub(crate) use self::error::Kind;
pub use self::error::StoreError;
pub use self::handle::Store;
pub use self::health::{Health, HealthWatch};
pub(crate) use self::life::Running;
pub(crate) use self::mailbox::Delivery;
pub(crate) use self::portable::Portable;
#[cfg(fuzzing)]
pub(crate) use self::redis::fuzz_info;
pub(crate) use self::under_way::Counted;
#[cfg(fuzzing)]
pub(crate) use self::url::fuzz as fuzz_url;
