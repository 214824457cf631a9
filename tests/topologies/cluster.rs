//! What happens to a cluster's nodes, and what it costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Router;
use http::{Response, StatusCode};
use support::RedisCluster;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::block_in_place;
use tower_redis_kit::rate_limit::{Fallback, Header, Limit, Quota, RateLimitLayer};
use tower_redis_kit::{Store, StoreError};

use crate::common::{fields, get, request, send, text, unique, within};
use crate::policies::{
    IMPATIENT, PATIENT, assert_policies, assert_turned_away, assert_whole_again, on_one_node,
    seed_on,
};
use crate::servers::{cluster_url, guarded_cluster};
use crate::shown::watch;
use crate::stands::{DEADLINE, SLACK};
use crate::{
    AT_ONCE, MINUTE, RECOVERY, app, assert_layers_work, cookie, limited, timed, token_of,
    with_cookie, with_token,
};

/// What it takes to hear from a node that the cluster is down.
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// Tests with faults run one after the other: what they measure is time.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Something of each layer whose key one node keeps.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    names: Vec<String>,
    cookies: Vec<String>,
    tokens: Vec<String>,
    pub(crate) groups: Vec<String>,
}

/// Something of each layer on each node, found by trying.
pub(crate) async fn spread(
    cluster: &RedisCluster,
    store: &Store,
    app: &Router,
) -> BTreeMap<usize, Kept> {
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

pub(crate) fn by_the_store<B>(response: &Response<B>) -> bool {
    fields(response.headers(), "ratelimit").iter().any(|it| it.contains("\"api\""))
}

/// Everything that these keys need is done by the store.
pub(crate) async fn serves(app: &Router, store: &Store, kept: &Kept) -> Result<(), String> {
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

/// The columns are timed closely; of these calls none is to hang.
const LOOSE: Duration = Duration::from_secs(2);

/// What each layer answers whose key is on a dead node.
async fn assert_policy(app: &Router, store: &Store, kept: &Kept) {
    let (response, time) = timed(limited(app, &kept.names[0])).await;
    assert_eq!(response.status(), StatusCode::OK, "it goes on in process");
    assert!(time < LOOSE, "limit: {time:?}");
    let (response, time) = timed(with_cookie(app, "/session", &kept.cookies[0])).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(time < LOOSE, "session: {time:?}");
    let (response, time) = timed(with_token(app, &kept.tokens[0])).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(time < 2 * LOOSE, "token: {time:?}");
    let (response, time) = timed(send(app, get(&format!("/cached/{}", unique("n"))))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(time < 3 * LOOSE, "cache: {time:?}");
    let counter = store.values("spread").grouped(&kept.groups[0]);
    let (outcome, time) = timed(counter.increment("n", 1, MINUTE)).await;
    outcome.expect_err("its node is dead");
    assert!(time < LOOSE, "counter: {time:?}");
}

/// Of two limits on two nodes, of which one is dead, the other gives back what it has charged.
async fn assert_none_is_charged(service: &Service, dead: usize) {
    let quota = Quota::per_day(9);
    let pair = [("left", "x-left"), ("right", "x-right")];
    let pair = pair.map(|(name, field)| Limit::new(name, quota, Header::new(field)));
    let layer = RateLimitLayer::all(pair).fallback(Fallback::Refuse);
    let pair = Router::new().layer(layer.with_store(service.store.clone()));
    let alive = service.kept.keys().find(|node| **node != dead).expect("another node");
    let [left, right] = [&dead, alive].map(|node| &*service.kept[node].names[0]);
    for _ in 0..3 {
        let asks = request("GET", "/", &[("x-left", left), ("x-right", right)]);
        assert_eq!(send(&pair, asks).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let peek = service.store.limiter("right", quota).peek(right).await;
    assert_eq!(peek.expect("its node is well").remaining(), 9);
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
    async fn on(cluster: RedisCluster) -> Service {
        let store = Store::connect(&cluster_url(&cluster)).await.expect("a store");
        let app = app(&store, 100_000);
        assert_layers_work(&crate::app(&store, 2)).await;
        // What a busy machine makes late would be in no node at all.
        let patient = Store::builder().deadline(Duration::from_secs(5));
        let patient = patient.connect(&cluster_url(&cluster)).await.expect("a store");
        let kept = spread(&cluster, &patient, &crate::app(&patient, 100_000)).await;
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
    let cluster = block_in_place(guarded_cluster);
    let (columns, dead) = on_one_node(&cluster, Store::builder).await;
    let heir = dead + 3;
    let mut service = Service::on(cluster).await;
    block_in_place(|| {
        service.cluster.node(heir).wait_to_have_all_of(service.cluster.node(dead));
        service.cluster.set_patience(PATIENT);
        service.cluster.kill(dead);
    });
    assert_policy(&service.app, &service.store, &service.kept[&dead]).await;
    assert_none_is_charged(&service, dead).await;
    service.assert_others_are_served(dead).await;
    assert_fails_within(AT_ONCE, &service.store, &service.kept[&dead]).await;
    assert_policies(&columns, None, StoreError::is_refused).await;
    service.assert_others_are_served(dead).await;
    assert!(!service.store.health().is_up());
    block_in_place(|| service.cluster.set_patience(IMPATIENT));
    service.recovery(dead, "a primary was killed").await;
    assert_whole_again(&columns, service.cluster.node(heir)).await;
    block_in_place(|| {
        service.cluster.restart(dead);
        service.cluster.wait_until_whole();
    });
    assert_eq!(block_in_place(|| service.cluster.replicas_of(heir)), [dead]);
    service.whole().await;
    assert_whole_again(&columns, service.cluster.node(heir)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_is_replaced_and_nothing_is_counted_twice() {
    let _watched = watch();
    let _alone = alone().await;
    let cluster = block_in_place(guarded_cluster);
    let (columns, hung) = on_one_node(&cluster, Store::builder).await;
    let heir = hung + 3;
    let service = Service::on(cluster).await;
    let group = service.kept[&hung].groups[0].clone();
    let counter = service.store.values("hung").grouped(&group);
    assert_eq!(counter.increment("n", 1, 10 * MINUTE).await, Ok(1));
    let node = service.cluster.node(hung);
    block_in_place(|| {
        service.cluster.node(heir).wait_to_have_all_of(node);
        service.cluster.set_patience(PATIENT);
    });
    assert_policies(&columns, Some(node), StoreError::is_timeout).await;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let (outcome, time) = timed(counter.increment("n", 1, 10 * MINUTE)).await;
        let error = outcome.expect_err("it hangs");
        // A heartbeat may have found out before.
        assert!(error.is_timeout() || error.is_unavailable(), "{error}");
        best = best.min(time);
    }
    assert!(best < DEADLINE + SLACK, "{best:?}");
    assert_fails_within(AT_ONCE, &service.store, &service.kept[&hung]).await;
    assert_policy(&service.app, &service.store, &service.kept[&hung]).await;
    service.assert_others_are_served(hung).await;
    block_in_place(|| service.cluster.set_patience(IMPATIENT));
    service.recovery(hung, "a primary hung").await;
    assert_whole_again(&columns, service.cluster.node(heir)).await;
    // Not asked again of the one that took over.
    assert_eq!(counter.increment("n", 1, 10 * MINUTE).await, Ok(2));
    service.cluster.resume(hung);
    block_in_place(|| {
        // It has missed that.
        service.cluster.set_patience(IMPATIENT);
        service.cluster.wait_until_whole();
    });
    assert_eq!(block_in_place(|| service.cluster.replicas_of(heir)), [hung]);
    assert_eq!(counter.increment("n", 1, 10 * MINUTE).await, Ok(3));
    service.whole().await;
    assert_whole_again(&columns, service.cluster.node(heir)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_without_a_node_and_a_restart_of_all() {
    let _watched = watch();
    let _alone = alone().await;
    let cluster = block_in_place(guarded_cluster);
    let (columns, node) = on_one_node(&cluster, Store::builder).await;
    // Not the columns' own.
    let dead = (node + 1) % 3;
    let alive = [node, (node + 2) % 3];
    let mut service = Service::on(cluster).await;
    let url = format!("{}?read_from_replicas=true", cluster_url(&service.cluster));
    let reading = Store::connect(&url).await.expect("a store");
    block_in_place(|| service.cluster.kill(dead + 3));
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
    block_in_place(|| service.cluster.kill(dead));
    assert_policy(&service.app, &service.store, &service.kept[&dead]).await;
    service.assert_others_are_served(dead).await;
    assert_fails_within(AT_ONCE, &service.store, &service.kept[&dead]).await;

    // Now the others refuse too: CLUSTERDOWN.
    let full = ["CONFIG", "SET", "cluster-require-full-coverage", "yes"];
    // A node that knows already who has failed looks again when something is said of slots.
    let look = ["CLUSTER", "SETSLOT", "0", "STABLE"];
    block_in_place(|| {
        for node in alive {
            for command in [&full[..], &look] {
                service.cluster.node(node).command(command);
            }
        }
    });
    let down = |node: usize| {
        let info = service.cluster.node(node).command(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:fail")
    };
    within(Duration::from_secs(10), "the cluster is down", async || {
        block_in_place(|| alive.into_iter().all(down))
    })
    .await;
    assert_turned_away(&columns, ROUND_TRIP).await;
    for kept in service.kept.values() {
        assert_policy(&service.app, &service.store, kept).await;
        assert_fails_within(ROUND_TRIP, &service.store, kept).await;
    }

    block_in_place(|| {
        for node in alive.into_iter().flat_map(|node| [node, node + 3]) {
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
    seed_on(&columns, &service.cluster, node).await;
    assert_whole_again(&columns, service.cluster.node(node)).await;
    assert_layers_work(&app(&service.store, 2)).await;
}
