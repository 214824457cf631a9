//! What holds of every algorithm, after any history.

use std::time::Duration;

use proptest::prelude::*;

use super::histories::{ACTS, STEPS, TAKES, histories, lived};
use super::{Key, START};
use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Counting};

/// Nothing, little, half, all, and more than ever fits.
fn costs(key: &Key) -> Vec<u32> {
    let all = key.counting.capacity();
    let mut costs = vec![0, 1, 2, all / 2, all - 1, all];
    costs.extend(all.checked_add(1));
    costs
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

proptest! {
    #[test]
    fn a_look_says_what_taking_would_and_changes_nothing((quota, steps) in histories(ACTS)) {
        let (key, now) = lived(quota, &steps);
        for cost in costs(&key) {
            let mut looked = key.clone();
            looked.act(Act::Peek, now, cost, None);
            prop_assert_eq!(&looked.state, &key.state);
            let (look, mut taken) = (key.peek(now, cost), key.clone());
            let take = taken.take(now, cost);
            prop_assert_eq!(
                (look.allowed, look.retry_after(), look.is_blocked),
                (take.allowed, take.retry_after(), take.is_blocked)
            );
            // A refusal charges nothing, nor does what costs nothing.
            if !take.allowed || cost == 0 {
                if let Counting::SlidingLog(_) = key.counting {
                    // But a log drops what has ended.
                    prop_assert_eq!(taken.current(now), key.current(now));
                } else {
                    prop_assert_eq!(&taken.state, &key.state);
                }
                prop_assert_eq!(look, take);
            } else {
                prop_assert_eq!(take.remaining, look.remaining - u64::from(cost));
            }
        }
    }

    #[test]
    fn the_wait_is_exact((quota, steps) in histories(ACTS), part in 0.0..1.0) {
        let (key, now) = lived(quota, &steps);
        for cost in costs(&key) {
            let look = key.peek(now, cost);
            prop_assert_eq!(look.allowed, look.retry_after() == Some(Duration::ZERO));
            let Some(wait) = look.retry_after() else {
                prop_assert!(cost > key.counting.capacity());
                continue;
            };
            prop_assert!(cost <= key.counting.capacity());
            let wait = micros(wait);
            prop_assert!(key.admits(now + wait, cost));
            if wait > 0 {
                prop_assert!(!key.admits(now + wait - 1, cost));
                prop_assert!(!key.admits(now + (wait as f64 * part) as u64, cost));
            }
        }
    }

    /// So much fits at once, and not one more: what is rounded is rounded to that.
    #[test]
    fn what_remains_is_exact((quota, steps) in histories(ACTS)) {
        let (key, now) = lived(quota, &steps);
        let remaining = u32::try_from(key.peek(now, 0).remaining).unwrap();
        prop_assert!(remaining <= key.counting.capacity());
        prop_assert!(remaining == 0 || key.admits(now, remaining));
        prop_assert!(remaining == u32::MAX || !key.admits(now, remaining + 1));
    }

    #[test]
    fn a_key_is_as_if_never_used_when_it_says_so_and_not_before(
        (quota, steps) in histories(ACTS),
    ) {
        let (key, now) = lived(quota, &steps);
        let capacity = key.counting.capacity();
        let full_after = micros(key.peek(now, 0).full_after());
        let then = key.peek(now + full_after, capacity);
        prop_assert!(then.allowed && then.remaining == u64::from(capacity));
        prop_assert_eq!(then.full_after(), Duration::ZERO);
        prop_assert!(full_after == 0 || !key.admits(now + full_after - 1, capacity));
    }

    /// From when a state expires on, to have none is the same: what comes then, and after it.
    #[test]
    fn what_has_expired_says_no_more_than_nothing(
        (quota, steps) in histories(ACTS), later in prop_oneof![Just(0), 0u64..10_000_000],
    ) {
        let (mut key, now) = lived(quota, &steps);
        let state = key.current(now);
        let expires = key.counting.expires(&state, Timestamp(now));
        let mut at = expires.0.max(now) + later;
        let (mut new, period) = (Key::new(key.counting), quota.period().as_micros() as u64);
        for _ in 0..4 {
            for cost in costs(&key) {
                prop_assert_eq!(key.take(at, cost), new.take(at, cost));
            }
            at += period;
        }
    }

    /// Nobody waits longer, by a clock that went back, than who has just used the limit up.
    #[test]
    fn a_clock_that_goes_back_locks_nobody_out(
        (quota, steps) in histories(TAKES), back in prop_oneof![0u64..100, 0u64..100_000_000_000],
    ) {
        let (key, now) = lived(quota, &steps);
        let (now, capacity) = (now - back, key.counting.capacity());
        let mut used_up = Key::new(key.counting);
        used_up.take(now, capacity);
        for cost in [1, capacity] {
            let mut longest = used_up.peek(now, cost).retry_after().unwrap();
            if let Counting::Lockout(_) = key.counting {
                // Of the first time: later ones are longer, and so may be the time in which attempts
                // add up.
                longest = longest.max(STEPS[1]).max(quota.period());
            }
            let wait = key.peek(now, cost).retry_after().unwrap();
            prop_assert!(wait <= longest, "{:?} instead of {:?} for {}", wait, longest, cost);
        }
    }

    #[test]
    fn all_that_there_is_fits_at_once_and_one_more_never((quota, _) in histories(TAKES)) {
        let mut key = Key::new(quota.counting());
        let capacity = key.counting.capacity();
        if let Some(more) = capacity.checked_add(1) {
            let refused = key.take(START, more);
            prop_assert_eq!((refused.allowed, refused.retry_after()), (false, None));
        }
        let all = key.take(START, capacity);
        prop_assert_eq!((all.allowed, all.remaining), (true, 0));
        prop_assert!(!key.take(START, 1).allowed);
        prop_assert_eq!(capacity, quota.burst_size());
    }
}
