mod shared_lease;

use std::sync::Arc;

use proptest::prelude::*;
use support::RedisServer;

use super::*;
use crate::Store;
use crate::policy::Quota;
use crate::policy::limiting::tests::Key;
use crate::policy::limiting::{Act, State};
use crate::store::verbs::{Block, Reset, Rule, Take};

fn rule(quota: Quota, change: impl FnOnce(&mut Rule)) -> Arc<Rule> {
    let mut rule = Rule::new("api", quota.counting(), false);
    change(&mut rule);
    Arc::new(rule)
}

fn ada(rule: &Arc<Rule>, cost: u32) -> Charge {
    Charge::new(rule.clone(), Subject::Address([192, 0, 2, 1].into()), cost)
}

async fn store(server: &RedisServer) -> Store {
    let builder = Store::builder().deadline(Duration::from_secs(5));
    builder.connect(&server.url()).await.unwrap()
}

async fn take(store: &Store, rule: &Arc<Rule>) -> bool {
    store.ask(Take::one(Act::Take, ada(rule, 1))).await.unwrap()[0].fits
}

/// How many scripts ran meanwhile.
async fn scripts<T>(server: &RedisServer, work: impl Future<Output = T>) -> (T, u64) {
    let before = server.count();
    let done = work.await;
    let ran = server.count().since(&before).commands.get("evalsha").copied();
    (done, ran.unwrap_or(0))
}

/// Refused again and again, until that costs nothing.
async fn refused_for_free(server: &RedisServer, store: &Store, rule: &Arc<Rule>) {
    for _ in 0..100 {
        let (fits, ran) = scripts(server, take(store, rule)).await;
        assert!(!fits);
        if ran == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a refusal is never remembered");
}

/// Admitted within the time of a message.
async fn soon_admitted(store: &Store, rule: &Arc<Rule>) {
    for _ in 0..100 {
        if take(store, rule).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("a refusal is remembered for too long");
}

#[tokio::test]
async fn a_refusal_is_remembered_until_it_is_over() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::new(1, Duration::from_secs(2)), |rule| rule.denies = true);
    assert!(take(&store, &rule).await);
    refused_for_free(&server, &store, &rule).await;
    let refused = store.ask(Take::one(Act::Take, ada(&rule, 1))).await.unwrap()[0];
    let wait = rule.counting.decide(&refused, 1).retry_after.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2), "{wait:?}");
    tokio::time::sleep(wait).await;
    assert!(take(&store, &rule).await, "not a moment longer");
}

#[tokio::test]
async fn what_is_forgotten_or_given_back_anywhere_is_known_everywhere() {
    let server = RedisServer::start();
    let (here, there) = (store(&server).await, store(&server).await);
    let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
    assert!(take(&here, &rule).await);
    let subject = ada(&rule, 1).subject;

    for who in [&here, &there] {
        refused_for_free(&server, &here, &rule).await;
        assert!(who.ask(Reset { rule: rule.clone(), subject }).await.unwrap());
        soon_admitted(&here, &rule).await;
    }
    for who in [&here, &there] {
        refused_for_free(&server, &here, &rule).await;
        who.ask(Take::one(Act::Refund, ada(&rule, 1))).await.unwrap();
        soon_admitted(&here, &rule).await;
    }
    let shut = Some(Duration::from_secs(60));
    there.ask(Block { rule: rule.clone(), subject, time: shut }).await.unwrap();
    refused_for_free(&server, &here, &rule).await;
    there.ask(Block { rule: rule.clone(), subject, time: None }).await.unwrap();
    soon_admitted(&here, &rule).await;
}

#[tokio::test]
async fn a_changed_limit_and_a_smaller_cost_are_asked_about() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let denies = |rule: &mut Rule| rule.denies = true;
    let few = rule(Quota::per_day(2), denies);
    assert!(take(&store, &few).await);
    let two = || Take::one(Act::Take, ada(&few, 2));
    assert!(!store.ask(two()).await.unwrap()[0].fits);
    assert!(take(&store, &few).await, "one is still there");
    refused_for_free(&server, &store, &few).await;
    assert!(take(&store, &rule(Quota::per_day(200).burst(400), denies)).await);
}

