use std::sync::Arc;
use std::time::Duration;

use support::RedisServer;

use super::*;
use crate::Store;
use crate::policy::Quota;
use crate::policy::limiting::Act;
use crate::store::verbs::{Block, Reset, Rule, Take};

mod news;
mod together;
mod waste;

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

/// A store to which messages come: until then nothing is leased.
async fn listening(server: &RedisServer) -> Store {
    let store = store(server).await;
    listens(server, &store).await;
    store
}

async fn listens(server: &RedisServer, store: &Store) {
    let rule = rule(Quota::per_day(1_000_000), |rule| rule.batch = 1_000);
    let other = Charge::new(rule, Subject::Address([192, 0, 2, 255].into()), 1);
    for _ in 0..500 {
        let (answer, ran) = scripts(server, store.ask(Take::one(Act::Take, other.clone()))).await;
        assert!(answer.unwrap()[0].fits);
        if ran == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("messages never come");
}

/// As if messages came.
fn open() -> Shortcuts {
    let shortcuts = Shortcuts::default();
    shortcuts.book.open();
    shortcuts
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
    let wait = rule.counting.decide(&refused, 1).retry_after().unwrap();
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
        let (here, there) = (listening(&server).await, listening(&server).await);
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
    let store = listening(&server).await;
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
    let found = Found { rule: rule.clone(), taken, sent: now, received: now };
    let other = Subject::Address([192, 0, 2, 2].into());
    for (subject, is_kept) in [(other, true), (charge.subject, false)] {
        let shortcuts = open();
        let Step::Ask(leasing) = shortcuts.lease(&charge, now) else { panic!("nobody asks") };
        shortcuts.forget(&LimitAt::new(&rule, &subject));
        leasing.keep(9, found.clone());
        assert_eq!(shortcuts.known(&charge, now).is_some(), is_kept);
    }
}

/// What is asked for before a message is ended by it, and what is asked for after it is not.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
async fn what_changes_meanwhile_spoils_all_that_is_asked_for() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1_000), |rule| rule.batch = 10);
    let half = ada(&rule, 5);
    let taken = store.ask(Take::one(Act::Charge, ada(&rule, 10))).await.unwrap()[0];
    let now = Instant::now();
    let found = Found { rule: rule.clone(), taken, sent: now, received: now };
    let shortcuts = open();
    let ask = || match shortcuts.lease(&half, now) {
        Step::Ask(leasing) => leasing,
        _ => panic!("there is no room"),
    };
    let first = ask();
    let waits = shortcuts.lease(&half, now);
    assert!(matches!(waits, Step::Wait(_)));
    shortcuts.forget(&place(&half));
    // The first will bring nothing to wait for.
    let second = ask();
    first.keep(5, found.clone());
    assert!(shortcuts.known(&half, now).is_none(), "it was asked for before");
    second.keep(5, found.clone());
    assert!(shortcuts.known(&half, now).is_some());
    drop(waits);

    for ends in [|it: &Shortcuts| it.book.open(), |it: &Shortcuts| it.book.put(Bytes::new())] {
        let leasing = ask();
        ends(&shortcuts);
        leasing.keep(5, found.clone());
        assert!(shortcuts.known(&half, now).is_none(), "anything may have been missed");
    }
    assert!(shortcuts.book.parts().all(|part| part.asked.is_empty()));
}

#[tokio::test]
async fn a_look_is_answered_by_a_lease_until_that_is_over() {
    let server = RedisServer::start();
    let store = listening(&server).await;
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
    let store = listening(&server).await;
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
