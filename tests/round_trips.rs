//! What each layer costs on Redis, counted by the server itself.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use common::{field, request, send, store_on, text};
use http::Request;
use http::header::{CACHE_CONTROL, VARY};
use support::RedisServer;
use tower_redis_kit::cache::{Cache, CacheLayer, CacheTags};
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionField, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Subject, Token};
use tower_redis_kit::{Store, StoreLayer};

/// A service on a Redis of its own.
struct Counted {
    server: RedisServer,
    store: Store,
    app: Router,
}

/// What a client made Redis do: how often it had to wait, and the commands it sent.
#[derive(Debug, PartialEq)]
struct Cost {
    round_trips: u64,
    commands: Vec<String>,
}

const FREE: Cost = Cost { round_trips: 0, commands: Vec::new() };

/// One round trip for each of these commands.
fn each(commands: &[&str]) -> Cost {
    let round_trips = commands.len() as u64;
    Cost { round_trips, commands: commands.iter().map(|&name| name.to_owned()).collect() }
}

impl Counted {
    async fn new(app: impl FnOnce() -> Router) -> Counted {
        let server = RedisServer::start();
        let store = store_on(&server).await;
        let app = app().layer(StoreLayer::new(store.clone()));
        Counted { server, store, app }
    }

    async fn cost<T>(&self, work: impl Future<Output = T>) -> (T, Cost) {
        let (before, monitor) = (self.server.count(), self.server.monitor());
        let done = work.await;
        let sent = monitor.stop();
        let round_trips = self.server.count().since(&before).round_trips;
        let name = |mut command: Vec<String>| command.swap_remove(0);
        (done, Cost { round_trips, commands: sent.into_iter().map(name).collect() })
    }

    /// What a request costs whose answer has this status and is read to its end.
    async fn cost_of(&self, request: Request<Body>, status: u16) -> Cost {
        let work = async {
            let response = send(&self.app, request).await;
            let answered = response.status();
            text(response).await;
            answered
        };
        let (answered, cost) = self.cost(work).await;
        assert_eq!(answered, status);
        cost
    }
}

fn limited() -> Router {
    let limit = RateLimitLayer::new("api", Quota::per_hour(2), Header::new("x-api-key"));
    Router::new().route("/", get(async || "hello")).layer(limit)
}

fn keyed() -> Request<Body> {
    request("GET", "/", &[("x-api-key", "k")])
}

#[tokio::test]
async fn a_rate_limit_decides_in_one_command() {
    let counted = Counted::new(limited).await;
    for status in [200, 200, 429, 429] {
        assert_eq!(counted.cost_of(keyed(), status).await, each(&["EVALSHA"]), "{status}");
    }
}

#[tokio::test]
async fn a_request_without_a_key_costs_nothing() {
    let counted = Counted::new(limited).await;
    assert_eq!(counted.cost_of(common::get("/"), 200).await, FREE);
}

#[tokio::test]
async fn a_script_that_the_server_has_forgotten_costs_one_more_round_trip() {
    let counted = Counted::new(limited).await;
    counted.cost_of(keyed(), 200).await;
    counted.server.command(&["SCRIPT", "FLUSH"]);
    let again = Cost { round_trips: 2, ..each(&["EVALSHA", "SCRIPT", "EVALSHA"]) };
    assert_eq!(counted.cost_of(keyed(), 200).await, again);
    assert_eq!(counted.cost_of(keyed(), 429).await, each(&["EVALSHA"]), "it has counted the two");
}

#[tokio::test]
async fn a_limit_of_users_reads_a_session_that_the_handler_need_not_read_again() {
    let limit = RateLimitLayer::new("user", Quota::per_hour(100), SessionField::new("a"));
    let app = || with_session_inside(limit);
    let counted = Counted::new(app).await;
    let cookie = cookie(&counted).await;
    let with_cookie = |path| request("GET", path, &[("cookie", &*cookie)]);
    let read_and_limited = Cost { round_trips: 2, ..each(&["GETRANGE", "PEXPIRE", "EVALSHA"]) };
    for path in ["/untouched", "/read"] {
        assert_eq!(counted.cost_of(with_cookie(path), 200).await, read_and_limited, "{path}");
    }
    assert_eq!(counted.cost_of(common::get("/untouched"), 200).await, FREE);
}

fn with_session() -> Router {
    handlers_of_sessions().layer(SessionLayer::new())
}

