//! Locks: one holder at a time, leases that last as long as they are renewed, and what a holder
//! learns when its lease is lost.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{eventually, on_every_store, store_on, within};
use support::{Proxy, RedisServer};
use tokio::task::JoinSet;
use tower_redis_kit::Store;
use tower_redis_kit::toolbox::{Lease, Lock};

/// Short enough to be waited for, and long beside a slow machine's hiccups.
const TTL: Duration = Duration::from_millis(600);

on_every_store! {
    of_a_hundred_one_at_a_time_holds_the_lock_and_its_numbers_rise,
    a_lease_outlives_its_time_by_being_renewed,
    a_dropped_lease_is_released,
    a_released_lease_is_released_once,
    who_waits_gets_the_lock_or_is_told_that_the_time_is_up,
    locks_of_other_names_are_other_locks,
    a_lease_for_ever_is_one_for_a_year,
}

async fn take(lock: &Lock) -> Lease {
    lock.try_acquire().await.expect("the store answers").expect("the lock is free")
}

async fn is_free(lock: &Lock) -> bool {
    lock.try_acquire().await.expect("the store answers").is_some()
}

/// Fails if the lease is not lost within `limit`.
async fn assert_lost(lease: &Lease, limit: Duration) {
    tokio::time::timeout(limit, lease.lost()).await.expect("the loss is told");
    assert!(!lease.is_held());
}

async fn of_a_hundred_one_at_a_time_holds_the_lock_and_its_numbers_rise(store: Store) {
    let (inside, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let mut contenders = JoinSet::new();
    for _ in 0..100 {
        let (store, inside, numbers) = (store.clone(), inside.clone(), numbers.clone());
        contenders.spawn(async move {
            let lease = store.lock("a").acquire(Duration::from_secs(60)).await;
            let lease = lease.expect("the store answers").expect("each has its turn");
            assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
            numbers.lock().unwrap().push(lease.fencing_number());
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(inside.swap(false, Ordering::SeqCst));
            assert!(lease.release().await.expect("the store answers"));
        });
    }
    contenders.join_all().await;
    let numbers = numbers.lock().unwrap();
    assert_eq!(numbers.len(), 100);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

async fn a_lease_outlives_its_time_by_being_renewed(store: Store) {
    // A slow machine may hold up a renewal for a second.
    let lock = store.lock("a").ttl(TTL * 3);
    let lease = take(&lock).await;
    let lost = tokio::time::timeout(TTL * 6, lease.lost()).await;
    assert!(lost.is_err() && lease.is_held());
    assert!(!is_free(&lock).await);
    assert!(lease.release().await.expect("the store answers"));
    assert!(is_free(&lock).await);
}

async fn a_dropped_lease_is_released(store: Store) {
    let lock = store.lock("a");
    let lease = take(&lock).await;
    let number = lease.fencing_number();
    drop(lease);
    eventually("the lock is free", async || is_free(&lock).await).await;
    let again = lock.acquire(Duration::from_secs(10)).await.expect("the store answers");
    assert!(again.expect("it is free").fencing_number() > number);
}

async fn a_released_lease_is_released_once(store: Store) {
    let lock = store.lock("a").ttl(TTL);
    let first = take(&lock).await;
    first.release().await.expect("the store answers");
    let second = take(&store.lock("a")).await;
    // Nothing of the first is left that could take the lock from the second, or keep it.
    tokio::time::sleep(TTL * 2).await;
    assert!(second.is_held());
    drop(second);
    eventually("the lock is free", async || is_free(&lock).await).await;
}

async fn who_waits_gets_the_lock_or_is_told_that_the_time_is_up(store: Store) {
    let lock = store.lock("a");
    let lease = take(&lock).await;
    let began = Instant::now();
    let none = lock.acquire(Duration::from_millis(200)).await.expect("the store answers");
    assert!(none.is_none());
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(lock.acquire(Duration::ZERO).await.expect("the store answers").is_none());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let (waited, ()) = tokio::join!(lock.acquire(Duration::from_secs(20)), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(lease);
    });
    assert!(waited.expect("the store answers").is_some());
}

async fn locks_of_other_names_are_other_locks(store: Store) {
    let names: [&[u8]; 4] = [b"a", b"b", b"", b"\xff}{\r\n:"];
    let mut leases = Vec::new();
    for name in names {
        leases.push(take(&store.lock(name)).await);
        assert!(!is_free(&store.lock(name)).await);
    }
    assert!(leases.iter().all(Lease::is_held));
    assert!(!format!("{:?}{:?}", store.lock("secret"), leases).contains("secret"));
}

async fn a_lease_for_ever_is_one_for_a_year(store: Store) {
    let lock = store.lock("a").ttl(Duration::MAX);
    let lease = take(&lock).await;
    assert!(lease.is_held() && !is_free(&lock).await);
    assert!(lease.release().await.expect("the store answers"));
    assert!(is_free(&lock).await);
}

/// All on one thread, so that blocking it stops the task that renews as well.
#[tokio::test]
async fn a_holder_that_was_stalled_has_lost_the_lease_and_learns_it() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let lock = store.lock("a").ttl(TTL);
    let lease = take(&lock).await;
    let number = lease.fencing_number();
    let url = server.url();
    let other = std::thread::spawn(move || {
        std::thread::sleep(TTL + Duration::from_millis(200));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let other = Store::connect(&url).await.expect("a store").lock("a");
            let lease = take(&other).await;
            let number = lease.fencing_number();
            // Kept for a while: a runtime that ends takes the renewal along.
            std::mem::forget(lease);
            number
        })
    });
    let other_number = {
        std::thread::sleep(TTL * 2);
        other.join().expect("the other one gets the lock")
    };
    assert!(!lease.is_held(), "known before anybody is asked");
    assert_lost(&lease, Duration::from_secs(1)).await;
    assert!(other_number > number);
    assert!(!lease.release().await.expect("the store answers"));
    assert!(!is_free(&lock).await, "what is the other's stays");
}

