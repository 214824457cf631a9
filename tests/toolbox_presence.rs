//! Presence, by the public interface.

mod common;

use std::time::Duration;

use common::{on_every_store, unique};
use support::RedisServer;
use tower_redis_kit::Store;

const MINUTE: Duration = Duration::from_secs(60);

on_every_store!(who_is_touched_is_present, what_cannot_be_a_name_is_an_error, rooms_are_apart);

async fn who_is_touched_is_present(store: Store) {
    let online = store.presence("site");
    online.touch("ada", MINUTE).await.unwrap();
    online.touch("bob", 2 * MINUTE).await.unwrap();
    online.touch("cy", Duration::from_millis(100)).await.unwrap();
    online.touch("ada", 3 * MINUTE).await.unwrap();
    assert_eq!(online.count().await, Ok(3));
    assert_eq!(online.list(2).await.unwrap(), ["ada", "bob"]);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(online.list(10).await.unwrap(), ["ada", "bob"]);
    online.leave("ada").await.unwrap();
    online.leave("nobody").await.unwrap();
    assert_eq!(online.list(10).await.unwrap(), ["bob"]);
}

async fn what_cannot_be_a_name_is_an_error(store: Store) {
    let online = store.presence("site");
    for name in ["", &"x".repeat(513)] {
        assert!(online.touch(name, MINUTE).await.unwrap_err().is_invalid_key());
        assert!(online.leave(name).await.unwrap_err().is_invalid_key());
        assert!(online.of(name).count().await.unwrap_err().is_invalid_key());
    }
    let error = online.touch("ada", Duration::ZERO).await.unwrap_err();
    assert!(error.is_invalid_time_to_live());
    assert_eq!(online.count().await, Ok(0));
}

async fn rooms_are_apart(store: Store) {
    let rooms = store.presence("room");
    for room in ["a", "{a}", "a:b"] {
        rooms.of(room).touch(room, MINUTE).await.unwrap();
        assert_eq!(rooms.of(room).list(9).await.unwrap(), [room]);
    }
    assert_eq!(rooms.count().await, Ok(0));
    assert_eq!(store.presence("room:a").of("b").count().await, Ok(0));
}

#[tokio::test]
async fn in_process_a_presence_without_room_takes_nobody_in() {
    let online = Store::builder().memory_capacity(64 << 10).memory().presence("site");
    let mut present = 0;
    let full = loop {
        match online.touch(&format!("user {present}"), MINUTE).await {
            Ok(()) => present += 1,
            Err(error) => break error,
        }
    };
    assert!(full.is_full() && present > 0);
    assert_eq!(online.count().await, Ok(present));
    online.touch("user 0", 2 * MINUTE).await.unwrap();
    online.leave("user 0").await.unwrap();
    online.touch("user x", MINUTE).await.unwrap();
}

#[tokio::test]
async fn on_redis_a_presence_ends_with_the_last_who_is_present() {
    let (server, prefix) = (RedisServer::shared(), unique("presence"));
    let online = common::redis_under(&prefix).await.presence("site");
    online.touch("ada", MINUTE).await.unwrap();
    online.touch("bob", Duration::from_secs(1)).await.unwrap();
    let key = format!("{prefix}:presence:site");
    assert!((1_001..=60_000).contains(&server.ttl_ms(&key)));
    online.touch("bob", 2 * MINUTE).await.unwrap();
    assert!((60_001..=120_000).contains(&server.ttl_ms(&key)));
}
