//! Values of handlers, by the public interface: what is kept is there, what cannot be kept is an
//! error, and one caller computes for all.

mod common;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Counter, eventually, on_every_store, unique};
use serde::{Deserialize, Serialize};
use support::{RedisCluster, RedisServer};
use tokio::sync::Notify;
use tokio::task::{JoinSet, block_in_place};
use tower_redis_kit::Store;
use tower_redis_kit::toolbox::{KeysWithPrefix, Values};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Article {
    title: String,
    lines: Vec<u32>,
}

fn article(title: &str) -> Article {
    Article { title: title.to_owned(), lines: vec![1, 2, 3] }
}

on_every_store!(
    a_value_comes_back_until_it_is_deleted,
    several_values_travel_at_once,
    what_cannot_be_kept_is_an_error,
    a_value_of_another_type_counts_as_absent_and_is_removed,
    a_hundred_callers_compute_once,
    when_the_computing_caller_leaves_another_takes_over,
    a_panic_while_computing_is_the_callers_own,
    an_error_is_the_callers_own_and_stores_nothing,
    what_cannot_be_stored_is_computed_all_the_same,
    large_values_come_back,
    any_text_is_a_key_of_its_own,
    a_prefix_is_no_glob,
    ten_thousand_values_go_by_their_prefix_while_others_stay,
    an_empty_prefix_is_refused,
    a_batch_is_done_in_order,
    a_batch_that_cannot_be_done_does_nothing,
);

async fn a_value_comes_back_until_it_is_deleted(store: Store) {
    let articles = store.values("articles");
    assert_eq!(articles.get::<Article>("7").await.unwrap(), None);
    articles.set("7", &article("News"), MINUTE).await.unwrap();
    assert_eq!(articles.get("7").await.unwrap(), Some(article("News")));
    assert!(articles.exists("7").await.unwrap());
    assert!(articles.delete("7").await.unwrap());
    assert!(!articles.delete("7").await.unwrap());
    assert!(!articles.exists("7").await.unwrap());
    assert_eq!(articles.time_to_live("7").await.unwrap(), None);

    articles.set("a", "text", MINUTE).await.unwrap();
    assert_eq!(articles.take("a").await.unwrap(), Some("text".to_owned()));
    assert_eq!(articles.take::<String>("a").await.unwrap(), None);
}

async fn several_values_travel_at_once(store: Store) {
    let articles = store.values("articles");
    let (a, b) = (article("A"), article("B"));
    articles.set_many([("1", &a), ("2", &b)], MINUTE).await.unwrap();
    let keys = vec!["2".to_owned(), "0".to_owned(), "1".to_owned()];
    let all: Vec<Option<Article>> = articles.get_many(keys).await.unwrap();
    assert_eq!(all, [Some(b), None, Some(a)]);
    let none: [(&str, Article); 0] = [];
    articles.set_many(none, MINUTE).await.unwrap();
    assert!(articles.get_many::<Article>([""; 0]).await.unwrap().is_empty());
}

