//! What happens to a cluster's slots while they are asked for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use http::StatusCode;
use support::RedisCluster;
use tokio::task::{JoinSet, block_in_place};
use tower_redis_kit::Store;
use tower_redis_kit::cache::Cache;
use tower_redis_kit::toolbox::BatchOutcome;

use crate::cluster::{alone, by_the_store, serves, spread};
use crate::columns::Seen;
use crate::common::{fields, get, send, text, unique, within};
use crate::policies::{PATIENT, asked_during, assert_whole_again, on_one_node, slots_of_columns};
use crate::servers::{cluster_url, guarded_cluster};
use crate::shown::watch;
use crate::{MINUTE, app, cookie, limited, token_of, with_cookie};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_not_known_takes_slots_over() {
    let _watched = watch();
    let _alone = alone().await;
    let cluster = block_in_place(guarded_cluster);
    let patient = Store::builder().deadline(Duration::from_secs(2));
    let store = patient.connect(&cluster_url(&cluster)).await.expect("a store");
    let app = app(&store, 100_000);
    let kept = spread(&cluster, &store, &app).await;
    // Or, on a busy machine, nodes take each other for dead.
    block_in_place(|| cluster.set_patience(PATIENT));
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
    let patient = || Store::builder().deadline(Duration::from_secs(2)).connections(3);
    let (columns, home) = on_one_node(&cluster, patient).await;
    let store = patient().connect(&cluster_url(&cluster)).await.expect("a store");
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let load = tokio::spawn(load(store, stop.clone(), done.clone()));
    within(Duration::from_secs(10), "the load is there", async || done.load(SeqCst) > 8).await;
    let before = done.load(SeqCst);
    let moved = asked_during(&columns, &[Seen::Served], || {
        let ours = slots_of_columns(&cluster);
        let all: BTreeSet<u16> = cluster.keys().iter().map(|key| cluster.slot_of(key)).collect();
        let began = Instant::now();
        let mut moved = 0;
        for &slot in ours.iter().chain(all.difference(&ours)) {
            let to = (cluster.primary_of_slot(slot) + 1) % 3;
            cluster.begin_migration(slot, to);
            // What is not there yet is asked for elsewhere; then some is here and some is there.
            std::thread::sleep(Duration::from_millis(20));
            cluster.migrate_keys(slot, to);
            std::thread::sleep(Duration::from_millis(20));
            cluster.migrate_keys(slot, to);
            cluster.finish_migration(slot, to);
            moved += 1;
            let is_late = began.elapsed() > Duration::from_secs(6) && moved >= ours.len();
            if is_late || load.is_finished() {
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
    // Not one call has failed, so that each is found exactly once.
    assert_whole_again(&columns, cluster.node((home + 1) % 3)).await;
}

/// Opens the slots of what has this name, so that it is where they go, or nowhere any more.
fn open(cluster: &RedisCluster, name: &str, is_kept: bool) {
    for key in cluster.keys().iter().filter(|key| key.contains(name)) {
        let (slot, from) = (cluster.slot_of(key), cluster.primary_of(key));
        if !is_kept {
            cluster.node(from).command(&["DEL", key]);
        }
        let to = (from + 1) % 3;
        cluster.begin_migration(slot, to);
        assert_eq!(cluster.migrate_keys(slot, to), usize::from(is_kept));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_all_or_nothing_is_done_where_an_open_slot_goes() {
    let _watched = watch();
    let cluster = block_in_place(guarded_cluster);
    let patient = Store::builder().deadline(Duration::from_secs(2));
    let store = patient.connect(&cluster_url(&cluster)).await.expect("a store");
    for is_kept in [true, false] {
        let name = unique("open");
        let (log, values) = (store.log(&name), store.values(&name));
        let batch = || values.batch().increment("n", 1, MINUTE).expire("n", 2 * MINUTE);
        log.append("first").await.expect("appended");
        batch().run().await.expect("done");
        block_in_place(|| open(&cluster, &name, is_kept));
        let before = u8::from(is_kept);
        for count in before + 1..before + 4 {
            log.append("another").await.expect("appended");
            assert_eq!(log.len().await, Ok(count.into()), "once");
            let outcomes = [BatchOutcome::Sum(count.into()), BatchOutcome::Kept(true)];
            assert_eq!(batch().run().await.as_deref(), Ok(&outcomes[..]), "once");
        }
    }
}
