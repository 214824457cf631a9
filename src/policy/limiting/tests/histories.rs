//! What may happen to a limit, or to two, at random.

use std::time::Duration;

use proptest::prelude::*;

use super::{Key, START};
use crate::policy::Quota;
use crate::policy::limiting::Act;

pub(crate) const STEPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(7)];

/// Any way to count.
pub(super) fn algorithm() -> impl Strategy<Value = fn(Quota, u32) -> Quota> {
    prop_oneof![
        3 => Just((|quota, burst| quota.burst(burst)) as fn(Quota, u32) -> Quota),
        1 => Just((|quota, _| quota.guaranteed()) as fn(Quota, u32) -> Quota),
        2 => Just((|quota, _| quota.fixed_window()) as fn(Quota, u32) -> Quota),
        1 => Just((|quota, _| quota.aligned_window()) as fn(Quota, u32) -> Quota),
        2 => Just((|quota, _| quota.sliding_window()) as fn(Quota, u32) -> Quota),
        3 => Just((|quota, _| quota.sliding_log()) as fn(Quota, u32) -> Quota),
        3 => Just((|quota, _| quota.lockout(STEPS)) as fn(Quota, u32) -> Quota),
    ]
}

/// After so many microseconds, an act of a cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) gap: u64,
    pub(super) act: Act,
    pub(super) cost: u32,
}

/// How much in how many microseconds: small numbers, which meet at edges.
pub(super) fn numbers() -> impl Strategy<Value = (u32, u64)> {
    (prop_oneof![4 => 1u32..8, 1 => 1u32..200], prop_oneof![2 => 1u64..100, 1 => 1u64..20_000_000])
}

/// The largest numbers and the smallest that there are.
fn extremes() -> impl Strategy<Value = Quota> {
    let decade = Duration::from_secs(10 * 366 * 24 * 60 * 60);
    let micro = Duration::from_micros(1);
    let quotas = [
        Quota::new(u32::MAX, decade),
        Quota::new(u32::MAX, decade).guaranteed(),
        Quota::new(u32::MAX, decade).fixed_window(),
        Quota::new(u32::MAX, decade).aligned_window(),
        Quota::new(u32::MAX, decade).sliding_window(),
        Quota::new(1_000_000, decade).sliding_log(),
        Quota::new(u32::MAX, decade).lockout([Duration::from_secs(366 * 86_400)]),
        Quota::new(u32::MAX, micro),
        Quota::new(1, micro).burst(u32::MAX),
        Quota::new(1, decade),
        Quota::new(1, decade).sliding_window(),
        Quota::new(1, micro).sliding_window(),
        Quota::new(1, micro).sliding_log(),
        Quota::new(1, micro).fixed_window(),
    ];
    prop::sample::select(quotas.to_vec())
}

pub(super) fn quotas() -> impl Strategy<Value = Quota> {
    let usual = (algorithm(), numbers(), 1u32..12).prop_map(|(by, (limit, period), burst)| {
        by(Quota::new(limit, Duration::from_micros(period)), burst)
    });
    prop_oneof![6 => usual, 1 => extremes()]
}

/// Steps of about the times and costs that a quota has edges at.
pub(super) fn steps(quota: Quota, acts: &'static [Act]) -> impl Strategy<Value = Vec<Step>> {
    let period = quota.period().as_micros() as u64;
    let each = (period / u64::from(quota.limit())).max(1);
    let capacity = quota.counting().capacity();
    let gap = prop_oneof![
        3 => Just(0),
        6 => 0..=each * 2,
        2 => Just(each),
        1 => Just(each - 1),
        2 => 0..=period,
        1 => Just(period),
        1 => Just(period - 1),
        1 => Just(period * 2),
        1 => Just(1_000_000u64),
        1 => 0..8_000_000u64,
    ];
    let cost = prop_oneof![
        6 => Just(1),
        1 => Just(0),
        2 => 0..=capacity.min(5),
        1 => 0..=capacity,
        1 => Just(capacity),
        1 => Just(capacity.saturating_add(1)),
    ];
    let step = (gap, prop::sample::select(acts), cost);
    let step = step.prop_map(|(gap, act, cost)| Step { gap, act, cost });
    prop::collection::vec(step, 0..40)
}

pub(super) const TAKES: &[Act] = &[Act::Take];

pub(super) const ACTS: &[Act] =
    &[Act::Take, Act::Take, Act::Take, Act::Take, Act::Peek, Act::Charge, Act::Refund];

pub(super) fn histories(acts: &'static [Act]) -> impl Strategy<Value = (Quota, Vec<Step>)> {
    quotas().prop_flat_map(move |quota| (Just(quota), steps(quota, acts)))
}

/// A key to which all this has happened, and when that was over.
pub(super) fn lived(quota: Quota, steps: &[Step]) -> (Key, u64) {
    let (mut key, mut now, mut mark) = (Key::new(quota.counting()), START, None);
    for step in steps {
        now += step.gap;
        let taken = key.act(step.act, now, step.cost, mark);
        if step.act == Act::Take && taken.fits {
            mark = Some(taken.mark());
        }
    }
    (key, now)
}

/// One step in the history of two limits: how far the clock moves (it may go back), under which
/// quotas, what is done, for how much, and which charge it has to do with, counted from the last
/// one.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) clock: i64,
    pub(crate) changed: bool,
    pub(crate) act: Act,
    pub(crate) costs: [u32; 2],
    pub(crate) marked: Option<usize>,
}

fn any_numbers() -> impl Strategy<Value = (u32, u64, u32)> {
    let limit = prop_oneof![6 => 1u32..20, 2 => 1u32..1_000];
    let period = prop_oneof![1_000u64..10_000_000, Just(86_400_000_000)];
    (limit, period, 1u32..1_000).prop_filter("too long", |(_, micros, burst)| {
        u128::from(*micros) * u128::from(*burst) < 1 << 48
    })
}

/// Mostly one pair of quotas, so that their edges are met; now and then others of the same kind.
pub(crate) fn of_two() -> impl Strategy<Value = ([[Quota; 2]; 2], Vec<Turn>)> {
    let quotas = (
        [algorithm(), algorithm()],
        [[any_numbers(), any_numbers()], [any_numbers(), any_numbers()]],
    );
    quotas.prop_flat_map(|(algorithms, numbers)| {
        let quota = |index: usize, (limit, period, burst): (u32, u64, u32)| {
            algorithms[index](Quota::new(limit, Duration::from_micros(period)), burst)
        };
        let quotas = numbers.map(|[one, two]| [quota(0, one), quota(1, two)]);
        let often = numbers[0][0];
        let (each, period) = ((often.1 / u64::from(often.0)).max(1) as i64, often.1 as i64);
        let clock = prop_oneof![
            8 => 0..=each * 2,
            2 => Just(each),
            2 => Just(each - 1),
            1 => -each * 50..0i64,
            2 => Just(period),
            1 => Just(period - 1),
            1 => Just(period * 2),
        ];
        let act = prop_oneof![
            8 => Just(Act::Take),
            1 => Just(Act::Peek),
            1 => Just(Act::Charge),
            2 => Just(Act::Refund),
        ];
        let cost = || prop_oneof![8 => Just(1u32), 2 => 0u32..5, 1 => 0u32..2_000];
        let step =
            (clock, prop::bool::weighted(0.1), act, [cost(), cost()], prop::option::of(0usize..4));
        let step = step.prop_map(|(clock, changed, act, costs, marked)| Turn {
            clock,
            changed,
            act,
            costs,
            marked,
        });
        (Just(quotas), prop::collection::vec(step, 1..40))
    })
}
