use std::time::Duration;

use crate::policy::micros;

/// What a caller may be told about a limit. Small, as it is made and passed on at every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// It is not used up but shut: somebody is locked out.
    pub(crate) is_blocked: bool,
    /// Requests that would be allowed right now.
    pub(crate) remaining: u64,
    /// In microseconds, rounded up.
    full_after: u64,
    /// In microseconds, rounded up, or [`NEVER`].
    retry_after: u64,
}

const NEVER: u64 = u64::MAX;

impl Decision {
    /// `retry_after` is asked for where it is not allowed; all times are in microseconds.
    #[inline]
    pub(super) fn new(
        allowed: bool,
        remaining: u64,
        full_after: u64,
        retry_after: impl FnOnce() -> Option<u64>,
    ) -> Decision {
        let retry_after = if allowed { 0 } else { retry_after().unwrap_or(NEVER) };
        Decision { allowed, is_blocked: false, remaining, full_after, retry_after }
    }

    /// Nobody has looked.
    pub(crate) fn unchecked(remaining: u32) -> Decision {
        Decision::new(true, remaining.into(), 0, || None)
    }

    /// What limits that are asked together say together; of none, that it is allowed.
    pub(crate) fn of_all(decisions: impl Iterator<Item = Decision>) -> Decision {
        decisions.fold(Decision::new(true, u64::MAX, 0, || None), |all, one| Decision {
            allowed: all.allowed && one.allowed,
            is_blocked: all.is_blocked || one.is_blocked,
            remaining: all.remaining.min(one.remaining),
            full_after: all.full_after.max(one.full_after),
            // Never is the longest.
            retry_after: all.retry_after.max(one.retry_after),
        })
    }

    /// The same refusal as it is after `passed`, if nothing has happened meanwhile.
    pub(crate) fn later(self, passed: Duration) -> Decision {
        let passed = micros(passed);
        let retry_after = match self.retry_after {
            NEVER => NEVER,
            // It is one until somebody has asked again.
            wait => wait.saturating_sub(passed).max(1),
        };
        Decision { retry_after, full_after: self.full_after.saturating_sub(passed), ..self }
    }

    /// By a limit that counts in times of its own.
    pub(crate) fn local(
        allowed: bool,
        remaining: u32,
        full_after: Duration,
        retry_after: Option<Duration>,
    ) -> Decision {
        Decision::new(allowed, remaining.into(), micros(full_after), || retry_after.map(micros))
    }

    /// Shut for `wait`, for what will fit then or never does.
    pub(super) fn blocked(wait: u64, will_fit: bool) -> Decision {
        let shut = Decision::new(false, 0, wait, || will_fit.then_some(wait));
        Decision { is_blocked: true, ..shut }
    }

    /// Until the limit is as if it had never been used.
    pub(crate) fn full_after(&self) -> Duration {
        Duration::from_micros(self.full_after)
    }

    /// Until the same request would be allowed: zero when it was, `None` when it never will be,
    /// because it costs more than there ever is.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        (self.retry_after != NEVER).then(|| Duration::from_micros(self.retry_after))
    }
}
