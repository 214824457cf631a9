//! The end of a store: what was promised is kept, what is held is given back.

mod common;

use std::time::Duration;

use common::{on_every_store, redis_under, store_on, unique, within};
use support::{RedisServer, Sentinels};
use tower_redis_kit::{Store, redis};

const PATIENCE: Duration = Duration::from_secs(5);

on_every_store!(leases_are_given_back, a_store_ends_once_and_for_all_clones);

async fn leases_are_given_back(store: Store) {
    let lease = store.lock("report").try_acquire().await.unwrap().expect("nobody has it");
    assert!(store.clone().shutdown(PATIENCE).await);
    assert!(!lease.is_held());
    lease.lost().await;
}

async fn a_store_ends_once_and_for_all_clones(store: Store) {
    assert!(store.shutdown(PATIENCE).await);
    assert!(store.clone().shutdown(PATIENCE).await);
}

#[tokio::test]
async fn another_process_can_take_a_lock_at_once() {
    let prefix = unique("shutdown");
    let (one, other) = (redis_under(&prefix).await, redis_under(&prefix).await);
    let _lease = one.lock("report").try_acquire().await.unwrap().expect("nobody has it");
    assert!(other.lock("report").try_acquire().await.unwrap().is_none());
    assert!(one.shutdown(PATIENCE).await);
    assert!(other.lock("report").try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn calls_under_way_are_answered_and_later_ones_refused() {
    let server = RedisServer::start();
    let store = Store::builder().deadline(PATIENCE).connect(&server.url()).await.unwrap();
    server.pause();
    let values = store.values("late");
    let write = tokio::spawn(async move { values.set("a", "b", PATIENCE).await });
    within(PATIENCE, "the call is on its way", async || !write.is_finished()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let end = tokio::spawn({
        let store = store.clone();
        async move { store.shutdown(PATIENCE).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let late = store.raw::<redis::Value>(redis::cmd("PING")).await.unwrap_err();
    assert!(late.is_shut_down() && late.is_unavailable());
    server.resume();
    write.await.unwrap().expect("what was promised is kept");
    assert!(end.await.unwrap());
    assert!(!store.health().is_up());
    // Who asks is the only one left.
    let clients = || server.command(&["CLIENT", "LIST", "TYPE", "normal"]);
    within(PATIENCE, "connections are closed", async || clients().trim().lines().count() == 1)
        .await;
}

#[tokio::test]
async fn a_hanging_redis_is_waited_for_with_patience_only() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let _lease = store.lock("report").try_acquire().await.unwrap().expect("nobody has it");
    server.pause();
    let began = tokio::time::Instant::now();
    assert!(!store.shutdown(Duration::from_millis(300)).await);
    assert!(began.elapsed() < Duration::from_secs(2));
    let late = store.raw::<redis::Value>(redis::cmd("PING")).await.unwrap_err();
    assert!(late.is_shut_down() && late.is_unavailable());
}

#[tokio::test]
async fn nothing_listens_to_the_sentinels_any_more() {
    let sentinels = Sentinels::start();
    let store = Store::connect(&sentinels.url()).await.unwrap();
    let listening = |sentinel: &RedisServer| {
        !sentinel.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).is_empty()
    };
    let all = sentinels.sentinels();
    within(PATIENCE, "all are listened to", async || all.iter().all(listening)).await;
    assert!(store.shutdown(PATIENCE).await);
    within(PATIENCE, "none is", async || !all.iter().any(listening)).await;
}
