use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::named;
use crate::Store;
use crate::policy::Quota;
use crate::policy::limiting::{Act, Decision};
use crate::store::keys::Subject;
use crate::store::verbs::{Block, Charge, Reset, Rule, Take};

fn rule(name: &str, quota: Quota) -> Arc<Rule> {
    Arc::new(Rule::new(name, quota.counting(), false))
}

fn shadow(name: &str, quota: Quota) -> Arc<Rule> {
    Arc::new(Rule::new(name, quota.counting(), true))
}

fn of(subject: &str) -> Subject {
    Subject::Named(named(subject))
}

fn charge(rule: &Arc<Rule>, subject: &str, cost: u32) -> Charge {
    Charge::new(rule.clone(), of(subject), cost)
}

async fn act(store: &Store, act: Act, charges: &[Charge]) -> Vec<Decision> {
    let take = Take::new(act, charges.iter().cloned());
    let taken = store.ask(take).await.unwrap();
    let decide = |(charge, taken): (&Charge, _)| charge.rule.counting.decide(taken, charge.cost);
    assert_eq!(taken.len(), charges.len());
    charges.iter().zip(&taken).map(decide).collect()
}

async fn take(store: &Store, rule: &Arc<Rule>, subject: &str) -> bool {
    act(store, Act::Take, &[charge(rule, subject, 1)]).await[0].allowed
}

async fn remaining(store: &Store, rule: &Arc<Rule>, subject: &str) -> u64 {
    act(store, Act::Peek, &[charge(rule, subject, 0)]).await[0].remaining
}

/// One of each algorithm, with `limit` in a day.
fn each(limit: u32) -> Vec<Arc<Rule>> {
    let lockout = [Duration::from_secs(60), Duration::from_secs(300)];
    [
        ("gcra", Quota::per_day(limit)),
        ("bucket", Quota::per_day(limit).token_bucket()),
        ("fixed", Quota::per_day(limit).fixed_window()),
        ("aligned", Quota::new(limit, Duration::from_secs(1 << 28)).aligned_window()),
        ("calendar", Quota::per_calendar_month(limit)),
        ("sliding", Quota::new(limit, Duration::from_secs(1 << 28)).sliding_window()),
        ("log", Quota::per_day(limit).sliding_log()),
        ("lockout", Quota::per_day(limit).lockout(lockout)),
    ]
    .map(|(name, quota)| rule(name, quota))
    .into()
}

pub(super) async fn a_limit_admits_what_its_quota_says(store: Store) {
    let rule = rule("api", Quota::new(3, Duration::from_secs(6)));
    let mut allowed = Vec::new();
    for _ in 0..4 {
        allowed.push(take(&store, &rule, "ada").await);
    }
    assert_eq!(allowed, [true, true, true, false]);
    tokio::time::sleep(Duration::from_millis(2_010)).await;
    assert!(take(&store, &rule, "ada").await);
}

pub(super) async fn concurrent_callers_are_admitted_exactly(store: Store) {
    for rule in each(37) {
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let (store, rule) = (store.clone(), rule.clone());
            callers.spawn(async move { take(&store, &rule, "ada").await });
        }
        let allowed = callers.join_all().await.into_iter().filter(|allowed| *allowed).count();
        assert_eq!(allowed, 37, "{}", rule.name);
    }
}

pub(super) async fn subjects_and_names_are_counted_apart(store: Store) {
    for (name, subject) in [("api", "ada"), ("api", "bob"), ("web", "ada")] {
        let rule = rule(name, Quota::per_day(1));
        assert!(take(&store, &rule, subject).await);
        assert!(!take(&store, &rule, subject).await);
    }
}

pub(super) async fn algorithms_of_one_name_are_counted_apart(store: Store) {
    let limits =
        [Quota::per_day(1), Quota::per_day(1).fixed_window(), Quota::per_day(1).sliding_log()];
    for quota in limits {
        let rule = rule("api", quota);
        assert!(take(&store, &rule, "ada").await);
        assert!(!take(&store, &rule, "ada").await);
    }
}

