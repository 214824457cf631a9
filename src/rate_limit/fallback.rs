use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;

use crate::policy::Quota;
use crate::policy::gcra::Decision;
use crate::store::keys::Subject;

/// What a limit does while the store cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Goes on in this process, with the same quota for what this process serves.
    #[default]
    Local,
    /// Lets every request pass.
    Allow,
    /// Answers 503 with `Retry-After`. Never 429: the caller has done nothing.
    Refuse,
}

/// The limit of this process, by governor.
pub(super) struct Local {
    limiter: Governor,
    clock: DefaultClock,
    /// The time that one request is worth.
    each: Duration,
    burst: NonZeroU32,
    checks: AtomicUsize,
    full: AtomicBool,
    hasher: RandomState,
}

type Governor = RateLimiter<
    LocalKey,
    DefaultKeyedStateStore<LocalKey>,
    DefaultClock,
    StateInformationMiddleware,
>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum LocalKey {
    One(Subject),
    /// Beyond the cap, callers share a key with others: stricter, but bounded.
    Several(u64),
}

const CAP: usize = 100_000;
const SHARED_KEYS: u64 = 4_096;
/// Counting the callers locks all of them, so it is done now and then.
const CHECKS_BETWEEN_COUNTS: usize = 256;
const CHECKS_BETWEEN_SWEEPS: usize = 4_096;

impl Local {
    pub(super) fn new(quota: Quota) -> Local {
        // Rounded up: never more generous than the shared limit.
        let nanos = quota.period().as_nanos().div_ceil(u128::from(quota.limit())).max(1);
        let each = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let burst = NonZeroU32::new(quota.burst_size()).unwrap_or(NonZeroU32::MIN);
        let rate = governor::Quota::with_period(each).expect("at least a nanosecond");
        Local {
            limiter: RateLimiter::keyed(rate.allow_burst(burst)).with_middleware(),
            clock: DefaultClock::default(),
            each,
            burst,
            checks: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn take(&self, subject: Subject) -> Decision {
        let checks = self.checks.fetch_add(1, Ordering::Relaxed);
        if checks.is_multiple_of(CHECKS_BETWEEN_SWEEPS) && self.limiter.len() > CAP / 2 {
            self.limiter.retain_recent();
        }
        if checks.is_multiple_of(CHECKS_BETWEEN_COUNTS) {
            self.full.store(self.limiter.len() >= CAP, Ordering::Relaxed);
        }
        let key = if self.full.load(Ordering::Relaxed) {
            LocalKey::Several(self.hasher.hash_one(subject) % SHARED_KEYS)
        } else {
            LocalKey::One(subject)
        };
        let (allowed, remaining, wait) = match self.limiter.check_key(&key) {
            Ok(state) => (true, state.remaining_burst_capacity(), Duration::ZERO),
            Err(not_until) => (false, 0, not_until.wait_time_from(self.clock.now())),
        };
        let full_after = self.each.saturating_mul(self.burst.get().saturating_sub(remaining));
        Decision { allowed, remaining, full_after, retry_after: Some(wait) }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("callers", &self.limiter.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn it_admits_what_the_quota_says() {
        let local = Local::new(Quota::per_hour(3));
        let one = Subject::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!([true, true, true, false], [0; 4].map(|_| local.take(one).allowed));
    }

    #[test]
    fn a_flood_of_callers_is_bounded_and_still_limited() {
        let local = Local::new(Quota::per_day(1));
        for caller in 0..200_000u32 {
            local.take(Subject::Address(IpAddr::V4(caller.into())));
        }
        assert!(local.limiter.len() <= CAP + CHECKS_BETWEEN_COUNTS + SHARED_KEYS as usize);
        let late = Subject::Address(IpAddr::V4(Ipv4Addr::BROADCAST));
        local.take(late);
        assert!(!local.take(late).allowed);
    }
}
