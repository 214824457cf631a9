use std::time::Duration;

use bytes::Bytes;

use super::Verb;
use crate::store::StoreError;
use crate::store::place::Place;

/// The values at these places, in their order. Absent, expired and no string at all are `None`.
#[derive(Clone, Debug)]
pub(crate) struct LoadValues {
    pub(crate) places: Vec<Place>,
}

impl Verb for LoadValues {
    const NAME: &'static str = "load_values";

    type Answer = Vec<Option<Bytes>>;
}

/// Takes a value away and answers it: of concurrent callers one gets it.
#[derive(Clone, Debug)]
pub(crate) struct TakeValue {
    pub(crate) place: Place,
}

impl Verb for TakeValue {
    const NAME: &'static str = "take_value";

    type Answer = Option<Bytes>;
}

/// Stores a value for `time_to_live`; with `if_absent` only where there is none. Answers whether it
/// was stored.
#[derive(Clone, Debug)]
pub(crate) struct StoreValue {
    pub(crate) place: Place,
    pub(crate) value: Bytes,
    pub(crate) time_to_live: Duration,
    pub(crate) if_absent: bool,
}

impl Verb for StoreValue {
    const NAME: &'static str = "store_value";

    type Answer = bool;
}

/// Stores values for `time_to_live`, each by itself; answers each in its place. Of several for one
/// place the last stays.
#[derive(Clone, Debug)]
pub(crate) struct StoreValues {
    pub(crate) values: Vec<(Place, Bytes)>,
    pub(crate) time_to_live: Duration,
}

impl Verb for StoreValues {
    const NAME: &'static str = "store_values";

    type Answer = Vec<Result<(), StoreError>>;
}

/// Removes values, each by itself; answers for each whether it was there.
#[derive(Clone, Debug)]
pub(crate) struct DeleteValues {
    pub(crate) places: Vec<Place>,
}

impl Verb for DeleteValues {
    const NAME: &'static str = "delete_values";

    type Answer = Vec<Result<bool, StoreError>>;
}

/// Removes values, each only if it is still what is given here; answers for each whether it was.
#[derive(Clone, Debug)]
pub(crate) struct DeleteValuesIf {
    pub(crate) values: Vec<(Place, Bytes)>,
}

impl Verb for DeleteValuesIf {
    const NAME: &'static str = "delete_values_if";

    type Answer = Vec<Result<bool, StoreError>>;
}

/// Keeps a value for `time_to_live` from now on; answers whether it was there.
#[derive(Clone, Debug)]
pub(crate) struct ExpireValue {
    pub(crate) place: Place,
    pub(crate) time_to_live: Duration,
}

impl Verb for ExpireValue {
    const NAME: &'static str = "expire_value";

    type Answer = bool;
}

/// How long a value will be there; `None` if it is not.
#[derive(Clone, Debug)]
pub(crate) struct TimeToLive {
    pub(crate) place: Place,
}

impl Verb for TimeToLive {
    const NAME: &'static str = "time_to_live";

    type Answer = Option<Duration>;
}

/// Adds to a counter, which begins at 0 and then ends after `time_to_live`, however often it is
/// added to. A counter is a decimal integer; `None`, and no change, where something else is stored
/// or the sum leaves the range of `i64`.
#[derive(Clone, Debug)]
pub(crate) struct Increment {
    pub(crate) place: Place,
    pub(crate) by: i64,
    pub(crate) time_to_live: Duration,
}

impl Verb for Increment {
    const NAME: &'static str = "increment";

    type Answer = Option<i64>;
}
