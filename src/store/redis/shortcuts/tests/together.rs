//! Many at once.

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::*;

/// As many at once take one each. How many are admitted, and how many scripts that takes.
async fn at_once(
    server: &RedisServer,
    store: &Store,
    rule: &Arc<Rule>,
    callers: u32,
) -> (u32, u64) {
    let all = async {
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (store, rule) = (store.clone(), rule.clone());
            tasks.spawn(async move { u32::from(take(&store, &rule).await) });
        }
        tasks.join_all().await.into_iter().sum()
    };
    scripts(server, all).await
}

/// Whatever is left of a lease while the limit refuses is still spent.
#[tokio::test]
async fn of_many_at_once_exactly_as_many_are_admitted_as_the_limit_has() {
    for (limit, batch, callers) in [(500, 50, 1_000), (100, 10, 200), (95, 10, 200), (15, 10, 30)] {
        for quota in [Quota::per_day(limit), Quota::per_day(limit).fixed_window()] {
            for denies in [false, true] {
                let server = RedisServer::start();
                let store = listening(&server).await;
                let rule = rule(quota, |rule| (rule.batch, rule.denies) = (batch, denies));
                let (admitted, _) = at_once(&server, &store, &rule, callers).await;
                assert_eq!(admitted, limit, "{batch} at once, {denies}");
            }
        }
    }
}

#[tokio::test]
async fn who_comes_while_a_lease_is_asked_for_shares_it() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    let rule = rule(Quota::per_day(100_000), |rule| rule.batch = 100);
    let (admitted, ran) = at_once(&server, &store, &rule, 500).await;
    assert_eq!(admitted, 500);
    assert!(ran <= 50, "{ran} scripts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_one_key_ask_once_for_each_batch() {
    let server = RedisServer::start();
    let store = listening(&server).await;
    let rule = rule(Quota::per_day(100_000), |rule| rule.batch = 50);
    let all = async {
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let (store, rule) = (store.clone(), rule.clone());
            tasks.spawn(async move {
                for _ in 0..100 {
                    assert!(take(&store, &rule).await);
                    tokio::task::yield_now().await;
                }
            });
        }
        tasks.join_all().await;
    };
    let ((), ran) = scripts(&server, all).await;
    assert!((128..=3 * 128).contains(&ran), "{ran} scripts for 6400 requests");
}

/// Whoever asks for a lease may leave, or be held up by something else.
#[tokio::test]
async fn nobody_waits_for_who_left_or_stands_still() {
    for leaves in [true, false] {
        let server = RedisServer::start();
        let deadline = Duration::from_secs(2);
        let store = Store::builder().deadline(deadline).connect(&server.url()).await.unwrap();
        let rule = rule(Quota::per_day(100_000), |rule| rule.batch = 100);
        listens(&server, &store).await;
        server.pause();
        let mut asker = Box::pin(take(&store, &rule));
        assert!(asker.as_mut().now_or_never().is_none());
        let mut waits = JoinSet::new();
        let (other_store, other_rule) = (store.clone(), rule.clone());
        waits.spawn(async move { take(&other_store, &other_rule).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let kept = (!leaves).then_some(asker);
        server.resume();
        let answered = tokio::time::timeout(deadline * 3 / 4, waits.join_all()).await;
        assert_eq!(answered.expect("within its deadline"), [true], "{leaves}");
        drop(kept);
    }
}

#[tokio::test]
async fn who_waits_is_answered_within_the_deadline_though_redis_hangs() {
    let server = RedisServer::start();
    let deadline = Duration::from_millis(400);
    let store = Store::builder().deadline(deadline).connect(&server.url()).await.unwrap();
    let rule = rule(Quota::per_day(100_000), |rule| rule.batch = 100);
    listens(&server, &store).await;
    server.pause();
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let (store, rule) = (store.clone(), rule.clone());
        tasks.spawn(async move { store.ask(Take::one(Act::Take, ada(&rule, 1))).await });
    }
    let answered = tokio::time::timeout(deadline * 2, tasks.join_all()).await;
    for answer in answered.expect("within the deadline, and what a busy machine adds") {
        let error = answer.unwrap_err();
        assert!(error.is_timeout() || error.is_unavailable(), "{error}");
    }
}
