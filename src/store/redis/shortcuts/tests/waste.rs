//! What is charged ahead is spent.

use tokio::task::JoinSet;

use super::*;

/// How much of a limit is charged.
async fn charged(store: &Store, rule: &Arc<Rule>, limit: u64) -> u64 {
    let peeked = store.ask(Take::one(Act::Peek, ada(rule, 1))).await.unwrap()[0];
    limit - rule.counting.decide(&peeked, 1).remaining
}

/// Takes so many, one after the other, all of which are admitted.
async fn takes(store: &Store, rules: &[&Arc<Rule>], cost: u32, times: usize) {
    for rule in rules.iter().cycle().take(times) {
        assert!(store.ask(Take::one(Act::Take, ada(rule, cost))).await.unwrap()[0].fits);
    }
}

/// However many come while nobody asks.
#[tokio::test]
async fn messages_about_others_end_no_lease() {
    let server = RedisServer::start();
    let (here, there) = (listening(&server).await, store(&server).await);
    let leased = rule(Quota::per_day(1_000), |rule| rule.batch = 50);
    takes(&here, &[&leased], 1, 1).await;
    let denies = rule(Quota::per_day(1_000), |rule| rule.denies = true);
    let told = Subject::Address([192, 0, 2, 2].into());
    for who in [&here, &there] {
        let mut refunds = JoinSet::new();
        for _ in 0..1_500 {
            let (who, charge) = (who.clone(), Charge::new(denies.clone(), told, 1));
            refunds.spawn(async move { who.ask(Take::one(Act::Refund, charge)).await.unwrap() });
        }
        refunds.join_all().await;
    }
    // All of them have arrived when the last about a lease has.
    let last = ada(&denies, 1).subject;
    let sent = tokio::time::timeout(Duration::from_secs(5), async {
        let probe = rule(Quota::per_day(9).fixed_window(), |rule| rule.batch = 9);
        takes(&here, &[&probe], 1, 1).await;
        there.ask(Reset { rule: probe.clone(), subject: last }).await.unwrap();
        while scripts(&server, take(&here, &probe)).await.1 == 0 {}
    });
    sent.await.expect("messages arrive");
    let (_, ran) = scripts(&server, takes(&here, &[&leased], 1, 49)).await;
    assert_eq!(ran, 0);
}

#[tokio::test]
async fn what_is_too_little_for_one_is_joined_to_the_next_batch() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    for quota in [Quota::per_day(10_000), Quota::per_day(10_000).fixed_window()] {
        let rule = rule(quota, |rule| rule.batch = 100);
        let (_, ran) = scripts(&server, takes(&store, &[&rule], 3, 300)).await;
        assert_eq!(ran, 9);
        assert!(charged(&store, &rule, 10_000).await <= 900);
    }
}

#[tokio::test]
async fn callers_at_once_leave_less_than_a_batch() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    for (limit, cost, callers) in [(1_001, 6, 60), (1_002, 1, 100), (1_003, 9, 33), (1_004, 4, 7)] {
        let quota = Quota::per_day(limit).fixed_window();
        let mut rule = Rule::new(&format!("at-once-{cost}"), quota.counting(), false);
        rule.batch = 10;
        let rule = Arc::new(rule);
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (store, rule) = (store.clone(), rule.clone());
            tasks.spawn(async move { takes(&store, &[&rule], cost, 1).await });
        }
        tasks.join_all().await;
        let left = charged(&store, &rule, limit.into()).await - u64::from(callers * cost);
        assert!(left < 10, "{callers} callers of {cost} left {left}");
    }
}

#[tokio::test]
async fn a_limit_whose_numbers_change_is_leased_anew() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    let of = |limit: u32| rule(Quota::per_day(limit).fixed_window(), |rule| rule.batch = 10);
    let limits = [1_000, 2_000, 3_000, 4_000, 5_000, 6_000].map(of);
    for rule in &limits {
        let (_, ran) = scripts(&server, takes(&store, &[rule], 1, 15)).await;
        assert_eq!(ran, 2);
    }
}

/// As two layers may be wired.
#[tokio::test]
async fn limits_of_one_name_do_not_end_each_others_leases() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    let of = |limit: u32| rule(Quota::per_day(limit).fixed_window(), |rule| rule.batch = 10);
    let (one, other) = (of(1_000), of(2_000));
    let (_, ran) = scripts(&server, takes(&store, &[&one, &other], 1, 100)).await;
    assert_eq!(ran, 10);
    assert_eq!(charged(&store, &one, 1_000).await, 100);
}

/// A lease is worth more than a refusal, and that more than nothing.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
async fn of_too_many_places_a_leased_one_stays() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1_000), |rule| (rule.batch, rule.denies) = (10, true));
    let taken = store.ask(Take::one(Act::Charge, ada(&rule, 10))).await.unwrap()[0];
    let now = Instant::now();
    let found = Found { rule: rule.clone(), taken, sent: now, received: now };
    let shortcuts = open();
    let Step::Ask(leasing) = shortcuts.lease(&ada(&rule, 1), now) else { panic!("nobody asks") };
    leasing.keep(9, found.clone());
    for name in 0u32..200_000 {
        let charge = Charge::new(rule.clone(), Subject::Address(name.to_be_bytes().into()), 1);
        let asking = shortcuts.ask(std::slice::from_ref(&charge));
        asking.deny(&charge, found.clone(), Duration::from_secs(60));
    }
    assert!(shortcuts.known(&ada(&rule, 1), now).is_some_and(|taken| taken.fits));
    assert_eq!(shortcuts.book.places(), 65_536);
}