fn with_session_inside(limit: RateLimitLayer) -> Router {
    handlers_of_sessions().layer(limit).layer(SessionLayer::new())
}

fn handlers_of_sessions() -> Router {
    let read = async |session: Session| {
        session.get::<u32>("a").await?;
        session.get::<u32>("b").await?;
        session.status().await;
        Ok::<_, SessionError>(())
    };
    let change = async |session: Session| {
        let a = session.get::<u32>("a").await?.unwrap_or_default();
        session.insert("a", a + 1).await?;
        session.insert("b", 1).await?;
        session.remove("c").await
    };
    Router::new()
        .route("/untouched", get(async |_: Session| {}))
        .route("/read", get(read))
        .route("/change", get(change))
        .route("/same", get(async |session: Session| session.insert("b", 1).await))
        .route("/rotate", get(async |session: Session| session.rotate().await))
        .route("/destroy", get(async |session: Session| session.destroy().await))
}

/// A cookie whose session holds something.
async fn cookie(counted: &Counted) -> String {
    let response = send(&counted.app, common::get("/change")).await;
    field(response.headers(), "set-cookie").split(';').next().expect("a pair").to_owned()
}

fn read() -> Cost {
    Cost { round_trips: 1, ..each(&["GETRANGE", "PEXPIRE"]) }
}

fn read_and_saved() -> Cost {
    Cost { round_trips: 2, ..each(&["GETRANGE", "PEXPIRE", "EVALSHA"]) }
}

#[tokio::test]
async fn what_is_no_session_is_not_carried_whatever_its_size() {
    let counted = Counted::new(with_session).await;
    let cookie = cookie(&counted).await;
    let keys = counted.server.keys();
    let key = keys.iter().find(|key| key.starts_with("kit:session:")).expect("a session");
    // It begins like one.
    let record: String = counted.server.query(&["GETRANGE", key, "0", "4"]);
    let large = record + "\0\u{7f}\0\0\0\0\0\0{\"a\":\"" + &"x".repeat(10 << 20) + "\"}";
    counted.server.command(&["SET", key, &large, "PX", "60000"]);
    let sent = || {
        let stats = counted.server.command(&["INFO", "stats"]);
        let sent = stats.lines().find_map(|it| it.strip_prefix("total_net_output_bytes:"));
        sent.expect("a statistic").parse::<u64>().expect("a number")
    };
    let before = sent();
    for path in ["/read", "/rotate", "/change"] {
        let request = request("GET", path, &[("cookie", &cookie)]);
        let response = send(&counted.app, request).await;
        assert_eq!(response.status(), 200, "{path}");
        // A change begins another session.
        let begins = response.headers().contains_key("set-cookie");
        assert_eq!(begins, path == "/change", "{path}");
    }
    let sent = sent() - before;
    assert!(((3 * 64) << 10..(3 * 100) << 10).contains(&sent), "{sent} bytes");
}

#[tokio::test]
async fn a_session_costs_one_round_trip_to_read_and_one_more_to_change() {
    let counted = Counted::new(with_session).await;
    let cookie = cookie(&counted).await;
    for (path, cost) in [
        ("/untouched", FREE),
        ("/read", read()),
        ("/change", read_and_saved()),
        ("/same", read()),
        ("/rotate", read_and_saved()),
        ("/read", read()),
    ] {
        let request = request("GET", path, &[("cookie", &cookie)]);
        assert_eq!(counted.cost_of(request, 200).await, cost, "{path}");
    }
    let destroy = request("GET", "/destroy", &[("cookie", &cookie)]);
    assert_eq!(counted.cost_of(destroy, 200).await, each(&["DEL"]));
}

#[tokio::test]
async fn without_a_cookie_only_a_first_change_costs_a_command() {
    let counted = Counted::new(with_session).await;
    for (path, cost) in [
        ("/untouched", FREE),
        ("/read", FREE),
        ("/rotate", FREE),
        ("/destroy", FREE),
        ("/change", each(&["SET"])),
    ] {
        assert_eq!(counted.cost_of(common::get(path), 200).await, cost, "{path}");
    }
}

#[tokio::test]
async fn a_malformed_cookie_costs_nothing() {
    let counted = Counted::new(with_session).await;
    for value in ["", "x", &"A".repeat(42), &"A".repeat(44), &"*".repeat(43)] {
        let cookie = format!("__Host-session={value}");
        let request = request("GET", "/read", &[("cookie", &cookie)]);
        assert_eq!(counted.cost_of(request, 200).await, FREE, "{cookie}");
    }
}