async fn what_cannot_be_kept_is_an_error(store: Store) {
    let values = store.values("values").max_size(100);
    let long = "x".repeat(513);
    for key in ["", &long] {
        assert!(values.set(key, "x", MINUTE).await.unwrap_err().is_invalid_key());
        assert!(values.get::<String>(key).await.unwrap_err().is_invalid_key());
        assert!(values.get_many::<String>(["a", key]).await.unwrap_err().is_invalid_key());
        let grouped = values.grouped(key).get::<String>("a").await.unwrap_err();
        assert!(grouped.is_invalid_key());
    }
    let zero = Duration::ZERO;
    assert!(values.set("a", "x", zero).await.unwrap_err().is_invalid_time_to_live());
    assert!(values.set_many([("a", "x")], zero).await.unwrap_err().is_invalid_time_to_live());
    assert!(values.set_if_absent("a", "x", zero).await.unwrap_err().is_invalid_time_to_live());
    assert!(values.increment("a", 1, zero).await.unwrap_err().is_invalid_time_to_live());
    assert!(values.expire("a", zero).await.unwrap_err().is_invalid_time_to_live());

    assert!(values.set("a", &"x".repeat(101), MINUTE).await.unwrap_err().is_too_large());
    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    let both = [("b", no_json.clone())];
    assert!(values.set("a", &no_json, MINUTE).await.unwrap_err().is_invalid_value());
    assert!(values.set_many(both, MINUTE).await.unwrap_err().is_invalid_value());
    assert!(!values.exists("a").await.unwrap());

    // Written under a higher cap.
    store.values("values").set("a", &"x".repeat(101), MINUTE).await.unwrap();
    assert!(values.get::<String>("a").await.unwrap_err().is_too_large());
    assert!(values.exists("a").await.unwrap(), "it is good for others");

    values.set("a secret", "sesame", MINUTE).await.unwrap();
    let error = values.increment("a secret", 1, MINUTE).await.unwrap_err();
    assert!(error.is_not_a_counter());
    let shown = format!("{error} {error:?} {:?}", values.grouped("a secret"));
    assert!(!shown.contains("secret") && !shown.contains("sesame"), "{shown}");
}

async fn a_value_of_another_type_counts_as_absent_and_is_removed(store: Store) {
    let values = store.values("values");
    values.set("a", "no article", MINUTE).await.unwrap();
    values.set("b", &article("B"), MINUTE).await.unwrap();
    let both: Vec<Option<Article>> = values.get_many(["a", "b"]).await.unwrap();
    assert_eq!(both, [None, Some(article("B"))]);
    assert!(!values.exists("a").await.unwrap());
    values.set("a", "no article", MINUTE).await.unwrap();
    assert_eq!(values.take::<Article>("a").await.unwrap(), None);
}

async fn a_hundred_callers_compute_once(store: Store) {
    let articles = store.values("articles");
    for round in 0..20 {
        let (computed, mut callers) = (Counter::default(), JoinSet::new());
        for _ in 0..100 {
            let (articles, computed) = (articles.clone(), computed.clone());
            callers.spawn(async move {
                let computing = async || {
                    computed.add();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Ok::<_, Infallible>(article("News"))
                };
                articles.get_or_compute(&round.to_string(), MINUTE, computing).await
            });
        }
        for found in callers.join_all().await {
            assert_eq!(found, Ok(article("News")));
        }
        assert_eq!(computed.get(), 1);
    }
}

/// A caller who computes until it is aborted, once it does.
async fn computing(articles: &Values) -> tokio::task::JoinHandle<Result<Article, Infallible>> {
    let (articles, began) = (articles.clone(), Arc::new(Notify::new()));
    let begins = began.clone();
    #[expect(clippy::disallowed_methods, reason = "a caller beside the test's own")]
    let caller = tokio::spawn(async move {
        let endless = async || {
            begins.notify_one();
            pending().await
        };
        articles.get_or_compute("7", MINUTE, endless).await
    });
    began.notified().await;
    caller
}

