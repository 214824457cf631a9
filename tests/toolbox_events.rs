//! Publishing and subscribing: who gets what, and that whoever may have missed something is told.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]

mod common;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::{eventually, on_every_store, redis_under, store_on, unique, within};
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use support::{Proxy, RedisServer};
use tower_redis_kit::toolbox::{Message, Subscription};
use tower_redis_kit::{Store, StoreBuilder};

on_every_store! {
    what_is_published_is_what_arrives,
    a_subscription_is_a_stream,
    what_cannot_be_read_is_a_gap,
    who_is_slow_holds_a_full_buffer_at_most_and_nobody_up,
    a_thousand_subscriptions_get_a_thousand_messages,
    names_and_messages_that_cannot_be_are_refused,
    a_dropped_subscription_is_woken_no_more,
    subscriptions_end_with_the_last_handle,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Order {
    id: u32,
    text: String,
}

/// The next message, which has to come within ten seconds.
async fn next<T: serde::de::DeserializeOwned>(orders: &mut Subscription<T>) -> Option<Message<T>> {
    let next = tokio::time::timeout(Duration::from_secs(10), orders.next());
    next.await.expect("a message")
}

async fn subscribe(store: &Store, channel: &str) -> Subscription<u32> {
    store.subscribe(channel).await.expect("a subscription")
}

async fn publish(store: &Store, channel: &str, number: u32) {
    store.publish(channel, &number).await.expect("published");
}

/// Fails if something waits.
fn assert_nothing_waits(orders: &mut Subscription<u32>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(Pin::new(orders).poll_next(&mut cx), Poll::Pending);
}

/// Long enough that what waits for it is seen to.
const PATIENT: Duration = Duration::from_secs(8);

fn patient() -> StoreBuilder {
    Store::builder().deadline(PATIENT)
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

/// The connections for messages, as the server counts them.
fn connections(server: &RedisServer) -> usize {
    let clients = server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    clients.lines().filter(|line| line.starts_with("id=")).count()
}

async fn what_is_published_is_what_arrives(store: Store) {
    let mut orders = store.subscribe::<Order>("orders").await.expect("a subscription");
    let mut other = store.subscribe::<Order>("others").await.expect("a subscription");
    let order = Order { id: 7, text: "\r\n\0\u{1f980}{}".to_owned() };
    store.publish("orders", &order).await.expect("published");
    assert_eq!(next(&mut orders).await, Some(Message::Value(order.clone())));
    // A channel's name is any text.
    let odd = "o*[a]?\r\n {\u{fc}}";
    let mut odd_one = store.subscribe::<Order>(odd).await.expect("a subscription");
    store.publish(odd, &order).await.expect("published");
    assert_eq!(next(&mut odd_one).await, Some(Message::Value(order.clone())));
    store.publish("others", &order).await.expect("published");
    assert_eq!(next(&mut other).await, Some(Message::Value(order)));
    assert!(!format!("{orders:?}{store:?}").contains("orders"));
}

async fn a_subscription_is_a_stream(store: Store) {
    let mut orders = subscribe(&store, "orders").await;
    publish(&store, "orders", 7).await;
    let first = poll_fn(|cx| Pin::new(&mut orders).poll_next(cx)).await;
    assert_eq!(first, Some(Message::Value(7)));
    assert_nothing_waits(&mut orders);
}

async fn what_cannot_be_read_is_a_gap(store: Store) {
    let mut orders = subscribe(&store, "orders").await;
    store.publish("orders", "text").await.expect("published");
    store.publish("orders", &-1).await.expect("published");
    publish(&store, "orders", 7).await;
    assert_eq!(next(&mut orders).await, Some(Message::Gap));
    assert_eq!(next(&mut orders).await, Some(Message::Gap));
    assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
}

async fn who_is_slow_holds_a_full_buffer_at_most_and_nobody_up(store: Store) {
    const MESSAGES: u32 = 2_000;
    let mut slow = subscribe(&store, "orders").await;
    let mut slower = subscribe(&store, "orders").await.buffer(10);
    let mut quick = subscribe(&store, "orders").await;
    for number in 1..=MESSAGES {
        publish(&store, "orders", number).await;
        assert_eq!(next(&mut quick).await, Some(Message::Value(number)));
    }
    for (orders, buffer) in [(&mut slow, 256), (&mut slower, 10)] {
        assert_eq!(next(orders).await, Some(Message::Gap));
        let mut held = Vec::new();
        while held.last() != Some(&MESSAGES) {
            let Some(Message::Value(number)) = next(orders).await else { panic!("one gap only") };
            held.push(number);
        }
        assert!((1..=buffer).contains(&held.len()), "{}", held.len());
        // The last ones, without a hole.
        let first = MESSAGES + 1 - held.len() as u32;
        assert!(held.iter().copied().eq(first..=MESSAGES), "{held:?}");
        assert_nothing_waits(orders);
    }
}

async fn a_thousand_subscriptions_get_a_thousand_messages(store: Store) {
    let mut subscriptions = Vec::new();
    for _ in 0..1_000 {
        subscriptions.push(subscribe(&store, "orders").await);
    }
    publish(&store, "orders", 7).await;
    for orders in &mut subscriptions {
        assert_eq!(next(orders).await, Some(Message::Value(7)));
    }
}

async fn names_and_messages_that_cannot_be_are_refused(store: Store) {
    for name in ["", &"x".repeat(257)] {
        assert!(store.publish(name, &7).await.expect_err("no name").is_invalid_key());
        let refused = store.subscribe::<u32>(name).await;
        assert!(refused.expect_err("no name").is_invalid_key());
    }
    let longest = "x".repeat(256);
    let mut orders = subscribe(&store, &longest).await;
    publish(&store, &longest, 7).await;
    assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
    let no_json = HashMap::from([((1, 2), 3)]);
    assert!(store.publish("a", &no_json).await.expect_err("no JSON").is_invalid_value());
}

async fn a_dropped_subscription_is_woken_no_more(store: Store) {
    for number in 0..200 {
        let mut orders = subscribe(&store, "orders").await;
        publish(&store, "orders", number).await;
        assert_eq!(next(&mut orders).await, Some(Message::Value(number)));
    }
    publish(&store, "orders", 0).await;
    assert!(format!("{store:?}").contains("listeners: 0"), "{store:?}");
}

async fn subscriptions_end_with_the_last_handle(store: Store) {
    let clone = store.clone();
    let mut orders = subscribe(&store, "orders").await;
    drop(store);
    publish(&clone, "orders", 7).await;
    assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
    drop(clone);
    assert_eq!(next(&mut orders).await, None);
}

#[tokio::test]
async fn stores_on_one_redis_hear_each_other_if_their_prefix_is_the_same() {
    let prefix = unique("events");
    let (one, other) = (redis_under(&prefix).await, redis_under(&prefix).await);
    let stranger = redis_under(&unique("events")).await;
    let mut orders = subscribe(&one, "orders").await;
    let mut strange = subscribe(&stranger, "orders").await;
    publish(&other, "orders", 7).await;
    assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
    // Another program, that knows the name.
    let channel = format!("{prefix}:channel:orders");
    RedisServer::shared().command(&["PUBLISH", &channel, " 8\n"]);
    RedisServer::shared().command(&["PUBLISH", &channel, "\u{0}"]);
    assert_eq!(next(&mut orders).await, Some(Message::Value(8)));
    assert_eq!(next(&mut orders).await, Some(Message::Gap));
    assert_nothing_waits(&mut strange);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_subscriptions_share_one_connection_that_ends_with_the_last() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let subscribed = || server.command(&["PUBSUB", "CHANNELS"]).lines().count();
    assert_eq!(connections(&server), 0);
    let mut subscriptions = Vec::new();
    for number in 0..1_000 {
        // Half of them have a channel of their own.
        let name = if number % 2 == 0 { "shared".to_owned() } else { format!("own {number}") };
        subscriptions.push((subscribe(&store, &name).await, name));
    }
    assert_eq!((connections(&server), subscribed()), (1, 501));
    for name in ["shared", "own 1", "own 999"] {
        publish(&store, name, 7).await;
    }
    for (orders, name) in &mut subscriptions {
        if ["shared", "own 1", "own 999"].contains(&name.as_str()) {
            assert_eq!(next(orders).await, Some(Message::Value(7)), "{name}");
        } else {
            assert_nothing_waits(orders);
        }
    }
    subscriptions.retain(|(_, name)| name != "shared");
    eventually("one channel less", async || subscribed() == 500).await;
    subscriptions.truncate(1);
    eventually("one channel is left", async || subscribed() == 1).await;
    assert_eq!(connections(&server), 1);
    subscriptions.clear();
    eventually("the connection is closed", async || connections(&server) == 0).await;
    let mut again = subscribe(&store, "shared").await;
    publish(&store, "shared", 8).await;
    assert_eq!(next(&mut again).await, Some(Message::Value(8)));
}

#[tokio::test]
async fn a_thousand_subscriptions_come_back_at_once_after_a_loss() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let mut subscriptions = Vec::new();
    for number in 0..1_000 {
        subscriptions.push(subscribe(&store, &format!("own {number}")).await);
    }
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for orders in &mut subscriptions {
        assert_eq!(next(orders).await, Some(Message::Gap));
    }
    for (number, orders) in subscriptions.iter_mut().enumerate() {
        publish(&store, &format!("own {number}"), 7).await;
        assert_eq!(next(orders).await, Some(Message::Value(7)));
    }
    assert_eq!(connections(&server), 1);
}

#[tokio::test]
async fn a_killed_connection_is_a_gap_after_what_had_arrived() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let mut orders = subscribe(&store, "orders").await;
    let mut watched = subscribe(&store, "orders").await;
    for round in 0..5 {
        publish(&store, "orders", round).await;
        assert_eq!(next(&mut watched).await, Some(Message::Value(round)));
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert_eq!(next(&mut watched).await, Some(Message::Gap));
    }
    for round in 0..5 {
        assert_eq!(next(&mut orders).await, Some(Message::Value(round)));
        assert_eq!(next(&mut orders).await, Some(Message::Gap));
    }
}

