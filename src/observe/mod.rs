//! Tells whoever counts what happens: events of the layers at debug level in `tracing`, and, with
//! the feature `metrics`, counters and times. What there is stands in `docs/metrics.md`.
//!
//! The one place that knows of the feature. No event carries anything that a client sent: labels
//! are words of the kit, or names that the application chose.

mod event;
#[cfg(feature = "metrics")]
mod record;
#[cfg(not(feature = "metrics"))]
#[path = "silent.rs"]
mod record;

pub(crate) use self::event::{
    Cache, Limit, Session, Token, answered, blocked, cache, connected, disconnected, permit_lost,
    rate_limit, session, store_up, token,
};
pub(crate) use self::record::Call;
