//! What each algorithm promises, against the plainest way to count the same.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::histories::{STEPS, Step, TAKES, lived, numbers, steps};
use super::{Key, START};
use crate::policy::Quota;
use crate::policy::limiting::Act;

/// A quota counted in some way, and what is taken from it.
fn takes(by: fn(Quota) -> Quota) -> impl Strategy<Value = (Quota, Vec<Step>)> {
    numbers().prop_flat_map(move |(limit, period)| {
        let quota = by(Quota::new(limit, Duration::from_micros(period)));
        (Just(quota), steps(quota, TAKES))
    })
}

fn period(quota: Quota) -> u64 {
    quota.period().as_micros() as u64
}

/// Times and costs of what was admitted. `naive` is told of every time and cost whether it was, and
/// says whether it should have been.
fn admitted(
    quota: Quota,
    steps: &[Step],
    mut naive: impl FnMut(u64, u64) -> bool,
) -> Result<Vec<(u64, u64)>, TestCaseError> {
    let (mut key, mut now, mut admitted) = (Key::new(quota.counting()), START, Vec::new());
    for &Step { gap, cost, .. } in steps {
        now += gap;
        let allowed = key.take(now, cost).allowed;
        prop_assert_eq!(allowed, naive(now, cost.into()), "{} at {}", cost, now - START);
        if allowed {
            admitted.push((now, u64::from(cost)));
        }
    }
    Ok(admitted)
}

/// The most that any window [t, t + length) has.
pub(super) fn most_within(length: u64, admitted: &[(u64, u64)]) -> u64 {
    let from = |start: u64| {
        let within = admitted.iter().filter(|(at, _)| (start..start + length).contains(at));
        within.map(|(_, cost)| cost).sum()
    };
    admitted.iter().map(|(at, _)| from(*at)).max().unwrap_or(0)
}

