//! What happens to a cluster's nodes and slots, and what it costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use axum::Router;
use http::{Response, StatusCode};
use support::RedisCluster;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::{JoinSet, block_in_place};
use tower_redis_kit::Store;
use tower_redis_kit::cache::Cache;

use crate::common::{fields, get, send, text, unique, within};
use crate::servers::{cluster_url, guarded_cluster};
use crate::shown::watch;
use crate::{
    MINUTE, RECOVERY, app, assert_layers_work, cookie, limited, timed, token_of, with_cookie,
    with_token,
};

/// What a call may take beyond its deadline, on a machine that does other things as well.
const SLACK: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_millis(100);

/// What a call takes at most, at the median, once it is known that its node is away.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What it takes to hear from a node that the cluster is down.
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// Tests with faults run one after the other: what they measure is time.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Something of each layer whose key one node keeps.
#[derive(Clone, Default)]
struct Kept {
    names: Vec<String>,
    cookies: Vec<String>,
    tokens: Vec<String>,
    groups: Vec<String>,
}

/// Something of each layer on each node, found by trying.
async fn spread(cluster: &RedisCluster, store: &Store, app: &Router) -> BTreeMap<usize, Kept> {
    let mut all = BTreeMap::<usize, Kept>::new();
    let mut seen = block_in_place(|| cluster.keys());
    let mut node_of_new = || {
        let keys = block_in_place(|| cluster.keys());
        let new = keys.iter().find(|key| !seen.contains(key)).expect("a new key").clone();
        seen = keys;
        block_in_place(|| cluster.primary_of(&new))
    };
    let needed = |all: &BTreeMap<usize, Kept>| {
        let whole = |kept: &Kept| {
            let Kept { names, cookies, tokens, groups } = kept;
            [names, cookies, tokens, groups].iter().all(|list| !list.is_empty())
        };
        all.len() < 3 || !all.values().all(whole)
    };
    while needed(&all) {
        let name = unique("xyzzy-name");
        assert_eq!(limited(app, &name).await.status(), StatusCode::OK);
        all.entry(node_of_new()).or_default().names.push(name);
        let response = with_cookie(app, "/session", "").await;
        let jar = cookie(response.headers()).expect("a cookie");
        all.entry(node_of_new()).or_default().cookies.push(jar);
        let token = unique("xyzzy-token");
        store.revoke(token_of(&token)).await.expect("revoked");
        all.entry(node_of_new()).or_default().tokens.push(token);
        let group = unique("xyzzy-group");
        store.values("spread").grouped(&group).increment("n", 1, MINUTE).await.expect("counted");
        all.entry(node_of_new()).or_default().groups.push(group);
    }
    all
}

fn by_the_store<B>(response: &Response<B>) -> bool {
    fields(response.headers(), "ratelimit").iter().any(|it| it.contains("\"api\""))
}

