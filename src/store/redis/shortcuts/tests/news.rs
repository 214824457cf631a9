//! What is remembered is what the store would say.

use std::sync::atomic::{AtomicBool, Ordering};

use support::{Proxy, RedisCluster};
use tokio::task::JoinSet;

use super::*;

fn other(rule: &Arc<Rule>, name: u8) -> Charge {
    Charge::new(rule.clone(), Subject::Address([192, 0, 2, name].into()), 1)
}

#[tokio::test]
async fn messages_about_others_do_not_keep_a_refusal_from_being_remembered() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let deadline = Duration::from_secs(5);
    let here = Store::builder().deadline(deadline).connect(&proxy.url()).await.unwrap();
    let there = store(&server).await;
    listens(&server, &here).await;
    // Longer than it takes to send a message.
    proxy.set_delay(Duration::from_millis(3));
    let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
    let (is_over, told) = (Arc::new(AtomicBool::new(false)), other(&rule, 200));
    let all = async {
        let until = is_over.clone();
        let mut tells = JoinSet::new();
        tells.spawn(async move {
            let mut messages = 0;
            while !until.load(Ordering::Relaxed) {
                there.ask(Take::one(Act::Refund, told.clone())).await.unwrap();
                messages += 1;
            }
            messages
        });
        for name in 0..20 {
            for number in 0..5 {
                let taken = here.ask(Take::one(Act::Take, other(&rule, name))).await.unwrap()[0];
                assert_eq!(taken.fits, number == 0);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        tells.join_next().await.unwrap().unwrap()
    };
    let (messages, ran) = scripts(&server, all).await;
    assert_eq!(ran - messages, 20 * 2, "an admission and a refusal");
}

/// What a refused request gives back elsewhere is told, and is nothing new about who refused it.
#[tokio::test]
async fn on_a_cluster_a_refusal_beside_another_node_s_limit_is_remembered() {
    let cluster = RedisCluster::start();
    let deadline = Duration::from_secs(5);
    let store = Store::builder().deadline(deadline).connect(&cluster.url()).await.unwrap();
    let denies = |rule: &mut Rule| rule.denies = true;
    let (many, one) = (rule(Quota::per_day(1_000), denies), rule(Quota::per_day(1), denies));
    let request = || Take::new(Act::Take, [other(&many, 1), other(&one, 2)]);
    assert!(store.ask(request()).await.unwrap().iter().all(|taken| taken.fits));
    for _ in 0..100 {
        let before = cluster.count();
        assert!(!store.ask(request()).await.unwrap()[1].fits);
        if !cluster.count().since(&before).commands.contains_key("evalsha") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a refusal is never remembered");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
async fn a_refusal_is_remembered_unless_something_has_changed_of_its_own_place() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
    let charge = ada(&rule, 1);
    assert!(take(&store, &rule).await);
    let taken = store.ask(Take::one(Act::Take, charge.clone())).await.unwrap()[0];
    let now = Instant::now();
    let found = Found { rule: rule.clone(), taken, sent: now, received: now };
    type Change<'a> = &'a dyn Fn(&Shortcuts, &Charge);
    let forget: Change<'_> = &|it, charge| it.forget(&place(charge));
    let tell: Change<'_> = &|it, charge| it.book.put(message(&place(charge)).into());
    let take: Change<'_> = &|it, charge| it.ask(&[]).charged(charge);
    let lose: Change<'_> = &|it, _| it.book.interrupt();
    let find: Change<'_> = &|it, _| it.book.open();
    for (change, is_its_own) in
        [(forget, true), (tell, true), (take, true), (lose, false), (find, false)]
    {
        let shortcuts = open();
        for changed in [other(&rule, 9), charge.clone()] {
            let asking = shortcuts.ask(std::slice::from_ref(&charge));
            change(&shortcuts, &changed);
            asking.deny(&charge, found.clone(), Duration::from_secs(9));
            let is_kept = shortcuts.known(&charge, now).is_some();
            assert_eq!(is_kept, is_its_own && changed.subject != charge.subject);
        }
        assert!(shortcuts.book.parts().all(|part| part.asked.is_empty()));
    }
}

/// Nobody has told this process, though it would have been told in time.
#[tokio::test]
async fn what_is_shut_before_messages_come_is_not_leased() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    proxy.set_delay(Duration::from_millis(20));
    let deadline = Duration::from_secs(5);
    let here = Store::builder().deadline(deadline).connect(&proxy.url()).await.unwrap();
    let there = store(&server).await;
    let rule = rule(Quota::per_day(1_000), |rule| rule.batch = 100);
    assert!(take(&here, &rule).await);
    let shut = Some(Duration::from_secs(60));
    let subject = ada(&rule, 1).subject;
    there.ask(Block { rule: rule.clone(), subject, time: shut }).await.unwrap();
    listens(&server, &here).await;
    assert!(!take(&here, &rule).await);
}

#[tokio::test]
async fn where_messages_may_not_come_all_is_asked_for() {
    let server = RedisServer::start();
    server.acl_user("app", "secret", "~* &* +@all -subscribe");
    let url = server.url().replace("redis://", "redis://app:secret@");
    let store = Store::builder().deadline(Duration::from_secs(5)).connect(&url).await.unwrap();
    let rule = rule(Quota::per_day(10), |rule| (rule.batch, rule.denies) = (5, true));
    let all = async {
        for number in 0..20 {
            assert_eq!(take(&store, &rule).await, number < 10);
        }
    };
    assert_eq!(scripts(&server, all).await.1, 20);
}

/// Of a dear request, after a cheap one has taken what was left.
#[tokio::test]
async fn a_remembered_refusal_says_what_is_left_after_this_process_took_of_it() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    for batch in [1, 2] {
        let quota = Quota::new(5, Duration::from_secs(50));
        let mut rule = Rule::new(&format!("api-{batch}"), quota.counting(), false);
        (rule.denies, rule.batch) = (true, batch);
        let rule = Arc::new(rule);
        let mut last = None;
        for (cost, fits) in [(3, true), (4, false), (1, true), (1, true), (4, false)] {
            let taken = store.ask(Take::one(Act::Take, ada(&rule, cost))).await.unwrap()[0];
            assert_eq!(taken.fits, fits, "{cost}");
            last = Some(rule.counting.decide(&taken, cost));
        }
        let last = last.unwrap();
        assert_eq!(last.remaining, 0);
        assert!(last.retry_after().unwrap() > Duration::from_secs(39), "{last:?}");
    }
}
