use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a request was answered with 429; in the response's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    pub(super) limit: Arc<str>,
    pub(super) retry_after: Option<Duration>,
}

impl Limited {
    /// The name of the limit that refused.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// Until the request may be repeated; `None` when no waiting will help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit {:?} is used up", self.limit)
    }
}

impl std::error::Error for Limited {}
