//! What is given back is never more than what was charged.

use std::time::Duration;

use proptest::prelude::*;

use super::bounds::most_within;
use super::histories::{Step, TAKES, histories, lived, numbers, steps};
use super::{Key, START};
use crate::policy::limiting::{Act, Counting, Opening};
use crate::policy::{Quota, Timestamp};

/// Whether what is charged also says when a window begins: then that stays as it was said, though
/// the charge is given back.
fn opens_windows(key: &Key) -> bool {
    match key.counting {
        Counting::FixedWindow(it) => matches!(it.opening(), Opening::FirstRequest(_)),
        Counting::Lockout(_) => true,
        _ => false,
    }
}

proptest! {
    /// Two keys meet the same requests, and one of them another one as well, which is given back
    /// later: it never admits what the other does not.
    #[test]
    fn who_got_something_back_has_no_more_than_who_never_used_it(
        (quota, steps) in histories(TAKES), (charged, back) in (0usize..40, 0usize..10),
        cost in 1u32..5,
    ) {
        let (mut key, mut without) = (Key::new(quota.counting()), Key::new(quota.counting()));
        let (mut now, mut mark) = (START, None);
        let cost = cost.min(key.counting.capacity());
        for (index, &Step { gap, cost: other, .. }) in steps.iter().enumerate() {
            now += gap;
            let is_open = without.peek(now, 0).full_after().as_micros() > 0;
            if index == charged && (is_open || !opens_windows(&key)) {
                let taken = key.act(Act::Take, now, cost, None);
                mark = taken.fits.then(|| taken.mark());
            }
            if let Some(charge) = mark.filter(|_| index == charged + back) {
                key.act(Act::Refund, now, cost, Some(charge));
                mark = None;
            }
            let fits = !key.take(now, other).allowed || without.take(now, other).allowed;
            prop_assert!(fits, "{} at {} would not fit otherwise", other, now - START);
            if let Counting::Lockout(_) = key.counting
                && mark.is_some()
                && key.peek(now, 0).is_blocked
            {
                // A lockout that it caused ends with all attempts there again: another matter.
                return Ok(());
            }
            let (left, otherwise) = (key.peek(now, 0).remaining, without.peek(now, 0).remaining);
            prop_assert!(left <= otherwise, "{} instead of {}", left, otherwise);
        }
        for _ in 0..6 {
            now += quota.period().as_micros() as u64 / 3 + 1;
            let (left, otherwise) = (key.peek(now, 0).remaining, without.peek(now, 0).remaining);
            prop_assert!(left <= otherwise, "{} instead of {} later on", left, otherwise);
        }
    }

    /// Given back at once, where that is still possible, nothing is left of it: whether or not it
    /// is said what is given back.
    #[test]
    fn what_is_given_back_at_once_was_never_charged(
        (quota, steps) in histories(TAKES), cost in 1u32..5, is_said: bool,
    ) {
        let (mut key, now) = lived(quota, &steps);
        let before = key.peek(now, 0);
        let taken = key.act(Act::Take, now, cost, None);
        if !taken.fits {
            return Ok(());
        }
        key.act(Act::Refund, now, cost, is_said.then(|| taken.mark()));
        let after = key.peek(now, 0);
        match key.counting {
            // A part of a microsecond is not in what says when it was charged.
            Counting::Gcra(_) => {
                prop_assert!(after.full_after() - before.full_after() <= Duration::from_micros(1));
            }
            _ => prop_assert_eq!(after, before),
        }
    }

    /// It takes out what was charged then, or else what was taken last. What was admitted and not
    /// given back is never more than the limit in any window.
    #[test]
    fn a_log_holds_what_was_admitted_and_not_given_back(
        (quota, steps) in numbers().prop_flat_map(|(limit, period)| {
            let quota = Quota::new(limit, Duration::from_micros(period)).sliding_log();
            (Just(quota), steps(quota, &[Act::Take, Act::Take, Act::Take, Act::Refund]))
        }),
        charges in prop::collection::vec(prop::option::of(0usize..6), 40),
    ) {
        let (limit, length) = (u64::from(quota.limit()), quota.period().as_micros() as u64);
        let (mut key, mut now, mut all) = (Key::new(quota.counting()), START, Vec::new());
        for (&Step { gap, act, cost }, charge) in steps.iter().zip(charges) {
            now += gap;
            let mut rest = u64::from(cost);
            if act == Act::Refund {
                // Any that was taken, live or not: or those that are live, the last one first.
                let charged = charge.and_then(|back| all.iter().rev().nth(back)).map(|(at, _)| *at);
                key.act(act, now, cost, charged.map(Timestamp));
                for (at, cost) in all.iter_mut().rev() {
                    if *at + length > now && charged.is_none_or(|charged| charged == *at) {
                        let back = rest.min(*cost);
                        (rest, *cost) = (rest - back, *cost - back);
                    }
                }
            } else {
                let live = all.iter().filter(|(at, _)| at + length > now);
                let fits = cost == 0 || live.map(|(_, cost)| cost).sum::<u64>() + rest <= limit;
                prop_assert_eq!(key.take(now, cost).allowed, fits, "{} at {}", cost, now - START);
                all.extend(fits.then_some((now, rest)));
            }
            let live = all.iter().filter(|(at, cost)| at + length > now && *cost > 0);
            let used: u64 = live.clone().map(|(_, cost)| cost).sum();
            let full = live.map(|(at, _)| at + length - now).max().unwrap_or(0);
            let found = key.peek(now, 0);
            prop_assert_eq!(
                (found.remaining, found.full_after()),
                (limit - used, Duration::from_micros(full))
            );
        }
        prop_assert!(most_within(length, &all) <= limit);
    }
}