#[tokio::test]
async fn nothing_is_remembered_while_no_message_arrives() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
    assert!(take(&store, &rule).await);
    refused_for_free(&server, &store, &rule).await;
    server.stop();
    server.start_again();
    // It came back empty.
    for _ in 0..500 {
        match store.ask(Take::one(Act::Take, ada(&rule, 1))).await {
            Ok(taken) if taken[0].fits => return,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("the refusal outlived the connection that would have ended it");
}

#[tokio::test]
async fn a_lease_spares_commands_and_never_exceeds_the_limit() {
    for quota in [Quota::per_day(100), Quota::per_day(100).fixed_window()] {
        let server = RedisServer::start();
        let (here, there) = (store(&server).await, store(&server).await);
        let rule = rule(quota, |rule| rule.batch = 10);
        let all = async {
            let mut admitted = 0;
            for _ in 0..100 {
                for store in [&here, &there] {
                    admitted += u32::from(take(store, &rule).await);
                }
            }
            admitted
        };
        let (admitted, ran) = scripts(&server, all).await;
        // What is stranded is less than a batch for each process.
        assert!((82..=100).contains(&admitted), "{admitted} admitted");
        assert!(ran < 160, "{ran} scripts for 200 requests");
    }
}

#[tokio::test]
async fn a_lease_is_not_lost_to_who_looks_or_costs_more() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let leased = rule(Quota::per_day(1_000), |rule| rule.batch = 10);
    let mut other = Rule::new("other", Quota::per_day(1_000).counting(), false);
    other.denies = true;
    assert!(take(&store, &leased).await);
    store.ask(Take::one(Act::Peek, ada(&leased, 1))).await.unwrap();
    for cost in [20, 9 + 1] {
        assert!(store.ask(Take::one(Act::Take, ada(&leased, cost))).await.unwrap()[0].fits);
    }
    let both = [ada(&leased, 1), ada(&Arc::new(other), 1)];
    assert!(store.ask(Take::new(Act::Take, both)).await.unwrap().iter().all(|it| it.fits));
    let rest = async {
        for _ in 0..9 {
            assert!(take(&store, &leased).await);
        }
    };
    assert_eq!(scripts(&server, rest).await.1, 0);
    let peek = Take::one(Act::Peek, ada(&leased, 1));
    let left = leased.counting.decide(&store.ask(peek).await.unwrap()[0], 1).remaining;
    assert_eq!(left, 1_000 - 10 - 20 - 10 - 1);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
async fn a_lease_is_kept_unless_something_has_changed_of_its_own_place() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1_000), |rule| rule.batch = 10);
    let charge = ada(&rule, 1);
    let taken = store.ask(Take::one(Act::Charge, ada(&rule, 10))).await.unwrap()[0];
    let now = Instant::now();
    let found = Found { counting: rule.counting, taken, sent: now, received: now };
    let other = Subject::Address([192, 0, 2, 2].into());
    for (subject, is_kept) in [(other, true), (charge.subject, false)] {
        let shortcuts = Shortcuts::default();
        let Step::Ask(leasing) = shortcuts.lease(&charge, now) else { panic!("nobody asks") };
        shortcuts.forget(&(rule.id, subject));
        leasing.keep(9, found);
        assert_eq!(shortcuts.known(&charge, now).is_some(), is_kept);
    }
}

/// Of two that are asked for at the same time, a message ends both.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
async fn what_changes_meanwhile_spoils_all_that_is_asked_for() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1_000), |rule| rule.batch = 10);
    let half = ada(&rule, 5);
    let taken = store.ask(Take::one(Act::Charge, ada(&rule, 10))).await.unwrap()[0];
    let now = Instant::now();
    let found = Found { counting: rule.counting, taken, sent: now, received: now };
    let shortcuts = Shortcuts::default();
    let ask = || match shortcuts.lease(&half, now) {
        Step::Ask(leasing) => leasing,
        _ => panic!("there is room"),
    };
    let first = ask();
    assert!(matches!(shortcuts.lease(&half, now), Step::Wait(_)));
    shortcuts.forget(&place(&half));
    let second = ask();
    first.keep(5, found);
    assert!(shortcuts.known(&half, now).is_none(), "it was asked for before");
    second.keep(5, found);
    assert!(shortcuts.known(&half, now).is_some());

    let (first, _, second) = (ask(), shortcuts.lease(&half, now), ask());
    first.keep(5, found);
    // Of a place that was evicted and came again, nobody knows what changed before.
    shortcuts.lock().places.clear();
    shortcuts.forget(&place(&half));
    shortcuts.lock().known(place(&half));
    second.keep(5, found);
    assert!(shortcuts.known(&half, now).is_none());
}

#[tokio::test]
async fn a_look_is_answered_by_a_lease_until_that_is_over() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::new(100, Duration::from_secs(2)).fixed_window(), |it| it.batch = 10);
    let look = || store.ask(Take::one(Act::Take, ada(&rule, 0)));
    assert!(scripts(&server, look()).await.0.unwrap()[0].fits);
    assert!(take(&store, &rule).await);
    let (looked, ran) = scripts(&server, look()).await;
    assert_eq!((rule.counting.decide(&looked.unwrap()[0], 0).remaining, ran), (99, 0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..2 {
        let (looked, ran) = scripts(&server, look()).await;
        assert_eq!((rule.counting.decide(&looked.unwrap()[0], 0).remaining, ran), (100, 1));
    }
}

/// When something dearer will fit is not known of a log.
#[tokio::test]
async fn what_costs_more_is_asked_of_a_log() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(10).sliding_log(), |rule| rule.denies = true);
    assert!(store.ask(Take::one(Act::Take, ada(&rule, 10))).await.unwrap()[0].fits);
    refused_for_free(&server, &store, &rule).await;
    let dearer = store.ask(Take::one(Act::Take, ada(&rule, 5)));
    assert_eq!(scripts(&server, dearer).await.1, 1);
}

#[tokio::test]
async fn while_redis_is_away_a_lease_is_spent_to_its_end() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1_000), |rule| rule.batch = 20);
    assert!(take(&store, &rule).await);
    server.stop();
    for left in (0..19).rev() {
        assert!(take(&store, &rule).await, "{left} would be left");
    }
    let error = store.ask(Take::one(Act::Take, ada(&rule, 1))).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn a_refusal_is_remembered_until_the_loss_of_redis_is_noticed() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
    assert!(take(&store, &rule).await);
    refused_for_free(&server, &store, &rule).await;
    server.pause();
    // Nothing is asked: that would take its deadline.
    assert!(!take(&store, &rule).await);
    server.stop();
    for _ in 0..500 {
        match store.ask(Take::one(Act::Take, ada(&rule, 1))).await {
            Ok(taken) => assert!(!taken[0].fits),
            Err(error) => return assert!(error.is_unavailable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is remembered though nobody could end it");
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
        let found = Found { counting: real.counting, taken, sent, received: sent };
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
            let found = Found { counting: real.counting, taken, sent: at(passed), received: at(passed) };
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