#[tokio::test]
async fn a_lost_lease_does_not_come_back_though_its_lock_is_still_there() {
    let server = RedisServer::start();
    let lock = store_on(&server).await.lock("a").ttl(TTL);
    let lease = take(&lock).await;
    let key = server.keys().into_iter().find(|key| key.ends_with('}')).expect("the lock's key");
    server.command(&["PEXPIRE", &key, "60000"]);
    std::thread::sleep(TTL + Duration::from_millis(100));
    for _ in 0..10 {
        assert!(!lease.is_held());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its task has given the lock back: nobody has to wait for the minute.
    within(Duration::from_secs(3), "the lock is free", async || is_free(&lock).await).await;
}

#[tokio::test]
async fn a_lease_that_somebody_else_has_by_now_is_lost_at_its_next_renewal() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let lock = store.lock("a").ttl(TTL);
    let lease = take(&lock).await;
    server.command(&["FLUSHALL"]);
    let other = take(&store.lock("a")).await;
    assert!(other.fencing_number() > lease.fencing_number(), "though the last one is forgotten");
    assert_lost(&lease, TTL * 2).await;
    drop(lease);
    tokio::time::sleep(TTL * 2).await;
    assert!(other.release().await.expect("the store answers"));
}

#[tokio::test]
async fn a_lease_is_lost_when_redis_comes_back_empty() {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let lease = take(&store.lock("a").ttl(Duration::from_secs(3))).await;
    server.stop();
    server.start_again();
    assert_lost(&lease, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_lease_is_lost_when_redis_stays_away_for_its_time_and_not_before() {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let lease = take(&store.lock("a").ttl(TTL)).await;
    let began = Instant::now();
    server.stop();
    assert!(lease.is_held());
    assert_lost(&lease, TTL + Duration::from_secs(1)).await;
    assert!(began.elapsed() > TTL / 2, "{:?}", began.elapsed());
    lease.release().await.expect_err("nobody answers");
}

#[tokio::test]
async fn a_lease_survives_an_interruption_shorter_than_its_time() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.expect("a store");
    let lock = store.lock("a").ttl(Duration::from_secs(5));
    let lease = take(&lock).await;
    proxy.cut();
    proxy.refuse(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.refuse(false);
    let lost = tokio::time::timeout(Duration::from_secs(4), lease.lost()).await;
    assert!(lost.is_err() && lease.is_held());
}

#[tokio::test]
async fn a_lease_dropped_while_redis_is_away_is_released_when_it_is_back() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.expect("a store");
    let lock = store.lock("a");
    let lease = take(&lock).await;
    proxy.refuse(true);
    proxy.cut();
    lock.try_acquire().await.expect_err("nobody answers");
    drop(lease);
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.refuse(false);
    within(Duration::from_secs(3), "it is back", async || store.health().is_up()).await;
    within(Duration::from_secs(3), "the lock is free", async || is_free(&lock).await).await;
}

#[tokio::test]
async fn what_was_taken_without_an_answer_is_given_back() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let lock = store.lock("a");
    // One caller's time is up; another one leaves.
    server.pause();
    assert!(lock.try_acquire().await.expect_err("nobody answers").is_timeout());
    server.resume();
    within(Duration::from_secs(3), "the lock is free", async || is_free(&lock).await).await;
    within(Duration::from_secs(3), "the lock is free", async || is_free(&lock).await).await;
    server.pause();
    let left = tokio::time::timeout(Duration::from_millis(30), lock.try_acquire()).await;
    assert!(left.is_err());
    tokio::time::sleep(Duration::from_millis(10)).await;
    server.resume();
    within(Duration::from_secs(3), "the lock is free", async || is_free(&lock).await).await;
}

