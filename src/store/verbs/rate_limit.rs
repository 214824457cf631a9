use std::sync::Arc;

use super::Verb;
use crate::policy::gcra::{Gcra, Taken};
use crate::store::keys::Subject;

/// Takes `cost` from a limit if it fits, atomically: of any number of concurrent callers just as
/// many are allowed as the quota says. An absent, expired or malformed state counts as unused.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    pub(crate) name: Arc<str>,
    pub(crate) subject: Subject,
    pub(crate) gcra: Gcra,
    pub(crate) cost: u32,
}

impl Verb for Take {
    const NAME: &'static str = "take";

    type Answer = Taken;
}
