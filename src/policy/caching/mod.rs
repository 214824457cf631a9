//! What a shared cache may store and reuse, by RFC 9111.
//!
//! A sound subset: where the rules allow a choice or the input is doubtful, nothing is stored.

mod cache_control;
mod reuse;
mod storage;
mod stored;
mod vary;

pub(crate) use cache_control::CacheControl;
pub(crate) use reuse::{Lookup, is_fresh_enough, is_not_modified, lookup};
pub(crate) use storage::{Freshness, is_storable_field, storable};
pub(crate) use stored::StoredResponse;
pub(crate) use vary::Vary;