proptest! {
    /// tat in ticks of 1/N µs, as big as it gets.
    #[test]
    fn gcra_follows_its_definition_and_admits_burst_plus_rate(
        (quota, steps) in takes(|quota| quota.burst(5)),
    ) {
        let (n, t) = (u128::from(quota.limit()), u128::from(period(quota)));
        let (mut tat, capacity) = (0, 5 * t);
        let all = admitted(quota, &steps, |now, cost| {
            let now = u128::from(now) * n;
            let next = tat.max(now) + u128::from(cost) * t;
            let fits = now + capacity >= next;
            if fits {
                tat = next;
            }
            fits
        })?;
        for (index, (from, _)) in all.iter().enumerate() {
            let mut sum = 0;
            for (to, cost) in &all[index..] {
                sum += u128::from(*cost);
                prop_assert!(sum <= 5 + u128::from(to - from) * n / t);
            }
        }
    }

    #[test]
    fn a_guaranteed_quota_holds_in_any_window((limit, length) in numbers(), burst in 1u32..9,
        seed in takes(Quota::guaranteed),
    ) {
        let quota = Quota::new(limit, Duration::from_micros(length));
        let quota = if burst < limit { quota.burst(burst).guaranteed() } else { quota.guaranteed() };
        for (quota, steps) in [(quota, &seed.1), (seed.0, &seed.1)] {
            let mut key = Key::new(quota.counting());
            let (mut now, mut all) = (START, Vec::new());
            for &Step { gap, cost, .. } in steps {
                now += gap;
                if key.take(now, cost).allowed {
                    all.push((now, cost.into()));
                }
            }
            prop_assert!(most_within(period(quota), &all) <= quota.limit().into());
        }
    }

    #[test]
    fn a_fixed_window_begins_with_its_first_request((quota, steps) in takes(Quota::fixed_window)) {
        let (limit, length) = (u64::from(quota.limit()), period(quota));
        let (mut ends, mut used) = (0, 0);
        let all = admitted(quota, &steps, |now, cost| {
            let before = if now < ends { used } else { 0 };
            let fits = before + cost <= limit;
            if fits && cost > 0 {
                (used, ends) = (before + cost, if now < ends { ends } else { now + length });
            }
            fits
        })?;
        // Around an edge.
        prop_assert!(most_within(length, &all) <= 2 * limit);
    }

    #[test]
    fn an_aligned_window_has_the_limit_each((quota, steps) in takes(Quota::aligned_window)) {
        let mut used = BTreeMap::new();
        admitted(quota, &steps, |now, cost| {
            let used = used.entry(now / period(quota)).or_insert(0);
            let fits = *used + cost <= quota.limit().into();
            *used += if fits { cost } else { 0 };
            fits
        })?;
    }

    /// prev·(W−elapsed)/W + cur + cost ≤ N, with nothing rounded.
    #[test]
    fn a_sliding_window_follows_its_formula((quota, steps) in takes(Quota::sliding_window)) {
        let (limit, length) = (u64::from(quota.limit()), period(quota));
        let mut used: BTreeMap<u64, u64> = BTreeMap::new();
        let all = admitted(quota, &steps, |now, cost| {
            let of = |window| u128::from(used.get(&window).copied().unwrap_or(0));
            let (window, rest) = (now / length, length - now % length);
            let (w, cost_of_all) = (u128::from(length), of(window) + u128::from(cost));
            let faded = of(window - 1) * u128::from(rest) + cost_of_all * w;
            let fits = cost == 0 || faded <= u128::from(limit) * w;
            *used.entry(window).or_insert(0) += if fits { cost } else { 0 };
            fits
        })?;
        prop_assert!(most_within(length, &all) < 2 * limit);
    }

    #[test]
    fn a_log_admits_just_what_fits_in_every_window((quota, steps) in takes(Quota::sliding_log)) {
        let (limit, length) = (u64::from(quota.limit()), period(quota));
        let mut log: Vec<(u64, u64)> = Vec::new();
        let all = admitted(quota, &steps, |now, cost| {
            let live = log.iter().filter(|(at, _)| at + length > now);
            let fits = cost == 0 || live.map(|(_, cost)| cost).sum::<u64>() + cost <= limit;
            log.extend(fits.then_some((now, cost)));
            fits
        })?;
        prop_assert!(most_within(length, &all) <= limit);
    }

    /// Each time as long as its step says, from the last attempt on, whatever is tried meanwhile.
    #[test]
    fn nobody_pushes_the_end_of_a_lockout_out(
        (quota, before) in takes(|quota| quota.lockout(STEPS)),
        tries in prop::collection::vec((0u64..1_000_000, 0u32..5, any::<bool>()), 0..20),
    ) {
        // What was before has been forgotten, and no attempt is left over.
        let (mut key, now) = lived(quota, &before);
        let mut now = now + 4 * period(quota).max(7_000_000);
        for step in [STEPS[0], STEPS[1], STEPS[1]].map(|step| step.as_micros() as u64) {
            prop_assert!(key.take(now, quota.limit()).allowed);
            let ends = now + step;
            for &(gap, cost, takes) in &tries {
                now = (now + gap).min(ends - 1);
                let act = if takes { Act::Take } else { Act::Charge };
                prop_assert_eq!(key.act(act, now, cost, None).fits, !takes);
                let wait = key.peek(now, 1).retry_after().unwrap().as_micros() as u64;
                prop_assert_eq!(now + wait, ends);
            }
            now = ends;
        }
    }
}

/// What comes back is what the limit has above the burst.
#[test]
#[should_panic(expected = "a burst comes back within ten years")]
fn a_guaranteed_burst_comes_back_within_ten_years() {
    let _ = Quota::per_day(1_000_000).burst(999_999).guaranteed();
}

#[test]
#[should_panic(expected = "a burst comes back within ten years")]
fn and_so_does_the_burst_of_a_guaranteed_quota() {
    let _ = Quota::per_day(1_000_000).guaranteed().burst(999_999);
}