/// Of a server that is stopped: nothing comes until it is there again, then a gap, then messages.
async fn assert_the_server_comes_back_as_a_gap(
    server: &mut RedisServer,
    store: &Store,
    orders: &mut Subscription<u32>,
) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_nothing_waits(orders);
    server.start_again();
    assert_eq!(next(orders).await, Some(Message::Gap));
    // The commands' connection is found lost when it is used, and comes back by itself.
    eventually("it is published", async || store.publish("orders", &7).await.is_ok()).await;
    assert_eq!(next(orders).await, Some(Message::Value(7)));
}

#[tokio::test]
async fn a_restarted_server_is_a_gap() {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let mut orders = subscribe(&store, "orders").await;
    server.stop();
    assert_the_server_comes_back_as_a_gap(&mut server, &store, &mut orders).await;
}

#[tokio::test]
async fn a_cut_and_a_silent_network_are_a_gap() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.expect("a store");
    let other = store_on(&server).await;
    let mut orders = subscribe(&store, "orders").await;
    proxy.cut();
    assert_eq!(next(&mut orders).await, Some(Message::Gap));
    proxy.set_silent(true);
    publish(&other, "orders", 1).await;
    // Nothing says that it is gone: it is asked within four seconds, and given up after as long
    // again.
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_nothing_waits(&mut orders);
    proxy.set_silent(false);
    assert_eq!(next(&mut orders).await, Some(Message::Gap));
    publish(&other, "orders", 2).await;
    assert_eq!(next(&mut orders).await, Some(Message::Value(2)));
}

