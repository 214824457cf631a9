//! Values of handlers, by the public interface: what is kept is there, what cannot be kept is an
//! error, and one caller computes for all.

mod common;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Counter, on_every_store, unique};
use serde::{Deserialize, Serialize};
use support::RedisServer;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower_redis_kit::Store;
use tower_redis_kit::toolbox::Values;

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