pub(super) async fn a_refusal_charges_nothing(store: Store) {
    for rule in each(2) {
        let all = [charge(&rule, "ada", 3)];
        for _ in 0..3 {
            let refused = act(&store, Act::Take, &all).await[0];
            assert_eq!((refused.allowed, refused.remaining), (false, 2), "{}", rule.name);
            assert_eq!(refused.retry_after(), None, "no wait helps: {}", rule.name);
        }
        assert!(take(&store, &rule, "ada").await);
        assert_eq!(remaining(&store, &rule, "ada").await, 1, "{}", rule.name);
    }
}

pub(super) async fn a_look_charges_nothing(store: Store) {
    for rule in each(2) {
        for _ in 0..3 {
            let looked = act(&store, Act::Peek, &[charge(&rule, "ada", 2)]).await[0];
            assert!(looked.allowed, "{}", rule.name);
            assert_eq!(looked.remaining, 2, "{}", rule.name);
            assert!(!act(&store, Act::Peek, &[charge(&rule, "ada", 3)]).await[0].allowed);
        }
        let free = act(&store, Act::Take, &[charge(&rule, "ada", 0)]).await[0];
        assert_eq!((free.allowed, free.remaining), (true, 2), "{}", rule.name);
    }
}

pub(super) async fn what_was_charged_can_be_given_back(store: Store) {
    for rule in each(5) {
        for _ in 0..3 {
            assert!(take(&store, &rule, "ada").await);
        }
        let back = act(&store, Act::Refund, &[charge(&rule, "ada", 2)]).await[0];
        assert_eq!(back.remaining, 4, "{}", rule.name);
        // No more than there was.
        act(&store, Act::Refund, &[charge(&rule, "ada", 100)]).await;
        assert_eq!(remaining(&store, &rule, "ada").await, 5, "{}", rule.name);
    }
}

/// Windows begin at multiples of a second by the clock of the machine.
pub(super) async fn what_was_charged_in_the_window_before_can_be_given_back(store: Store) {
    let rule = rule("exports", Quota::new(100, Duration::from_secs(1)).sliding_window());
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_millis();
    tokio::time::sleep(Duration::from_millis(u64::from(1_900 - since) % 1_000)).await;
    act(&store, Act::Take, &[charge(&rule, "ada", 80)]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let back = act(&store, Act::Refund, &[charge(&rule, "ada", 80)]).await[0];
    assert_eq!(back.remaining, 100);
}

/// Only failures count: what is given back is what was charged, and not an older failure, which
/// would then never end.
pub(super) async fn what_is_given_back_keeps_nothing_else_alive(store: Store) {
    let rule = rule("log-in", Quota::new(2, Duration::from_millis(400)).sliding_log());
    assert!(take(&store, &rule, "ada").await);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let success = charge(&rule, "ada", 1);
        let taken = store.ask(Take::one(Act::Take, success.clone())).await.unwrap()[0];
        store.ask(Take::one(Act::Refund, success.back(&taken))).await.unwrap();
    }
    assert_eq!(remaining(&store, &rule, "ada").await, 2);
}

pub(super) async fn what_is_charged_later_may_use_up_a_limit(store: Store) {
    for rule in each(5) {
        let charged = act(&store, Act::Charge, &[charge(&rule, "ada", 3)]).await[0];
        assert_eq!(charged.remaining, 2, "{}", rule.name);
        act(&store, Act::Charge, &[charge(&rule, "ada", 9)]).await;
        assert!(!take(&store, &rule, "ada").await, "{}", rule.name);
    }
}

pub(super) async fn several_limits_are_charged_together_or_not_at_all(store: Store) {
    let all = each(3);
    let few = rule("few", Quota::per_day(1));
    let mut charges: Vec<_> = all.iter().map(|rule| charge(rule, "ada", 1)).collect();
    // Another subject, which on a cluster is on another node.
    charges.push(charge(&few, "192.0.2.1", 1));
    let first = act(&store, Act::Take, &charges).await;
    assert!(first.iter().all(|decision| decision.allowed));
    for _ in 0..2 {
        let second = act(&store, Act::Take, &charges).await;
        let allowed: Vec<_> = second.iter().map(|decision| decision.allowed).collect();
        assert_eq!(allowed.iter().filter(|allowed| **allowed).count(), all.len());
        assert!(!allowed[all.len()]);
    }
    for rule in &all {
        assert_eq!(remaining(&store, rule, "ada").await, 2, "{}", rule.name);
    }
}

