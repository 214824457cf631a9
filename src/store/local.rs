//! What limits count in this process, for as long as the store cannot answer.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;

use super::Store;
use super::keys::Subject;
use crate::policy::Quota;
use crate::policy::limiting::Decision;

/// Those of one store. Whoever names the same limit, a layer or code that makes a limiter for one
/// request, counts in the same.
///
/// A name may come from a request, against all advice: beyond [`MOST`], the one that was used
/// longest ago goes, and begins anew if it is used again.
#[derive(Default)]
pub(super) struct Locals {
    state: Mutex<State>,
    room: Arc<Room>,
}

#[derive(Default)]
struct State {
    limits: HashMap<(Arc<str>, Quota), Used>,
    uses: u64,
}

struct Used {
    limit: Arc<Local>,
    /// The number of its last use.
    last: u64,
}

const MOST: usize = 1_024;

/// How many callers each of them tells apart.
struct Room(AtomicUsize);

impl Room {
    /// All of them together have some hundred MiB.
    fn share(&self, limits: usize) {
        self.0.store((16 * CAP / limits.max(1)).min(CAP), Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Room {
    fn default() -> Room {
        Room(AtomicUsize::new(CAP))
    }
}

impl Locals {
    fn get(&self, name: &Arc<str>, quota: Quota) -> Arc<Local> {
        let name = (name.clone(), quota);
        let mut state = self.state();
        state.uses += 1;
        let last = state.uses;
        if let Some(known) = state.limits.get_mut(&name) {
            known.last = last;
            return known.limit.clone();
        }
        let gone = state.make_room();
        let limit = Arc::new(Local::new(quota, self.room.clone()));
        state.limits.insert(name, Used { limit: limit.clone(), last });
        self.room.share(state.limits.len());
        drop(state);
        // It may have many callers: nobody waits while they are forgotten.
        drop(gone);
        limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_room(&mut self) -> Option<Used> {
        if self.limits.len() < MOST {
            return None;
        }
        let oldest = self.limits.iter().min_by_key(|(_, used)| used.last)?.0.clone();
        self.limits.remove(&oldest)
    }
}

impl Store {
    /// The limit of this name and quota that goes on in this process while the store cannot answer.
    pub(crate) fn local(&self, name: &Arc<str>, quota: Quota) -> Arc<Local> {
        self.shared.locals.get(name, quota)
    }
}

/// The limit of this process, by governor.
pub(crate) struct Local {
    limiter: Governor,
    clock: DefaultClock,
    /// The time that one request is worth.
    each: Duration,
    burst: NonZeroU32,
    /// The most that there ever is in the store.
    capacity: u32,
    checks: AtomicUsize,
    full: AtomicBool,
    room: Arc<Room>,
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
    fn new(quota: Quota, room: Arc<Room>) -> Local {
        let (each, burst) = quota.in_process();
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let rate = governor::Quota::with_period(each).expect("at least a nanosecond");
        Local {
            limiter: RateLimiter::keyed(rate.allow_burst(burst)).with_middleware(),
            clock: DefaultClock::default(),
            each,
            burst,
            capacity: quota.burst_size(),
            checks: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            room,
            hasher: RandomState::new(),
        }
    }

    /// What costs nothing is allowed, and what costs more than there ever is here, is not.
    pub(crate) fn take(&self, subject: Subject, cost: u32) -> Decision {
        let Some(cost) = NonZeroU32::new(cost) else {
            return self.decision(true, self.burst.get(), Some(Duration::ZERO));
        };
        // Governor multiplies before it compares, and the product may come to any number.
        let asks = cost <= self.burst;
        match asks.then(|| self.limiter.check_key_n(&self.key(subject), cost)) {
            Some(Ok(Ok(state))) => {
                self.decision(true, state.remaining_burst_capacity(), Some(Duration::ZERO))
            }
            Some(Ok(Err(not_until))) => {
                self.decision(false, 0, Some(not_until.wait_time_from(self.clock.now())))
            }
            // The store may have more: by GCRA there is as much here as there.
            None | Some(Err(_)) => {
                let wait = self.each.saturating_mul(cost.get());
                self.decision(false, 0, (cost.get() <= self.capacity).then_some(wait))
            }
        }
    }

    fn decision(&self, allowed: bool, remaining: u32, retry_after: Option<Duration>) -> Decision {
        let used = self.burst.get().saturating_sub(remaining);
        Decision::local(allowed, remaining, self.each.saturating_mul(used), retry_after)
    }

    /// The key that a subject is counted by, after the room for it is seen to.
    fn key(&self, subject: Subject) -> LocalKey {
        let checks = self.checks.fetch_add(1, Ordering::Relaxed);
        if checks.is_multiple_of(CHECKS_BETWEEN_SWEEPS) && self.limiter.len() > self.room.get() / 2
        {
            self.limiter.retain_recent();
        }
        if checks.is_multiple_of(CHECKS_BETWEEN_COUNTS) {
            self.full.store(self.limiter.len() >= self.room.get(), Ordering::Relaxed);
        }
        if self.full.load(Ordering::Relaxed) {
            LocalKey::Several(self.hasher.hash_one(subject) % SHARED_KEYS)
        } else {
            LocalKey::One(subject)
        }
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locals").field("limits", &self.state().limits.len()).finish()
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
        let local = Local::new(Quota::per_hour(3), Arc::default());
        let one = Subject::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!([true, true, true, false], [0; 4].map(|_| local.take(one, 1).allowed));
    }

    #[test]
    fn no_cost_is_so_large_that_it_is_small() {
        let local = Local::new(Quota::per_hour(100), Arc::default());
        let one = Subject::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        // This many times 36 s is little more than 2^64 ns.
        for cost in [101, 512_409_559, u32::MAX] {
            assert!(!local.take(one, cost).allowed, "{cost}");
        }
        assert!(local.take(one, 100).allowed);
    }

    #[test]
    fn no_wait_is_named_where_none_will_help() {
        let one = Subject::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let wait = |quota, cost| Local::new(quota, Arc::default()).take(one, cost).retry_after();
        assert_eq!(wait(Quota::per_day(10), 11), None);
        // There is half as much here at once, and all of it in the store.
        assert!(wait(Quota::per_day(10).fixed_window(), 10).is_some());
        assert_eq!(wait(Quota::per_day(10).fixed_window(), 11), None);
    }

    /// Or who takes Redis down guesses on.
    #[test]
    fn a_lockout_is_no_shorter_than_its_longest_step() {
        let steps = [60, 3_600].map(Duration::from_secs);
        let quota = Quota::per_second(2).lockout(steps);
        assert_eq!(quota.in_process(), (Duration::from_secs(3_600), 1));
        let quota = Quota::per_day(4).lockout(steps);
        assert_eq!(quota.in_process(), (Duration::from_secs(12 * 3_600), 2));
    }

    #[test]
    fn a_flood_of_callers_is_bounded_and_still_limited() {
        let local = Local::new(Quota::per_day(1), Arc::default());
        for caller in 0..200_000u32 {
            local.take(Subject::Address(IpAddr::V4(caller.into())), 1);
        }
        assert!(local.limiter.len() <= CAP + CHECKS_BETWEEN_COUNTS + SHARED_KEYS as usize);
        let late = Subject::Address(IpAddr::V4(Ipv4Addr::BROADCAST));
        local.take(late, 1);
        assert!(!local.take(late, 1).allowed);
    }

    #[test]
    fn whoever_names_the_same_limit_counts_in_the_same() {
        let (locals, one) = (Locals::default(), Subject::Address(Ipv4Addr::LOCALHOST.into()));
        let take = |name: &str, quota| locals.get(&name.into(), quota).take(one, 1).allowed;
        assert!(take("mail", Quota::per_hour(1)));
        assert!(!take("mail", Quota::per_hour(1)));
        assert!(take("mail", Quota::per_hour(2)), "another quota");
        assert!(take("log-in", Quota::per_hour(1)), "another name");
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_takes_nothing_from_those_in_use() {
        let (locals, one) = (Locals::default(), Subject::Address(Ipv4Addr::LOCALHOST.into()));
        let take = |name: &str| locals.get(&name.into(), Quota::per_day(1)).take(one, 1).allowed;
        assert!(take("mail") && take("idle"));
        for flood in 0..3 * MOST {
            assert!(take(&flood.to_string()));
            assert!(!take("mail"), "{flood}");
        }
        assert_eq!(locals.state().limits.len(), MOST);
        assert!(take("idle"), "it was used longest ago");
    }

    #[test]
    fn many_limits_tell_fewer_callers_apart() {
        let locals = Locals::default();
        let names: Vec<_> = (0..160).map(|name| name.to_string()).collect();
        let local = |name: &String| locals.get(&name.as_str().into(), Quota::per_day(1));
        names.iter().for_each(|name| drop(local(name)));
        let last = local(&names[159]);
        for caller in 0..50_000u32 {
            last.take(Subject::Address(IpAddr::V4(caller.into())), 1);
        }
        assert!(last.limiter.len() <= CAP / 10 + CHECKS_BETWEEN_COUNTS + SHARED_KEYS as usize);
    }
}
