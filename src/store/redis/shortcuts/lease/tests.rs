use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::Quota;
use crate::policy::limiting::tests::Key;
use crate::policy::limiting::{Act, State};

fn rule(key: &Key) -> Arc<Rule> {
    Arc::new(Rule::new("api", key.counting, false))
}

proptest! {
    /// Whatever is spent of a lease, and whenever, the same requests one by one would have been
    /// admitted by the limit itself.
    #[test]
    fn what_a_lease_admits_the_limit_would_have_admitted(
        limit in 1u32..50, period_ms in 1u64..10_000, burst in 2u32..50, batch in 2u32..50,
        before in prop::collection::vec(0u64..100_000, 0..30),
        spends in prop::collection::vec(0u64..200_000, 1..60),
    ) {
        let quota = Quota::new(limit, Duration::from_millis(period_ms)).burst(burst);
        let mut real = Key::new(quota.counting());
        let mut now = 1_800_000_000_000_000;
        for step in before {
            now += step;
            real.take(now, 1);
        }
        // The reference charges each request when it is admitted; the lease was charged at once.
        let mut reference = real.clone();
        let batch = batch.min(burst);
        let taken = real.act(Act::Take, now, batch, None);
        prop_assume!(taken.fits);
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let sent = Instant::now();
        let found = Found { rule: rule(&real), taken, sent, received: sent };
        let mut lease = Lease { left: batch, found };
        let mut passed = 0;
        for step in spends {
            passed += step;
            if lease.spend(1, sent + Duration::from_micros(passed)).is_some() {
                prop_assert!(reference.take(now + passed, 1).allowed);
            }
        }
        // And what is charged in the store is never less than what the reference has charged.
        let [spent, charged] = [reference, real].map(|key| match key.current(now + passed) {
            State::Arrival(arrival) => arrival,
            state => panic!("GCRA: {state:?}"),
        });
        prop_assert!(spent <= charged);
    }
    /// Two that were charged one after the other, and put together: the same.
    #[test]
    fn two_leases_admit_no_more_than_the_limit_would_have(
        limit in 1u32..50, period_ms in 1u64..10_000, burst in 4u32..50,
        batches in [2u32..25, 2u32..25], counts in 0..3,
        gap in 0u64..2_000_000, before_joined in prop::collection::vec(0u64..200_000, 0..20),
        between in prop::collection::vec(0u64..200_000, 0..20),
        spends in prop::collection::vec(0u64..200_000, 0..10), others in 0u32..5, late in any::<bool>(),
    ) {
        let quota = Quota::new(limit, Duration::from_millis(period_ms)).burst(burst);
        let window = Quota::new(burst, Duration::from_millis(period_ms));
        let quota = [quota, window.aligned_window(), window.sliding_window()][counts as usize];
        let start = 1_800_000_000_000_000;
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let began = Instant::now();
        let at = |passed: u64| began + Duration::from_micros(passed);
        let mut real = Key::new(quota.counting());
        let mut reference = real.clone();
        let mut charge = |reference: &mut Key, passed: u64, batch: u32| {
            let taken = real.act(Act::Take, start + passed, batch, None);
            let found = Found { rule: rule(&real), taken, sent: at(passed), received: at(passed) };
            // What others take is the limit's own business.
            for _ in 0..others {
                if real.act(Act::Take, start + passed, 1, None).fits {
                    reference.act(Act::Charge, start + passed, 1, None);
                }
            }
            taken.fits.then_some(Lease { left: batch, found })
        };
        let mut passed = 0;
        let spend = |lease: &mut Lease, reference: &mut Key, passed: u64| {
            lease.spend(1, at(passed)).is_none() || reference.take(start + passed, 1).allowed
        };
        let first = charge(&mut reference, 0, batches[0].min(burst));
        let mut first = first.unwrap();
        for step in before_joined {
            passed += step;
            prop_assert!(spend(&mut first, &mut reference, passed));
        }
        passed += gap;
        let second = charge(&mut reference, passed, batches[1].min(burst));
        let Some(mut second) = second else { return Ok(()) };
        // The answer about the first may come after the second's was used.
        for step in between {
            passed += step;
            let lease = if late { &mut second } else { &mut first };
            prop_assert!(spend(lease, &mut reference, passed));
        }
        let (one, other) = if late { (first, second) } else { (second, first) };
        let mut both = one.and(other, at(passed));
        for step in spends {
            passed += step;
            prop_assert!(spend(&mut both, &mut reference, passed));
        }
        while both.spend(1, at(passed)).is_some() {
            prop_assert!(reference.take(start + passed, 1).allowed);
        }
        // And what is charged in the store is never less than what the reference has charged.
        let [spent, charged] = [reference, real].map(|mut key| {
            let looked = key.act(Act::Peek, start + passed, 1, None);
            key.counting.decide(&looked, 1).remaining
        });
        prop_assert!(charged <= spent, "{charged} left, and {spent}");
    }
}
