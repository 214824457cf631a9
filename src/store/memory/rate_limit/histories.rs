//! Random histories: the store does what the policy says, also by numbers that change.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::Store;
use crate::policy::Quota;
use crate::policy::limiting::tests::histories::{Turn, of_two};
use crate::store::keys::Fingerprint;
use crate::store::two_limits::TwoLimits;

/// By itself, also where the verdict alone is wanted, or with another limit; the clock of a store
/// in process does not go back.
async fn decides_like_the_policy(
    quotas: [[Quota; 2]; 2],
    turns: Vec<Turn>,
    (count, is_judged): (usize, bool),
) -> Result<(), TestCaseError> {
    let store = Store::memory();
    let subject = Subject::Named(Fingerprint::of(&[b"ada"]));
    let mut limits = TwoLimits::new(quotas, count, subject);
    let mut ends = [Timestamp(0); 2];
    for turn in turns {
        tokio::time::advance(Duration::from_micros(u64::try_from(turn.clock).unwrap_or(0))).await;
        let now = store.now();
        for (key, ends) in limits.keys.iter_mut().zip(ends) {
            // What has ended by the numbers of then does not come back by others.
            key.state = key.state.take().filter(|_| ends > now);
        }
        let take = limits.take(&turn);
        let expected = limits.decide(&take, now);
        for (ends, done) in ends.iter_mut().zip(&expected) {
            *ends = done.expires.unwrap_or(*ends);
        }
        let expected: Vec<_> = expected.into_iter().map(|done| done.taken).collect();
        match &*take.charges {
            [Charge { rule, cost, charged: None, .. }] if is_judged => {
                let verdict =
                    store.judge(take.act, rule, &subject, *cost, |it| it).unwrap().unwrap();
                prop_assert_eq!(verdict, rule.counting.verdict(&expected[0], *cost));
            }
            _ => prop_assert_eq!(&store.ask(take).await.unwrap()[..], &expected),
        }
        limits.note(turn.act, &expected);
    }
    Ok(())
}

#[test]
fn the_store_decides_like_the_policy() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let config = Config { failure_persistence: None, cases: 1_000, ..Config::default() };
    TestRunner::new(config)
        .run(&(of_two(), (1usize..3, any::<bool>())), |((quotas, turns), way)| {
            runtime.block_on(decides_like_the_policy(quotas, turns, way))
        })
        .unwrap();
}
