use std::time::Duration;

use bytes::Bytes;

use super::Verb;
use crate::store::StoreError;
use crate::store::place::Place;

/// Several acts on places in one cluster slot, all of them or none, and nothing of others in
/// between. Answers each in its place, with 1 or 0 for whether it did something, or the sum.
///
/// An addition to what is no counter is an error in its place and changes nothing, while the other
/// acts are done: Redis takes nothing back.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) acts: Vec<Act>,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Store {
        place: Place,
        value: Bytes,
        time_to_live: Duration,
        if_absent: bool,
    },
    Delete {
        place: Place,
    },
    Expire {
        place: Place,
        time_to_live: Duration,
    },
    /// To a counter that the act before has stored if it was absent, so that it has an end.
    Add {
        place: Place,
        by: i64,
    },
}

impl Act {
    pub(crate) fn place(&self) -> &Place {
        match self {
            Act::Store { place, .. }
            | Act::Delete { place }
            | Act::Expire { place, .. }
            | Act::Add { place, .. } => place,
        }
    }
}

impl Verb for Batch {
    const NAME: &'static str = "batch";

    type Answer = Vec<Result<i64, StoreError>>;
}