/// A store that has two connections for locks, through a proxy, and the lock without one.
async fn by_a_long_wire(server: &RedisServer, deadline: Duration) -> (Proxy, Lock, Lock) {
    let proxy = Proxy::to(server.addr());
    let store = Store::builder().connections(3).deadline(deadline).connect(&proxy.url()).await;
    let near = Store::builder().deadline(Duration::from_secs(5)).connect(&server.url()).await;
    (proxy, store.expect("a store").lock("a"), near.expect("a store").lock("a"))
}

#[tokio::test]
async fn what_was_taken_on_a_connection_that_was_lost_is_given_back() {
    let server = RedisServer::start();
    let (proxy, lock, near) = by_a_long_wire(&server, Duration::from_secs(5)).await;
    proxy.set_deaf(true);
    let (answer, ()) = tokio::join!(lock.try_acquire(), async {
        let is_taken = async || server.keys().iter().any(|key| key.ends_with('}'));
        within(Duration::from_secs(3), "the lock is taken", is_taken).await;
        proxy.refuse(true);
        proxy.cut();
    });
    assert!(answer.expect_err("the answer is lost").is_unavailable());
    // What gives it back fails as well, at first.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!is_free(&near).await);
    proxy.set_deaf(false);
    proxy.refuse(false);
    within(Duration::from_secs(3), "the lock is free", async || is_free(&near).await).await;
}

#[tokio::test]
async fn a_release_does_not_overtake_the_claim_of_who_has_left() {
    let server = RedisServer::start();
    let (proxy, lock, near) = by_a_long_wire(&server, Duration::from_secs(5)).await;
    proxy.set_delay(Duration::from_millis(500));
    let left = tokio::time::timeout(Duration::from_millis(100), lock.try_acquire()).await;
    assert!(left.is_err());
    proxy.set_delay(Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(600)).await;
    within(Duration::from_secs(3), "the lock is free", async || is_free(&near).await).await;
}

#[tokio::test]
async fn a_claim_that_comes_after_its_time_is_given_back() {
    let server = RedisServer::start();
    let (proxy, lock, near) = by_a_long_wire(&server, Duration::from_millis(300)).await;
    proxy.set_delay(Duration::from_millis(800));
    assert!(lock.try_acquire().await.expect_err("it is late").is_timeout());
    proxy.set_delay(Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(600)).await;
    within(Duration::from_secs(3), "the lock is free", async || is_free(&near).await).await;
}

#[tokio::test]
async fn a_lock_costs_one_command_to_take_and_one_to_release_and_leaves_only_what_ends() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let (before, monitor) = (server.count(), server.monitor());
    let lock = store.lock("a");
    let lease = take(&lock).await;
    assert!(!is_free(&lock).await);
    for key in server.keys() {
        assert_ne!(server.ttl_ms(&key), -1, "{key} stays for ever");
        assert!(!key.contains("\"a\""));
    }
    lease.release().await.expect("the store answers");
    assert_eq!(server.count().since(&before).round_trips, 3);
    let sent = monitor.stop();
    assert!(sent.iter().all(|command| command[0] == "EVALSHA"), "{sent:?}");
    for key in server.keys() {
        assert_ne!(server.ttl_ms(&key), -1, "{key} stays for ever");
    }
}

#[test]
#[should_panic(expected = "a lease of less than 100ms does not last")]
fn a_time_that_is_too_short_is_refused() {
    let _ = Store::memory().lock("a").ttl(Duration::from_millis(99));
}
