//! The note that one layer leaves for another: this answer is about who is asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Extensions;

/// In the request's extensions. A session marks it when the handler looks at it, and the cache
/// inside of it then does not keep the answer for everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Personal(Arc<AtomicBool>);

impl Personal {
    pub(crate) fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The request's note, put there if this is the first layer to ask.
    pub(crate) fn of(extensions: &mut Extensions) -> Personal {
        extensions.get_or_insert_default::<Personal>().clone()
    }
}