#[tokio::test]
async fn a_forged_cookie_costs_one_round_trip_and_leaves_no_key() {
    let counted = Counted::new(with_session).await;
    let before = counted.server.keys();
    let cookie = format!("__Host-session={}", "A".repeat(43));
    let request = || request("GET", "/read", &[("cookie", &cookie)]);
    assert_eq!(counted.cost_of(request(), 200).await, read());
    let after: Vec<_> =
        counted.server.keys().into_iter().filter(|key| !before.contains(key)).collect();
    assert!(after.is_empty(), "{after:?}");
}

/// Accepts `good`, of ada, and what begins with it.
fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    let good = token.starts_with("good");
    good.then(|| (token_of(token), ())).ok_or(InvalidToken)
}

fn token_of(token: &str) -> Token {
    Token::new(token, SystemTime::now() + Duration::from_secs(60)).subject("ada")
}

#[tokio::test]
async fn a_valid_token_is_checked_in_one_command_and_an_invalid_one_in_none() {
    let counted = Counted::new(|| {
        Router::new().route("/", get(async || {})).layer(RevocationLayer::new(verify))
    })
    .await;
    let with = |token: &str| request("GET", "/", &[("authorization", &format!("Bearer {token}"))]);
    assert_eq!(counted.cost_of(with("good"), 200).await, each(&["MGET"]));
    assert_eq!(counted.cost_of(with("bad"), 401).await, FREE);
    assert_eq!(counted.cost_of(with("b a d"), 401).await, FREE);
    assert_eq!(counted.cost_of(common::get("/"), 401).await, FREE);
    let (revoked, cost) = counted.cost(counted.store.revoke(token_of("good"))).await;
    assert_eq!((revoked, cost), (Ok(()), each(&["SET"])));
    let (revoked, cost) = counted.cost(counted.store.revoke(Subject::new("ada"))).await;
    assert_eq!((revoked, cost), (Ok(()), each(&["EVALSHA"])));
    assert_eq!(counted.cost_of(with("good"), 401).await, each(&["MGET"]));
}

fn cached() -> Router {
    let fresh = || [(CACHE_CONTROL, "max-age=60")];
    let tagged = async move |uri: http::Uri| (fresh(), CacheTags::new(["tag"]), uri.to_string());
    Router::new()
        .route("/", get(async move || (fresh(), "text")).post(async || {}))
        .route("/varies", get(async move || (fresh(), [(VARY, "accept")], "text")))
        .route("/private", get(async || ([(CACHE_CONTROL, "private")], "text")))
        .fallback(tagged)
        .layer(CacheLayer::new())
}

#[tokio::test]
async fn a_hit_costs_one_command_and_a_miss_two() {
    let counted = Counted::new(cached).await;
    let (hit, miss) = (each(&["MGET"]), each(&["MGET", "EVALSHA"]));
    assert_eq!(counted.cost_of(common::get("/"), 200).await, miss);
    assert_eq!(counted.cost_of(common::get("/"), 200).await, hit);
    assert_eq!(counted.cost_of(request("HEAD", "/", &[]), 200).await, hit);
    assert_eq!(counted.cost_of(common::get("/private"), 200).await, hit, "nothing to store");
    assert_eq!(counted.cost_of(common::get("/tagged"), 200).await, miss, "tags cost no more");
    let no_store = request("GET", "/", &[("cache-control", "no-store")]);
    assert_eq!(counted.cost_of(no_store, 200).await, FREE);
    assert_eq!(counted.cost_of(request("POST", "/", &[]), 200).await, each(&["EVALSHA"]));
    assert_eq!(counted.cost_of(common::get("/"), 200).await, miss);
}

#[tokio::test]
async fn a_further_variant_costs_one_more_look() {
    let counted = Counted::new(cached).await;
    let accepting = |what| request("GET", "/varies", &[("accept", what)]);
    assert_eq!(counted.cost_of(accepting("a"), 200).await, each(&["MGET", "EVALSHA"]));
    assert_eq!(counted.cost_of(accepting("b"), 200).await, each(&["MGET", "MGET", "EVALSHA"]));
    assert_eq!(counted.cost_of(accepting("a"), 200).await, each(&["MGET"]));
    assert_eq!(counted.cost_of(accepting("b"), 200).await, each(&["MGET", "MGET"]));
}