pub(super) async fn every_limit_that_refuses_is_named(store: Store) {
    let all = each(1);
    let charges: Vec<_> = all.iter().map(|rule| charge(rule, "ada", 1)).collect();
    assert!(act(&store, Act::Take, &charges).await.iter().all(|decision| decision.allowed));
    let refused = act(&store, Act::Take, &charges).await;
    assert!(refused.iter().all(|decision| !decision.allowed));
    assert!(refused.iter().all(|decision| decision.retry_after() > Some(Duration::ZERO)));
}

pub(super) async fn a_shadow_refuses_nobody_and_is_charged_for_itself(store: Store) {
    let (live, shadow) = (rule("live", Quota::per_day(3)), shadow("shadow", Quota::per_day(1)));
    let charges = [charge(&live, "ada", 1), charge(&shadow, "ada", 1)];
    for expected in [[true, true], [true, false], [true, false], [false, false]] {
        let decisions = act(&store, Act::Take, &charges).await;
        assert_eq!([decisions[0].allowed, decisions[1].allowed], expected);
    }
    assert_eq!(remaining(&store, &live, "ada").await, 0);
    // A live limit's refusal does not charge a shadow.
    let wide = Arc::new(Rule::new("wide", Quota::per_day(9).counting(), true));
    act(&store, Act::Take, &[charge(&live, "ada", 1), charge(&wide, "ada", 1)]).await;
    assert_eq!(remaining(&store, &wide, "ada").await, 9);
}

pub(super) async fn a_limit_is_shut_for_a_time(store: Store) {
    for rule in each(5) {
        let block = |time| Block { rule: rule.clone(), subject: of("ada"), time };
        assert!(!store.ask(block(Some(Duration::from_secs(60)))).await.unwrap());
        let refused = act(&store, Act::Take, &[charge(&rule, "ada", 1)]).await[0];
        assert!(!refused.allowed && refused.is_blocked, "{}", rule.name);
        let wait = refused.retry_after().unwrap();
        assert!((50..=60).contains(&wait.as_secs()), "{wait:?} at {}", rule.name);
        let never = act(&store, Act::Take, &[charge(&rule, "ada", 6)]).await[0];
        assert_eq!((never.is_blocked, never.retry_after()), (true, None), "{}", rule.name);
        // Nothing that is done to it meanwhile opens it.
        act(&store, Act::Refund, &[charge(&rule, "ada", 1)]).await;
        act(&store, Act::Charge, &[charge(&rule, "ada", 1)]).await;
        assert!(!take(&store, &rule, "ada").await, "{}", rule.name);
        assert!(take(&store, &rule, "bob").await, "{}", rule.name);

        assert!(store.ask(block(None)).await.unwrap(), "{}", rule.name);
        assert!(!store.ask(block(None)).await.unwrap(), "{}", rule.name);
        assert!(take(&store, &rule, "ada").await, "{}", rule.name);

        assert!(!store.ask(block(Some(Duration::from_millis(100)))).await.unwrap());
        tokio::time::sleep(Duration::from_millis(130)).await;
        assert!(take(&store, &rule, "ada").await, "{}", rule.name);
    }
}

pub(super) async fn what_was_counted_can_be_forgotten(store: Store) {
    for rule in each(1) {
        let reset = Reset { rule: rule.clone(), subject: of("ada") };
        assert!(!store.ask(reset.clone()).await.unwrap(), "{}", rule.name);
        assert!(take(&store, &rule, "ada").await);
        assert!(!take(&store, &rule, "ada").await);
        assert!(store.ask(reset).await.unwrap(), "{}", rule.name);
        assert!(take(&store, &rule, "ada").await, "{}", rule.name);
    }
}