#[tokio::test]
async fn a_quiet_connection_stays() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let mut orders = subscribe(&store, "orders").await;
    let monitor = server.monitor();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_nothing_waits(&mut orders);
    let sent = monitor.stop();
    assert!(!sent.is_empty() && sent.iter().all(|command| command == &["PING"]), "{sent:?}");
    publish(&store, "orders", 7).await;
    assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
}

#[tokio::test]
async fn a_subscription_made_while_redis_is_away_begins_with_a_gap() {
    let mut server = RedisServer::start();
    server.stop();
    let store = patient().connect_lazy(&server.url()).expect("a URL");
    let (mut orders, time) = timed(subscribe(&store, "orders")).await;
    assert!(time < PATIENT / 2, "{time:?}");
    assert_the_server_comes_back_as_a_gap(&mut server, &store, &mut orders).await;
}

#[tokio::test]
async fn a_subscription_that_is_not_confirmed_in_time_is_given_and_begins_with_a_gap() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let mut first = subscribe(&store, "first").await;
    server.pause();
    let (mut orders, time) = timed(subscribe(&store, "orders")).await;
    assert!((100..2_000).contains(&time.as_millis()), "{time:?}");
    // Of a channel that is confirmed there is nothing to wait for.
    let mut same = subscribe(&store, "first").await;
    server.resume();
    assert_eq!(next(&mut orders).await, Some(Message::Gap));
    publish(&store, "orders", 7).await;
    publish(&store, "first", 8).await;
    assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
    assert_eq!(next(&mut first).await, Some(Message::Value(8)));
    assert_eq!(next(&mut same).await, Some(Message::Value(8)));
}