/// Everything that these keys need is done by the store.
async fn serves(app: &Router, store: &Store, kept: &Kept) -> Result<(), String> {
    for name in &kept.names {
        let response = limited(app, name).await;
        if response.status() != StatusCode::OK || !by_the_store(&response) {
            return Err(format!("limit: {response:?}"));
        }
    }
    for jar in &kept.cookies {
        let response = with_cookie(app, "/session", jar).await;
        if response.status() != StatusCode::OK {
            return Err(format!("session: {response:?}"));
        }
    }
    for token in &kept.tokens {
        // Its subject may be on any node.
        let known = crate::Token::new(token, std::time::SystemTime::now() + MINUTE);
        if store.is_revoked(known).await != Ok(true) {
            return Err("token".to_owned());
        }
    }
    for group in &kept.groups {
        let values = store.values("spread").grouped(group);
        values.increment("n", 1, MINUTE).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What each layer answers whose key is on a dead node, each within `limit`.
async fn assert_policy(app: &Router, store: &Store, kept: &Kept, limit: Duration) {
    let (response, time) = timed(limited(app, &kept.names[0])).await;
    assert_eq!(response.status(), StatusCode::OK, "it goes on in process");
    assert!(time < limit, "limit: {time:?}");
    let (response, time) = timed(with_cookie(app, "/session", &kept.cookies[0])).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(time < limit, "session: {time:?}");
    let (response, time) = timed(with_token(app, &kept.tokens[0])).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(time < 2 * limit, "token: {time:?}");
    let (response, time) = timed(send(app, get(&format!("/cached/{}", unique("n"))))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(time < 3 * limit, "cache: {time:?}");
    let counter = store.values("spread").grouped(&kept.groups[0]);
    let (outcome, time) = timed(counter.increment("n", 1, MINUTE)).await;
    outcome.expect_err("its node is dead");
    assert!(time < limit, "counter: {time:?}");
}

async fn assert_fails_within(limit: Duration, store: &Store, kept: &Kept) {
    let counter = store.values("spread").grouped(&kept.groups[0]);
    let mut times = Vec::new();
    for _ in 0..50 {
        let (outcome, time) = timed(counter.increment("n", 1, MINUTE)).await;
        outcome.expect_err("its node is dead");
        times.push(time);
    }
    times.sort_unstable();
    println!("a call to a dead node: {:?} at the median", times[25]);
    assert!(times[25] < limit, "{:?}", times[25]);
}

struct Service {
    cluster: RedisCluster,
    store: Store,
    app: Router,
    kept: BTreeMap<usize, Kept>,
}

impl Service {
    async fn start() -> Service {
        let cluster = block_in_place(guarded_cluster);
        let store = Store::connect(&cluster_url(&cluster)).await.expect("a store");
        let app = app(&store, 100_000);
        assert_layers_work(&crate::app(&store, 2)).await;
        let kept = spread(&cluster, &store, &app).await;
        Service { cluster, store, app, kept }
    }

    async fn assert_others_are_served(&self, dead: usize) {
        for (_, kept) in self.kept.iter().filter(|(node, _)| **node != dead) {
            let (served, time) = timed(serves(&self.app, &self.store, kept)).await;
            served.expect("others are not concerned");
            assert!(time < Duration::from_millis(500), "{time:?}");
        }
    }

    /// Waits until the replica of `dead` has taken over, by its own account, and then until service
    /// is whole; gives how long the second took.
    async fn recovery(&self, dead: usize, what: &str) -> Duration {
        let began = Instant::now();
        within(Duration::from_secs(20), "a replica takes over", async || {
            block_in_place(|| self.cluster.primaries().contains(&(dead + 3)))
        })
        .await;
        let detected = began.elapsed();
        let took = self.whole().await;
        println!("{what}: the servers took {detected:?}, and then it was {took:?}");
        took
    }

    async fn whole(&self) -> Duration {
        let (_, took) = timed(within(RECOVERY, "service is whole", async || {
            for kept in self.kept.values() {
                if serves(&self.app, &self.store, kept).await.is_err() {
                    return false;
                }
            }
            self.store.health().is_up()
        }))
        .await;
        took
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_replaced_and_comes_back_as_a_replica() {
    let _watched = watch();
    let _alone = alone().await;
    let mut service = Service::start().await;
    block_in_place(|| service.cluster.kill(0));
    assert_policy(&service.app, &service.store, &service.kept[&0], DEADLINE + SLACK).await;
    service.assert_others_are_served(0).await;
    assert_fails_within(AT_ONCE, &service.store, &service.kept[&0]).await;
    service.assert_others_are_served(0).await;
    assert!(!service.store.health().is_up());
    service.recovery(0, "a primary was killed").await;
    block_in_place(|| {
        service.cluster.restart(0);
        service.cluster.wait_until_whole();
    });
    assert_eq!(block_in_place(|| service.cluster.replicas_of(3)), [0]);
    service.whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_is_replaced_and_nothing_is_counted_twice() {
    let _watched = watch();
    let _alone = alone().await;
    let service = Service::start().await;
    let group = service.kept[&1].groups[0].clone();
    let counter = service.store.values("hung").grouped(&group);
    assert_eq!(counter.increment("n", 1, 10 * MINUTE).await, Ok(1));
    tokio::time::sleep(Duration::from_millis(100)).await;
    service.cluster.pause(1);
    for _ in 0..3 {
        let (outcome, time) = timed(counter.increment("n", 1, 10 * MINUTE)).await;
        let error = outcome.expect_err("it hangs");
        // A heartbeat may have found out before.
        assert!(error.is_timeout() || error.is_unavailable(), "{error}");
        assert!(time < DEADLINE + SLACK, "{time:?}");
    }
    assert_fails_within(AT_ONCE, &service.store, &service.kept[&1]).await;
    assert_policy(&service.app, &service.store, &service.kept[&1], DEADLINE + SLACK).await;
    service.assert_others_are_served(1).await;
    service.recovery(1, "a primary hung").await;
    // Not asked again of the one that took over.
    assert_eq!(counter.increment("n", 1, 10 * MINUTE).await, Ok(2));
    service.cluster.resume(1);
    block_in_place(|| service.cluster.wait_until_whole());
    assert_eq!(block_in_place(|| service.cluster.replicas_of(4)), [1]);
    assert_eq!(counter.increment("n", 1, 10 * MINUTE).await, Ok(3));
    service.whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_without_a_node_and_a_restart_of_all() {
    let _watched = watch();
    let _alone = alone().await;
    let mut service = Service::start().await;
    let url = format!("{}?read_from_replicas=true", cluster_url(&service.cluster));
    let reading = Store::connect(&url).await.expect("a store");
    block_in_place(|| service.cluster.kill(5));
    // A replica is not missed.
    let pages = app(&reading, 2);
    for _ in 0..30 {
        let response = send(&pages, get(&format!("/cached/{}", unique("n")))).await;
        let status = fields(response.headers(), "cache-status")[0].to_owned();
        assert!(!status.contains("bypass"), "{status}");
        text(response).await;
    }
    assert!(reading.health().is_up());
    drop((pages, reading));
    block_in_place(|| service.cluster.kill(2));
    assert_policy(&service.app, &service.store, &service.kept[&2], DEADLINE + SLACK).await;
    service.assert_others_are_served(2).await;
    assert_fails_within(AT_ONCE, &service.store, &service.kept[&2]).await;

    // Now the others refuse too: CLUSTERDOWN.
    let full = ["CONFIG", "SET", "cluster-require-full-coverage", "yes"];
    block_in_place(|| [0, 1].map(|node| service.cluster.node(node).command(&full)));
    let down = |node: usize| {
        let info = service.cluster.node(node).command(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:fail")
    };
    within(Duration::from_secs(10), "the cluster is down", async || {
        block_in_place(|| down(0) && down(1))
    })
    .await;
    for kept in service.kept.values() {
        assert_policy(&service.app, &service.store, kept, DEADLINE + SLACK).await;
        assert_fails_within(ROUND_TRIP, &service.store, kept).await;
    }

    block_in_place(|| {
        for node in [0, 1, 3, 4] {
            service.cluster.kill(node);
        }
        for node in 0..6 {
            service.cluster.restart(node);
        }
        service.cluster.wait_until_whole();
    });
    // Everything is forgotten, so nobody's token is revoked.
    for kept in service.kept.values_mut() {
        kept.tokens.clear();
    }
    let took = service.whole().await;
    println!("all nodes were restarted: {took:?} after the cluster was whole");
    assert_layers_work(&app(&service.store, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_not_known_takes_slots_over() {
    let _watched = watch();
    let _alone = alone().await;
    let cluster = block_in_place(guarded_cluster);
    let patient = Store::builder().deadline(Duration::from_secs(2));
    let store = patient.connect(&cluster_url(&cluster)).await.expect("a store");
    let app = app(&store, 100_000);
    let kept = spread(&cluster, &store, &app).await;
    // By hand, and without a loss: node 0 answers MOVED to where nobody has been yet.
    let stop = Arc::<AtomicBool>::default();
    let mut calls = JoinSet::new();
    let groups: Vec<_> = kept.values().flat_map(|kept| kept.groups.clone()).collect();
    for group in groups.iter().cycle().take(24) {
        let name = unique("taken");
        let (stop, values) = (stop.clone(), store.values(&name).grouped(group));
        calls.spawn(async move {
            let mut told = 0;
            while !stop.load(SeqCst) {
                let next = values.increment("n", 1, MINUTE).await.expect("no call fails");
                assert_eq!(next, told + 1);
                told = next;
            }
        });
    }
    block_in_place(|| {
        std::thread::sleep(Duration::from_millis(100));
        cluster.node(3).command(&["CLUSTER", "FAILOVER"]);
        cluster.wait_until_whole();
    });
    assert!(block_in_place(|| cluster.primaries()).contains(&3));
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, SeqCst);
    while let Some(call) = calls.join_next().await {
        call.expect("nothing is lost, nothing is counted twice");
    }
    for kept in kept.values() {
        serves(&app, &store, kept).await.expect("all are served");
    }
}

/// Everything that is asked while slots move, in as many callers as there are kinds.
async fn load(store: Store, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let app = app(&store, 100_000);
    let mut callers = JoinSet::new();
    let going = move || !stop.load(SeqCst);
    for caller in 0..4_u32 {
        let (app, store, going, done) = (app.clone(), store.clone(), going.clone(), done.clone());
        callers.spawn(async move {
            let (name, mut jar) = (format!("moving-{caller}"), String::new());
            let counter = store.values("moving");
            let token = token_of(&name);
            store.revoke(token).await.expect("revoked");
            let mut round = 0;
            while going() {
                round += 1;
                let response = limited(&app, &name).await;
                assert!(by_the_store(&response), "{response:?}");
                let left = fields(response.headers(), "ratelimit")[0].to_owned();
                let left = left.split(";r=").nth(1).and_then(|it| it.split(';').next());
                let left: i64 = left.expect("what is left").parse().expect("a number");
                // Some come back meanwhile.
                assert!(left >= 100_000 - round, "{left} left in round {round}");
                let response = with_cookie(&app, "/session", &jar).await;
                assert_eq!(response.status(), StatusCode::OK, "{response:?}");
                jar = cookie(response.headers()).unwrap_or(jar);
                assert_eq!(text(response).await, round.to_string(), "no visit is lost");
                assert_eq!(counter.increment(&name, 1, MINUTE).await, Ok(round));
                assert_eq!(store.is_revoked(token).await, Ok(true));
                let response = send(&app, get(&format!("/cached/{name}"))).await;
                let status = fields(response.headers(), "cache-status")[0].to_owned();
                assert!(!status.contains("bypass"), "{status}");
                assert_eq!(text(response).await, crate::PAYLOAD);
                let lock = store.lock(&name);
                let lease = lock.try_acquire().await.expect("an answer").expect("it is free");
                assert_eq!(lease.release().await, Ok(true));
                if caller == 0 && round % 8 == 0 {
                    let purged = Cache::new(store.clone()).purge_tag("articles").await;
                    purged.expect("purged");
                }
                if caller == 1 && round % 8 == 0 {
                    let response = with_cookie(&app, "/rotate", &jar).await;
                    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
                    jar = cookie(response.headers()).expect("another cookie");
                }
                done.fetch_add(1, SeqCst);
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("no call fails");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the load runs beside the test")]
async fn slots_move_and_nobody_notices() {
    let _watched = watch();
    let _alone = alone().await;
    let cluster = block_in_place(guarded_cluster);
    let patient = Store::builder().deadline(Duration::from_secs(2)).connections(3);
    let store = patient.connect(&cluster_url(&cluster)).await.expect("a store");
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let load = tokio::spawn(load(store, stop.clone(), done.clone()));
    within(Duration::from_secs(10), "the load is there", async || done.load(SeqCst) > 8).await;
    let before = done.load(SeqCst);
    let moved = block_in_place(|| {
        let slots: std::collections::BTreeSet<u16> =
            cluster.keys().iter().map(|key| cluster.slot_of(key)).collect();
        let began = Instant::now();
        let mut moved = 0;
        for slot in slots {
            let to = (cluster.primary_of_slot(slot) + 1) % 3;
            cluster.begin_migration(slot, to);
            // What is not there yet is asked for elsewhere; then some is here and some is there.
            std::thread::sleep(Duration::from_millis(20));
            cluster.migrate_keys(slot, to);
            std::thread::sleep(Duration::from_millis(20));
            cluster.migrate_keys(slot, to);
            cluster.finish_migration(slot, to);
            moved += 1;
            if began.elapsed() > Duration::from_secs(6) || load.is_finished() {
                break;
            }
        }
        moved
    });
    stop.store(true, SeqCst);
    let rounds = done.load(SeqCst) - before;
    load.await.expect("no call fails");
    println!("{moved} slots moved during {rounds} rounds");
    assert!(moved > 5 && rounds > 20, "{moved} {rounds}");
}