pub(super) async fn a_lockout_grows_and_cannot_be_pushed_out(store: Store) {
    // Longer than a busy machine takes for three attempts.
    let steps = [Duration::from_secs(5), Duration::from_secs(60)];
    let rule = rule("log-in", Quota::per_hour(2).lockout(steps));
    assert!(take(&store, &rule, "ada").await && take(&store, &rule, "ada").await);
    let first = act(&store, Act::Take, &[charge(&rule, "ada", 1)]).await[0];
    assert!(first.is_blocked && first.retry_after() <= Some(steps[0]));
    // Attempts do not move its end.
    for _ in 0..10 {
        take(&store, &rule, "ada").await;
    }
    tokio::time::sleep(first.retry_after().unwrap()).await;
    assert!(take(&store, &rule, "ada").await && take(&store, &rule, "ada").await);
    let second = act(&store, Act::Take, &[charge(&rule, "ada", 1)]).await[0];
    assert!(second.retry_after() > Some(Duration::from_secs(50)), "{second:?}");
    assert!(second.retry_after() <= Some(steps[1]), "{second:?}");
}

pub(super) async fn a_changed_quota_goes_on_with_what_was_counted(store: Store) {
    let gcra = |limit| rule("api", Quota::per_day(limit));
    for _ in 0..5 {
        assert!(take(&store, &gcra(10), "ada").await);
    }
    // Half a day was used: half of the new quota is left.
    assert_eq!(remaining(&store, &gcra(20), "ada").await, 10);
    assert_eq!(remaining(&store, &gcra(2), "ada").await, 1);
    let fixed = |limit| rule("api", Quota::per_day(limit).fixed_window());
    for _ in 0..5 {
        assert!(take(&store, &fixed(10), "ada").await);
    }
    assert_eq!(remaining(&store, &fixed(20), "ada").await, 15);
    assert_eq!(remaining(&store, &fixed(2), "ada").await, 0);
}

/// The same limits by a short period, from the second on which was used up.
fn shortened(period: Duration) -> Vec<Arc<Rule>> {
    let quota = Quota::new(2, period);
    [
        ("gcra", quota),
        ("bucket", quota.token_bucket()),
        ("fixed", quota.fixed_window()),
        ("aligned", quota.aligned_window()),
        ("calendar", quota.aligned_window()),
        ("sliding", quota.sliding_window()),
        ("log", quota.sliding_log()),
        ("lockout", quota.lockout([Duration::from_secs(1)])),
    ]
    .map(|(name, quota)| rule(name, quota))
    .into()
}

/// Whoever asks again too early does not put that off.
pub(super) async fn a_shortened_limit_opens_when_it_says(store: Store) {
    let mut callers = JoinSet::new();
    for (long, short) in each(2).into_iter().zip(shortened(Duration::from_secs(1))) {
        let store = store.clone();
        callers.spawn(async move {
            assert!(take(&store, &long, "ada").await && take(&store, &long, "ada").await);
            let mut refused = act(&store, Act::Take, &[charge(&short, "ada", 2)]).await[0];
            while !refused.allowed {
                let told = refused.retry_after().unwrap();
                let nap = told.min(Duration::from_millis(300));
                tokio::time::sleep(nap).await;
                refused = act(&store, Act::Take, &[charge(&short, "ada", 2)]).await[0];
                let left = refused.retry_after().unwrap();
                assert!(
                    left <= told - nap + Duration::from_millis(1),
                    "{}: {left:?} of {told:?} are left",
                    long.name
                );
            }
        });
    }
    callers.join_all().await;
}

/// Of one limit, and of all together.
pub(super) async fn a_look_by_other_numbers_changes_nothing(store: Store) {
    let (all, shorter) = (each(2), shortened(Duration::from_millis(20)));
    for rule in &all {
        assert!(take(&store, rule, "ada").await && take(&store, rule, "ada").await);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let looks: Vec<_> = shorter.iter().map(|rule| charge(rule, "ada", 1)).collect();
    for look in &looks {
        act(&store, Act::Peek, std::slice::from_ref(look)).await;
    }
    act(&store, Act::Peek, &looks).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    for rule in &all {
        let found = act(&store, Act::Peek, &[charge(rule, "ada", 1)]).await[0];
        let wait = found.retry_after().unwrap();
        assert_eq!((found.allowed, found.remaining), (false, 0), "{}", rule.name);
        assert!(wait > Duration::from_secs(30), "{}: {wait:?}", rule.name);
    }
}
