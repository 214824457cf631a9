use std::sync::Arc;
use std::time::Duration;

use super::Verb;
use crate::store::place::Place;

/// Notes that somebody is present for this long from now on, whatever was noted before.
#[derive(Clone)]
pub(crate) struct Touch {
    pub(crate) presence: Place,
    pub(crate) who: Arc<str>,
    pub(crate) time_to_live: Duration,
}

impl Verb for Touch {
    const NAME: &'static str = "touch_presence";

    type Answer = ();
}

/// How many are present, and up to `limit` of them: first those who are for longest, and of several
/// until the same millisecond the last by name.
#[derive(Clone, Debug)]
pub(crate) struct WhoIsPresent {
    pub(crate) presence: Place,
    pub(crate) limit: u64,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) count: u64,
    pub(crate) who: Vec<String>,
}

impl Verb for WhoIsPresent {
    const NAME: &'static str = "who_is_present";

    type Answer = Present;
}

/// Somebody is not present any more. Whoever was not is so already.
#[derive(Clone)]
pub(crate) struct Leave {
    pub(crate) presence: Place,
    pub(crate) who: Arc<str>,
}

impl Verb for Leave {
    const NAME: &'static str = "leave_presence";

    type Answer = ();
}
