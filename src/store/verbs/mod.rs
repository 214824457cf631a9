//! What can be asked of a store, as values: one file per noun.
//!
//! A verb is made by a layer's *plan*, travels to the store, and its answer is what *apply* works
//! on. Being values, several verbs can travel together. Each says here what it means on every
//! backend; `contract/` holds the backends to it.

mod batch;
mod cache;
mod channel;
mod consumer;
mod lock;
mod log;
mod monitoring;
mod permit;
mod presence;
mod rate_limit;
mod scan;
mod session;
mod token;
mod values;

pub(crate) use self::batch::*;
pub(crate) use self::cache::*;
pub(crate) use self::channel::*;
pub(crate) use self::consumer::*;
pub(crate) use self::lock::*;
pub(crate) use self::log::*;
pub(crate) use self::monitoring::*;
pub(crate) use self::permit::*;
pub(crate) use self::presence::*;
pub(crate) use self::rate_limit::*;
pub(crate) use self::scan::*;
pub(crate) use self::session::*;
pub(crate) use self::token::*;
pub(crate) use self::values::*;

pub(crate) trait Verb {
    /// What it is counted as.
    const NAME: &'static str;

    type Answer: Send + 'static;
}
