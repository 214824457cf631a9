use std::time::Duration;

/// What a caller may be told about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Requests that would be allowed right now.
    pub(crate) remaining: u64,
    /// Until the limit is as if it had never been used.
    pub(crate) full_after: Duration,
    /// Until the same request would be allowed: zero when it was, `None` when it never will be,
    /// because it costs more than there ever is.
    pub(crate) retry_after: Option<Duration>,
    /// It is not used up but shut: somebody is locked out.
    pub(crate) is_blocked: bool,
}

impl Decision {
    /// Nobody has looked.
    pub(crate) fn unchecked(remaining: u32) -> Decision {
        Decision {
            allowed: true,
            remaining: remaining.into(),
            full_after: Duration::ZERO,
            retry_after: Some(Duration::ZERO),
            is_blocked: false,
        }
    }

    /// Shut for `wait`, for what will fit then or never does.
    pub(super) fn blocked(wait: Duration, will_fit: bool) -> Decision {
        Decision {
            allowed: false,
            remaining: 0,
            full_after: wait,
            retry_after: will_fit.then_some(wait),
            is_blocked: true,
        }
    }
}