/// On one thread: the task that has the connection learns of both at once.
#[tokio::test]
async fn a_channel_that_is_left_and_joined_at_once_is_in_force_at_once() {
    let server = RedisServer::start();
    let store = patient().connect(&server.url()).await.expect("a store");
    let mut orders = subscribe(&store, "orders").await;
    let _other = subscribe(&store, "other").await;
    let began = Instant::now();
    for round in 0..50 {
        drop(orders);
        orders = subscribe(&store, "orders").await;
        publish(&store, "orders", round).await;
        assert_eq!(next(&mut orders).await, Some(Message::Value(round)));
    }
    assert!(began.elapsed() < PATIENT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_leaves_while_subscribing_leaves_nothing() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    server.pause();
    let left = store.subscribe::<u32>("orders");
    assert!(tokio::time::timeout(Duration::from_millis(20), left).await.is_err());
    assert!(format!("{store:?}").contains("listeners: 0"), "{store:?}");
    server.resume();
    eventually("the connection is closed", async || connections(&server) == 0).await;
}

#[tokio::test]
async fn a_channel_that_is_not_allowed_is_refused_and_the_others_stay() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "default", "resetchannels", "&kit:channel:open*"]);
    let store = store_on(&server).await;
    let mut open = subscribe(&store, "open").await;
    let refused = store.subscribe::<u32>("closed").await.expect_err("not allowed");
    assert!(refused.is_forbidden(), "{refused}");
    // Asked for together, only one of them is refused.
    let (first, closed, second) = tokio::join!(
        store.subscribe::<u32>("open 1"),
        store.subscribe::<u32>("closed"),
        store.subscribe::<u32>("open 2"),
    );
    assert!(closed.expect_err("not allowed").is_forbidden());
    let (mut first, mut second) = (first.expect("allowed"), second.expect("allowed"));
    for (channel, orders) in [("open", &mut open), ("open 1", &mut first), ("open 2", &mut second)]
    {
        publish(&store, channel, 7).await;
        assert_eq!(next(orders).await, Some(Message::Value(7)));
    }
    // What is allowed later is asked for again.
    server.command(&["ACL", "SETUSER", "default", "allchannels"]);
    let mut closed = subscribe(&store, "closed").await;
    publish(&store, "closed", 7).await;
    assert_eq!(next(&mut closed).await, Some(Message::Value(7)));
}

#[tokio::test]
async fn it_logs_in_and_speaks_resp3_like_the_other_connection() {
    let server = RedisServer::with(&["--requirepass", "secret"]);
    for protocol in ["", "?protocol=resp3"] {
        let url = format!("redis://:secret@{}/3{protocol}", server.addr());
        let store = Store::connect(&url).await.expect("a store");
        let mut orders = subscribe(&store, "orders").await;
        publish(&store, "orders", 7).await;
        assert_eq!(next(&mut orders).await, Some(Message::Value(7)));
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert_eq!(next(&mut orders).await, Some(Message::Gap));
    }
}

#[tokio::test]
async fn the_connection_closes_with_the_store() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let mut orders = subscribe(&store, "orders").await;
    drop(store);
    assert_eq!(next(&mut orders).await, None);
    within(Duration::from_secs(3), "no connection is left", async || {
        !server.command(&["CLIENT", "LIST"]).contains("lib-name=redis-rs")
            && connections(&server) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_and_going_at_random_loses_no_subscription() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let mut guests = tokio::task::JoinSet::new();
    for guest in 0..8u32 {
        let store = store.clone();
        guests.spawn(async move {
            for round in 0..150u32 {
                let channel = format!("room {}", (guest + round) % 3);
                let mut room = subscribe(&store, &channel).await;
                let number = guest * 1_000 + round;
                publish(&store, &channel, number).await;
                // Others talk as well; whatever the load, one's own word comes, or a gap.
                loop {
                    match next(&mut room).await {
                        Some(Message::Value(heard)) if heard != number => {}
                        Some(_) => break,
                        None => panic!("the store is there"),
                    }
                }
            }
        });
    }
    guests.join_all().await;
    eventually("the connection is closed", async || connections(&server) == 0).await;
}
