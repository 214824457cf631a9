use std::sync::Arc;

use bytes::Bytes;

use super::Verb;

/// Gives a message to all who listen to a channel at this moment, on this store: at most once, and
/// in the order in which one caller publishes. Nobody may listen, and nothing is kept for later.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) channel: Arc<str>,
    pub(crate) message: Bytes,
}

impl Verb for Publish {
    const NAME: &'static str = "publish";

    type Answer = ();
}
