//! A limit whose numbers change goes on with what was counted, as `LiveLimits` says.

use std::time::Duration;

use proptest::prelude::*;

use super::Key;
use super::histories::{STEPS, TAKES, algorithm, lived, numbers, steps};
use crate::policy::limiting::{Counting, State};
use crate::policy::{Quota, Timestamp};

/// The same key before a change and after it, and when that is.
fn changed(by: fn(Quota) -> Quota) -> impl Strategy<Value = (Key, Key, Quota, Quota, u64)> {
    (numbers(), numbers(), any::<bool>()).prop_flat_map(move |(old, new, same)| {
        let quota = |(limit, period)| by(Quota::new(limit, Duration::from_micros(period)));
        let new = if same { (new.0, old.1) } else { new };
        let (old, new) = (quota(old), quota(new));
        steps(old, TAKES).prop_map(move |steps| {
            let (before, now) = lived(old, &steps);
            let after = Key { counting: new.counting(), state: before.state.clone() };
            (before, after, old, new, now)
        })
    })
}

/// A key before a change, when that is, and the quota after it, by whatever it is counted.
fn any_changed() -> impl Strategy<Value = ((Key, u64), Quota)> {
    (algorithm(), numbers(), numbers()).prop_flat_map(|(by, old, new)| {
        let quota = |(limit, period)| by(Quota::new(limit, Duration::from_micros(period)), 5);
        let (old, new) = (quota(old), quota(new));
        (steps(old, TAKES).prop_map(move |steps| lived(old, &steps)), Just(new))
    })
}

proptest! {
    /// Otherwise each refusal would promise the same again, until the old end.
    #[test]
    fn a_wait_that_was_told_after_a_change_is_enough(
        ((mut key, now), new) in any_changed(), mut parts in prop::collection::vec(0.0..1.0, 0..4),
    ) {
        key.counting = new.counting();
        let wait = key.take(now, 1).retry_after().unwrap().as_micros() as u64;
        parts.sort_by(f64::total_cmp);
        for part in parts {
            let later = (wait as f64 * part) as u64;
            let left = key.take(now + later, 1).retry_after().unwrap();
            prop_assert!(wait == 0 || left == Duration::from_micros(wait - later));
        }
        prop_assert!(wait == 0 || key.take(now + wait, 1).allowed);
    }

    #[test]
    fn gcra_keeps_the_time_and_nobody_waits_longer_than_for_the_new_burst(
        (before, after, _, _, now) in changed(|quota| quota.burst(4)),
    ) {
        let mut used_up = Key::new(after.counting);
        used_up.take(now, 4);
        let longest = used_up.peek(now, 0).full_after();
        let (old, new) = (before.peek(now, 0).full_after(), after.peek(now, 0).full_after());
        // A part of a microsecond has another name.
        let other = new.max(old.min(longest)) - new.min(old.min(longest));
        prop_assert!(other <= Duration::from_micros(1), "{:?} {:?} {:?}", old, longest, new);
        for cost in 1..=4 {
            let wait = |key: &Key| key.peek(now, cost).retry_after().unwrap();
            prop_assert!(wait(&after) <= wait(&used_up));
        }
    }

    #[test]
    fn a_fixed_window_keeps_its_count_and_ends_no_later_than_a_new_one(
        (before, after, old, new, now) in changed(Quota::fixed_window),
    ) {
        let (was, is) = (before.peek(now, 0), after.peek(now, 0));
        let used = u64::from(old.limit()) - was.remaining;
        prop_assert_eq!(is.remaining, u64::from(new.limit()).saturating_sub(used));
        prop_assert_eq!(is.full_after(), was.full_after().min(new.period()));
    }

    #[test]
    fn a_sliding_window_keeps_both_counts(
        (before, after, old, new, now) in changed(Quota::sliding_window),
    ) {
        if old.period() == new.period() {
            prop_assert_eq!(before.current(now), after.current(now));
        }
    }

    #[test]
    fn a_log_keeps_its_entries((before, after, old, new, now) in changed(Quota::sliding_log)) {
        let used = |key: &Key| match (key.counting, key.current(now)) {
            (Counting::SlidingLog(it), State::Log(log)) => it.used(&log, Timestamp(now)),
            other => panic!("a log: {other:?}"),
        };
        let (was, is) = (used(&before), used(&after));
        if old.period() <= new.period() {
            // What has ended by the old period may still be there.
            prop_assert!(is >= was);
        } else {
            prop_assert!(is <= was);
        }
        let left = u64::from(new.limit()).saturating_sub(is);
        prop_assert_eq!(after.peek(now, 0).remaining, left);
        let wait = after.peek(now, 1).retry_after().unwrap();
        prop_assert!(wait <= new.period());
    }

    #[test]
    fn a_lockout_ends_no_later_than_the_new_step_would(
        (before, _, old, _, now) in changed(|quota| quota.lockout([STEPS[1]])),
        step in 1u64..10,
    ) {
        let step = Duration::from_secs(step);
        let counting = Quota::new(old.limit(), old.period()).lockout([step]).counting();
        let (was, is) =
            (before.peek(now, 1), Key { counting, state: before.state.clone() }.peek(now, 1));
        prop_assert_eq!(is.is_blocked, was.is_blocked);
        if was.is_blocked {
            prop_assert_eq!(is.retry_after(), was.retry_after().map(|wait| wait.min(step)));
        } else {
            prop_assert_eq!(is, was);
        }
    }
}
