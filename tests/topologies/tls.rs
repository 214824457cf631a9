//! Clusters and Sentinels that speak nothing but TLS, to each other as well.

use std::time::Duration;

use support::RedisServer;
use tokio::task::block_in_place;
use tower_redis_kit::{Store, StoreBuilder};

use crate::common::within;
use crate::everywhere::{everything_works, reads};
use crate::sentinel::recovery;
use crate::servers::{ca, cluster_url, sentinel_url, tls_cluster, tls_sentinels};
use crate::shown::watch;
use crate::{MINUTE, RECOVERY, assert_everything_works};

/// Of a store that believes the authority of all these servers.
fn trusting(server: &RedisServer) -> StoreBuilder {
    Store::builder().tls_roots(ca(server)).deadline(Duration::from_secs(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_a_slot_moves_and_a_killed_node_is_replaced() {
    let _watched = watch();
    let mut cluster = block_in_place(tls_cluster);
    let (url, builder) = (cluster_url(&cluster), trusting(cluster.node(0)));
    assert!(url.starts_with("rediss-cluster://"), "{url}");
    everything_works(builder.clone(), &url).await;

    let before = block_in_place(|| cluster.keys());
    let store = builder.connect(&url).await.expect("a store");
    let values = store.values("moving");
    let count = async || values.increment("n", 1, MINUTE).await;
    assert_eq!(count().await, Ok(1));
    let (slot, to) = block_in_place(|| {
        let keys = cluster.keys();
        let key = keys.iter().find(|key| !before.contains(key)).expect("the counter");
        let slot = cluster.slot_of(key);
        let to = (cluster.primary_of_slot(slot) + 1) % 3;
        cluster.begin_migration(slot, to);
        assert!(cluster.migrate_keys(slot, to) > 0);
        (slot, to)
    });
    assert_eq!(count().await, Ok(2), "ASK is followed");
    block_in_place(|| cluster.finish_migration(slot, to));
    assert_eq!(count().await, Ok(3), "MOVED is followed");

    block_in_place(|| {
        cluster.node(to + 3).wait_to_have_all_of(cluster.node(to));
        cluster.kill(to);
        cluster.wait_until_whole();
    });
    within(RECOVERY, "service is whole", async || store.health().is_up()).await;
    assert_eq!(count().await, Ok(4), "the replica had it too");
    assert_everything_works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_whose_replicas_answer() {
    let _watched = watch();
    let cluster = block_in_place(tls_cluster);
    let (url, builder) = (cluster_url(&cluster), trusting(cluster.node(0)));
    let store = builder.connect(&format!("{url}?read_from_replicas=true")).await.expect("a store");
    let values = store.values("read");
    values.set("a", "kept", MINUTE).await.expect("it is stored");
    let (primary, replica) = block_in_place(|| {
        let [key] = &cluster.keys()[..] else { panic!("one value is one key") };
        let primary = cluster.primary_of_slot(cluster.slot_of(key));
        let (primary, replica) = (cluster.node(primary), cluster.node(primary + 3));
        replica.wait_to_have_all_of(primary);
        (primary, replica)
    });
    assert_eq!(replica.query::<(String, String)>(&["CONFIG", "GET", "port"]).1, "0", "TLS alone");
    let read = async || values.get::<String>("a").await.expect("an answer").expect("it is there");
    // Nodes of a cluster that is new do not name their replicas yet.
    let before = reads(replica);
    within(RECOVERY * 3, "the replica is asked", async || {
        assert_eq!(read().await, "kept");
        reads(replica) > before
    })
    .await;
    let before = (reads(primary), reads(replica));
    for _ in 0..20 {
        assert_eq!(read().await, "kept");
    }
    assert_eq!((reads(primary), reads(replica)), (before.0, before.1 + 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_a_failover_on_command() {
    let _watched = watch();
    let sentinels = block_in_place(tls_sentinels);
    let (url, builder) = (sentinel_url(&sentinels), trusting(sentinels.node(0)));
    assert!(url.starts_with("rediss-sentinel://"), "{url}");
    everything_works(builder.clone(), &url).await;
    let store = builder.connect(&url).await.expect("a store");
    let old = block_in_place(|| sentinels.failover());
    recovery(&sentinels, &store, old).await;
    assert_everything_works(&store).await;
    block_in_place(|| sentinels.wait_until_whole());
    assert!(store.health().is_up());
}