async fn when_the_computing_caller_leaves_another_takes_over(store: Store) {
    let articles = store.values("articles");
    let leader = computing(&articles).await;
    let (computed, mut followers) = (Counter::default(), JoinSet::new());
    for _ in 0..10 {
        let (articles, computed) = (articles.clone(), computed.clone());
        followers.spawn(async move {
            let computing = async || {
                computed.add();
                Ok::<_, Infallible>(article("News"))
            };
            articles.get_or_compute("7", MINUTE, computing).await
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(computed.get(), 0);
    leader.abort();
    for found in followers.join_all().await {
        assert_eq!(found, Ok(article("News")));
    }
    assert_eq!(computed.get(), 1);
}

async fn a_panic_while_computing_is_the_callers_own(store: Store) {
    let articles = store.values("articles");
    let (computed, mut callers) = (Counter::default(), JoinSet::new());
    for _ in 0..10 {
        let (articles, computed) = (articles.clone(), computed.clone());
        callers.spawn(async move {
            let computing = async || {
                computed.add();
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(computed.get() > 1, "the first to compute panics");
                Ok::<_, Infallible>(article("News"))
            };
            articles.get_or_compute("7", MINUTE, computing).await
        });
    }
    let mut panics = 0;
    while let Some(caller) = callers.join_next().await {
        match caller {
            Ok(found) => assert_eq!(found, Ok(article("News"))),
            Err(error) => panics += usize::from(error.is_panic()),
        }
    }
    assert_eq!((panics, computed.get()), (1, 2));
}

async fn an_error_is_the_callers_own_and_stores_nothing(store: Store) {
    let articles = store.values("articles");
    let failing = async || Err::<Article, _>("no database");
    assert_eq!(articles.get_or_compute("7", MINUTE, failing).await, Err("no database"));
    assert!(!articles.exists("7").await.unwrap());
    let found = articles.get_or_compute("7", MINUTE, async || Ok::<_, ()>(article("News"))).await;
    assert_eq!(found, Ok(article("News")));
    assert_eq!(articles.get_or_compute("7", MINUTE, failing).await, Ok(article("News")));
}

async fn what_cannot_be_stored_is_computed_all_the_same(store: Store) {
    let articles = store.values("articles").max_size(10);
    let news = async || Ok::<_, Infallible>(article("News"));
    assert_eq!(articles.get_or_compute("7", MINUTE, news).await, Ok(article("News")));
    assert_eq!(articles.get_or_compute("", MINUTE, news).await, Ok(article("News")));
    let articles = store.values("articles");
    assert_eq!(articles.get_or_compute("7", Duration::ZERO, news).await, Ok(article("News")));
    assert!(!articles.exists("7").await.unwrap());
}

async fn large_values_come_back(store: Store) {
    let values = store.values("values");
    let text = "all work and no play ".repeat(50_000);
    values.set("text", &text, MINUTE).await.unwrap();
    assert_eq!(values.get("text").await.unwrap(), Some(text));
    let noise: Bytes =
        (0..1u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    values.set("noise", &noise, MINUTE).await.unwrap();
    assert_eq!(values.get("noise").await.unwrap(), Some(noise));
}

async fn any_text_is_a_key_of_its_own(store: Store) {
    let values = store.values("values");
    let keys = ["a", "a:b", "{a}", "{", "}", "%", "%7B", "\0", "\n", "é", " ", "*", "a*", "\\"];
    for key in keys {
        values.set(key, key, MINUTE).await.unwrap();
        values.grouped(key).set("x", key, MINUTE).await.unwrap();
    }
    for key in keys {
        assert_eq!(values.get(key).await.unwrap(), Some(key.to_owned()));
        assert_eq!(values.grouped(key).get("x").await.unwrap(), Some(key.to_owned()));
    }
}

async fn keys_of(values: &Values, prefix: &str) -> Vec<String> {
    let (mut found, mut keys) = (Vec::new(), values.keys_with_prefix(prefix));
    while let Some(batch) = keys.next().await.unwrap() {
        assert!(!batch.is_empty());
        found.extend(batch);
    }
    assert_eq!(keys.next().await.unwrap(), None);
    found.sort();
    found.dedup();
    found
}

async fn a_prefix_is_no_glob(store: Store) {
    let values = store.values("values");
    let keys = ["a*", "a*b", "ab", "a?", "[ab]", "a", "\\*", "*"];
    values.set_many(keys.map(|key| (key, "x")), MINUTE).await.unwrap();
    store.values("values2").set("a*", "x", MINUTE).await.unwrap();
    values.grouped("a*").set("a*", "x", MINUTE).await.unwrap();
    for prefix in keys {
        let mut expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort();
        assert_eq!(keys_of(&values, prefix).await.iter().collect::<Vec<_>>(), expected);
    }
    assert_eq!(values.delete_prefix("a*").await.unwrap(), 2);
    assert!(values.exists("ab").await.unwrap() && values.exists("a?").await.unwrap());
    assert!(store.values("values2").exists("a*").await.unwrap());
    assert!(values.grouped("a*").exists("a*").await.unwrap());
    assert_eq!(values.grouped("a*").delete_prefix("a").await.unwrap(), 1);
}

async fn ten_thousand_values_go_by_their_prefix_while_others_stay(store: Store) {
    let values = store.values("values");
    for thousand in 0..10 {
        let users = (0..1_000).map(|n| (format!("user:{thousand}:{n}"), n));
        values.set_many(users, MINUTE).await.unwrap();
    }
    values.set_many((0..500).map(|n| (format!("order:{n}"), n)), MINUTE).await.unwrap();
    let mut progress = Vec::new();
    let deleting = values.delete_prefix("user:").except(["user:0:7", "user:9:7", ""]);
    let deleted = deleting.on_progress(|deleted| progress.push(deleted)).await.unwrap();
    assert_eq!(deleted, 9_998);
    assert!(progress.len() >= 20 && progress.is_sorted() && progress.last() == Some(&deleted));
    assert_eq!(keys_of(&values, "user:").await, ["user:0:7", "user:9:7"]);
    assert_eq!(keys_of(&values, "order:").await.len(), 500);
    assert_eq!(values.delete_prefix("none").await.unwrap(), 0);
}

async fn an_empty_prefix_is_refused(store: Store) {
    let values = store.values("values");
    values.set("a", "x", MINUTE).await.unwrap();
    for prefix in ["", &"x".repeat(257), &"*".repeat(129)] {
        let error = values.delete_prefix(prefix).await.unwrap_err();
        assert!(error.is_invalid_key() && error.to_string().contains("prefix"), "{error}");
        assert!(values.keys_with_prefix(prefix).next().await.unwrap_err().is_invalid_key());
    }
    assert!(values.exists("a").await.unwrap());
    assert_eq!(values.delete_prefix(&"x".repeat(256)).await.unwrap(), 0);
}

async fn a_batch_is_done_in_order(store: Store) {
    use tower_redis_kit::toolbox::BatchOutcome::{Deleted, Kept, Stored, Sum};

    let cart = store.values("cart").grouped("user 7");
    cart.set("draft", "tea", MINUTE).await.unwrap();
    let batch = cart.batch().set("items", &["tea"], MINUTE).delete("draft").delete("draft");
    let batch = batch.increment("version", 2, MINUTE).increment("version", 3, MINUTE);
    let batch = batch.expire("items", 10 * MINUTE).expire("none", MINUTE);
    let expected = [Stored, Deleted(true), Deleted(false), Sum(2), Sum(5), Kept(true), Kept(false)];
    assert_eq!(batch.run().await.unwrap(), expected);
    assert!(cart.time_to_live("items").await.unwrap().unwrap() > MINUTE);
    assert!(cart.time_to_live("version").await.unwrap().unwrap() <= MINUTE);
    assert_eq!(cart.get("version").await.unwrap(), Some(5));
    assert_eq!(cart.batch().run().await.unwrap(), []);
}

async fn a_batch_that_cannot_be_done_does_nothing(store: Store) {
    let values = store.values("cart").max_size(10);
    let two_keys = values.batch().set("a", "x", MINUTE).set("b", "x", MINUTE);
    let error = two_keys.run().await.unwrap_err();
    assert!(error.is_ungrouped() && error.to_string().contains("grouped"), "{error}");
    let one_key = values.batch().set("a", "1", MINUTE).increment("a", 1, MINUTE);
    one_key.run().await.unwrap();
    values.delete("a").await.unwrap();

    let cart = values.grouped("user 7");
    let begun = || cart.batch().set("a", "x", MINUTE);
    assert!(begun().delete("").run().await.unwrap_err().is_invalid_key());
    let large = begun().set("b", "much too long", MINUTE).delete("a");
    assert!(large.run().await.unwrap_err().is_too_large());
    let never = begun().increment("b", 1, Duration::ZERO);
    assert!(never.run().await.unwrap_err().is_invalid_time_to_live());
    let of_no_group = values.grouped("").batch().delete("a").run().await.unwrap_err();
    assert!(of_no_group.is_invalid_key());
    assert!(!cart.exists("a").await.unwrap() && !values.exists("a").await.unwrap());
}

/// Handlers must be `Send`, with closures that borrow from them.
#[tokio::test]
async fn handlers_compute_what_they_borrow_for() {
    use axum::extract::{Path, State};

    async fn load(database: &str, id: u32) -> Result<String, http::StatusCode> {
        if id == 0 { Err(http::StatusCode::NOT_FOUND) } else { Ok(format!("{id} of {database}")) }
    }
    let handler = async |store: Store, State(database): State<String>, Path(id): Path<u32>| {
        let (articles, key) = (store.values("articles"), id.to_string());
        articles.get_or_compute(&key, MINUTE, async || load(&database, id).await).await
    };
    let app = axum::Router::new()
        .route("/{id}", axum::routing::get(handler))
        .with_state("a database".to_owned())
        .layer(tower_redis_kit::StoreLayer::new(Store::memory()));
    for _ in 0..2 {
        let response = common::send(&app, common::get("/7")).await;
        assert_eq!(common::text(response).await, "7 of a database");
    }
    assert_eq!(common::send(&app, common::get("/0")).await.status(), 404);
}

#[tokio::test]
async fn on_redis_every_key_has_an_end() {
    let (server, prefix) = (RedisServer::shared(), unique("end"));
    let values = common::redis_under(&prefix).await.values("values");
    values.set("a", "x", MINUTE).await.unwrap();
    values.set_many([("b", "x"), ("c", "x")], MINUTE).await.unwrap();
    values.set_if_absent("d", "x", MINUTE).await.unwrap();
    values.increment("e", 1, MINUTE).await.unwrap();
    values.increment("e", 1, MINUTE).await.unwrap();
    values.get_or_compute("f", MINUTE, async || Ok::<_, Infallible>(1)).await.unwrap();
    let batch = values.grouped("g").batch().set("a", "x", MINUTE).increment("b", 1, MINUTE);
    batch.expire("a", MINUTE).run().await.unwrap();
    values.expire("a", MINUTE).await.unwrap();
    let ours = format!("{prefix}:value:");
    let keys: Vec<_> = server.keys().into_iter().filter(|key| key.starts_with(&ours)).collect();
    assert_eq!(keys.len(), 8);
    for key in keys {
        assert!((1..=60_000).contains(&server.ttl_ms(&key)), "{key}");
    }
}

#[tokio::test]
async fn a_batch_that_redis_refuses_a_part_of_does_nothing() {
    let server = RedisServer::start();
    let acl = ["ACL", "SETUSER", "narrow", "on", ">pass", "~*", "&*", "+@all", "-incrby"];
    server.command(&acl);
    let url = server.url().replace("redis://", "redis://narrow:pass@");
    let cart = Store::connect(&url).await.unwrap().values("cart").grouped("user 7");
    let batch = cart.batch().set("items", "tea", MINUTE).increment("version", 1, MINUTE);
    let error = batch.run().await.unwrap_err();
    assert!(error.is_forbidden(), "{error}");
    assert!(!cart.exists("items").await.unwrap());
}

#[tokio::test]
async fn while_redis_is_away_a_value_is_computed() {
    let store = common::away().await;
    let articles = store.values("articles");
    let news = async || Ok::<_, Infallible>(article("News"));
    assert_eq!(articles.get_or_compute("7", MINUTE, news).await, Ok(article("News")));
    assert!(articles.get::<Article>("7").await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn on_redis_a_string_is_its_text_and_json_is_json() {
    let (server, prefix) = (RedisServer::shared(), unique("plain"));
    let values = common::redis_under(&prefix).await.values("values");
    let key = |text: &str| format!("{prefix}:value:values:{text}");
    values.set("a", "text", MINUTE).await.unwrap();
    values.set("b{c}%", &[1, 2], MINUTE).await.unwrap();
    values.grouped("user 7").set("d", &true, MINUTE).await.unwrap();
    assert_eq!(server.command(&["GET", &key("a")]), "text");
    assert_eq!(server.command(&["GET", &key("b%7Bc%7D%25")]), "[1,2]");
    assert_eq!(server.command(&["GET", &key("{user 7}:d")]), "true");
    server.command(&["SET", &key("e"), r#"{"title": "News", "lines": [1, 2, 3], "more": {}}"#]);
    assert_eq!(values.get("e").await.unwrap(), Some(article("News")));
    assert_eq!(values.time_to_live("e").await.unwrap(), Some(Duration::MAX));
}

#[tokio::test]
async fn on_redis_each_call_is_one_round_trip() {
    let server = RedisServer::start();
    let values = common::store_on(&server).await.values("values");
    let mut before = server.count();
    let mut cost = || {
        let now = server.count();
        let cost = now.since(&before);
        before = now;
        (cost.round_trips, cost.commands.into_iter().collect::<Vec<_>>())
    };
    let one = |command: &str, times| (1, vec![(command.to_owned(), times)]);
    values.set_many([("1", "a"), ("2", "b")], MINUTE).await.unwrap();
    assert_eq!(cost(), one("set", 2));
    values.get_many::<String>(["1", "2"]).await.unwrap();
    assert_eq!(cost(), one("mget", 1));
    values.delete("1").await.unwrap();
    assert_eq!(cost(), one("unlink", 1));
    values.take::<String>("2").await.unwrap();
    assert_eq!(cost(), one("getdel", 1));
    let computed = values.get_or_compute("3", MINUTE, async || Ok::<_, Infallible>(3)).await;
    assert_eq!(computed, Ok(3));
    assert_eq!(cost().0, 2, "a miss is looked up and stored");
    values.get_or_compute("3", MINUTE, async || Ok::<_, Infallible>(4)).await.unwrap();
    assert_eq!(cost(), one("mget", 1));
}

fn thousands() -> BTreeSet<String> {
    (0..3_000).map(|n| format!("n:{n}")).collect()
}

async fn keep_thousands(values: &Values) -> bool {
    values.set_many(thousands().iter().map(|key| (key, "x")), MINUTE).await.is_ok()
}

/// The keys from here on, however often it takes to ask for them.
async fn rest_of(mut keys: KeysWithPrefix) -> BTreeSet<String> {
    let mut rest = BTreeSet::new();
    let reading = async {
        loop {
            match keys.next().await {
                Ok(Some(batch)) => rest.extend(batch),
                Ok(None) => return,
                Err(error) => assert!(error.is_unavailable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an end");
    rest
}

#[tokio::test]
async fn on_redis_a_scan_begins_anew_at_a_server_that_was_started_again() {
    let mut server = RedisServer::start();
    let patient = Store::builder().deadline(Duration::from_secs(5));
    let store = patient.connect(&server.url()).await.expect("a store");
    let values = store.values("values");
    assert!(keep_thousands(&values).await);
    let mut keys = values.keys_with_prefix("n:");
    keys.next().await.unwrap().expect("a first batch");
    server.stop();
    server.start_again();
    let kept = async || keep_thousands(&values).await && store.health().is_up();
    eventually("the values are there again", kept).await;
    assert_eq!(rest_of(keys).await, thousands());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_a_scan_goes_on_at_who_took_over() {
    let cluster = block_in_place(RedisCluster::start);
    let patient = Store::builder().deadline(Duration::from_secs(5));
    let store = patient.connect(&cluster.url()).await.expect("a store");
    let values = store.values("values");
    assert!(keep_thousands(&values).await);
    let mut keys = values.keys_with_prefix("n:");
    let first = keys.next().await.unwrap().expect("a first batch");
    block_in_place(|| {
        for primary in cluster.primaries() {
            cluster.wait_until_whole();
            let replica = cluster.replicas_of(primary)[0];
            cluster.node(replica).command(&["CLUSTER", "FAILOVER"]);
            while !cluster.primaries().contains(&replica) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        cluster.wait_until_whole();
    });
    // Redirected, the store learns who is where.
    eventually("all are asked for", async || keep_thousands(&values).await).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut all = rest_of(keys).await;
    all.extend(first);
    assert_eq!(all, thousands());
}
