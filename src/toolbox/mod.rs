//! The store in handlers and in the background: what the layers do not do by themselves.
//!
//! Everything begins at the [`Store`](crate::Store), in process and on Redis alike:
//!
//! | entry | gives | for |
//! |---|---|---|
//! | [`store.values("articles")`](crate::Store::values) | [`Values`] | caches, counters, one-time codes |
//! | [`store.lock("report")`](crate::Store::lock) | [`Lock`], [`Lease`] | what one of many processes does |
//! | [`store.log("audit")`](crate::Store::log) | [`Log`] | audit logs, histories; with a [`Consumer`], queues |
//! | [`store.publish("orders", &order)`](crate::Store::publish), [`store.subscribe("orders")`](crate::Store::subscribe) | [`Subscription`], [`Sse`] | messages to whoever is there, in every process and in browsers |
//! | [`store.limiter("mail", quota)`](crate::Store::limiter) | [`Limiter`](crate::rate_limit::Limiter) | limits in code: log-ins, mails, budgets; blocks and resets |
//! | [`store.presence("site")`](crate::Store::presence) | [`Presence`] | who is online |
//!
//! ```
//! use std::time::Duration;
//! use serde::{Deserialize, Serialize};
//! use tower_redis_kit::Store;
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Article { title: String }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_redis_kit::StoreError> {
//! let store = Store::from_env().await?;
//! let articles = store.values("articles");
//! let article = Article { title: "News".to_owned() };
//! articles.set("7", &article, Duration::from_secs(60)).await?;
//! assert_eq!(articles.get("7").await?, Some(article));
//! # Ok(()) }
//! ```
//!
//! # What is kept has an end
//! No key is without a time to live, and no call without one takes what it keeps for granted. Give
//! Redis a policy of `noeviction`, or what is kept may go before its end.
//!
//! # When Redis is away
//! Every call fails at once, or within the store's [deadline](crate::StoreBuilder::deadline), with
//! a [`StoreError`](crate::StoreError); the exceptions say so. None is repeated: a write that timed
//! out may have been made.

mod batch;
mod channel;
mod codec;
mod compute;
mod consumer;
mod counters;
mod lease;
mod lock;
mod log;
mod many;
mod plain;
mod presence;
mod response;
mod scan;
mod sse;
mod subscription;
mod values;

pub use self::batch::{Batch, BatchOutcome};
#[cfg(fuzzing)]
pub(crate) use self::codec::fuzz as fuzz_codec;
pub use self::consumer::Consumer;
pub use self::lease::Lease;
pub use self::lock::Lock;
pub use self::log::Log;
pub use self::presence::Presence;
pub use self::scan::{DeletePrefix, KeysWithPrefix};
pub use self::sse::Sse;
pub use self::subscription::{Message, Subscription};
pub use self::values::Values;
pub use crate::policy::{InvalidLogId, LogId};