#[tokio::test]
async fn a_purge_costs_one_round_trip_and_two_for_every_500_responses() {
    let counted = Counted::new(cached).await;
    let cache = Cache::new(counted.store.clone());
    let (dropped, cost) = counted.cost(cache.purge_tag("tag")).await;
    assert_eq!((dropped, cost.round_trips), (Ok(0), 1));
    for (responses, batches) in [(1, 1), (500, 1), (501, 2)] {
        for number in 0..responses {
            let response = send(&counted.app, common::get(&format!("/{number}"))).await;
            text(response).await;
        }
        let (dropped, cost) = counted.cost(cache.purge_tag("tag")).await;
        let commands = ["EVALSHA", "RENAMENX", "ZRANGE"].map(str::to_owned).into_iter();
        let unlinks = std::iter::repeat_n("UNLINK".to_owned(), responses as usize);
        let lists = (0..batches).flat_map(|_| ["ZREM", "ZRANGE"].map(str::to_owned));
        let mut expected: Vec<_> = commands.chain(unlinks).chain(lists).collect();
        expected.sort_unstable();
        let mut sent = cost.commands;
        sent.sort_unstable();
        // Beyond 16 KiB the server reads a pipeline in pieces, and counts each as a round trip.
        assert_eq!((dropped, sent), (Ok(responses), expected));
    }
}

#[tokio::test]
async fn a_message_costs_one_command_and_leaves_no_key() {
    let counted = Counted::new(Router::new).await;
    let before = counted.server.keys();
    let mut orders = counted.store.subscribe::<u32>("orders").await.expect("subscribed");
    let (published, cost) = counted.cost(counted.store.publish("orders", &7)).await;
    assert_eq!((published, cost), (Ok(()), each(&["PUBLISH"])));
    assert!(orders.next().await.is_some());
    assert!(counted.server.keys().iter().all(|key| before.contains(key)));
}

/// All four layers, and a handler that uses each.
fn everything() -> Router {
    let page = async |session: Session, uri: http::Uri| {
        if uri.path() == "/session" {
            session.insert("a", 1).await?;
        }
        Ok::<_, SessionError>((
            [(CACHE_CONTROL, "public, max-age=60"), (VARY, "accept")],
            CacheTags::new(["tag"]),
            uri.to_string(),
        ))
    };
    Router::new()
        .fallback(page)
        .layer(CacheLayer::new())
        .layer(SessionLayer::new())
        .layer(RevocationLayer::new(verify))
        .layer(RateLimitLayer::new("api", Quota::per_hour(100), Header::new("x-api-key")))
}

fn of_everyone(method: &str, uri: &str) -> Request<Body> {
    request(method, uri, &[("x-api-key", "k"), ("authorization", "Bearer good")])
}

#[tokio::test]
async fn a_hit_behind_all_layers_costs_three_commands() {
    let counted = Counted::new(everything).await;
    counted.cost_of(of_everyone("GET", "/"), 200).await;
    let cost = counted.cost_of(of_everyone("GET", "/"), 200).await;
    assert_eq!(cost, each(&["EVALSHA", "MGET", "MGET"]));
}

#[tokio::test]
async fn every_key_has_an_end() {
    let counted = Counted::new(everything).await;
    for (method, uri) in [("GET", "/"), ("GET", "/session"), ("POST", "/"), ("GET", "/2")] {
        counted.cost_of(of_everyone(method, uri), 200).await;
    }
    Cache::new(counted.store.clone()).purge_tag("tag").await.expect("purged");
    counted.cost_of(of_everyone("GET", "/3"), 200).await;
    let mut variant = of_everyone("GET", "/3");
    variant.headers_mut().insert("accept", http::HeaderValue::from_static("x"));
    counted.cost_of(variant, 200).await;
    counted.store.revoke(token_of("good")).await.expect("revoked");
    counted.store.revoke(Subject::new("ada")).await.expect("revoked");
    let _lease = counted.store.lock("a").try_acquire().await.expect("taken");

    let mut nouns = BTreeSet::new();
    for key in counted.server.keys() {
        assert_ne!(counted.server.ttl_ms(&key), -1, "{key} stays for ever");
        nouns.insert(key.split(':').nth(1).expect("a prefix and a noun").to_owned());
    }
    for noun in ["limit", "session", "revoked", "response", "tagged", "purged", "lock"] {
        assert!(nouns.contains(noun), "{noun} is not among {nouns:?}");
    }
}
