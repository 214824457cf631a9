//! Several limits in one decision, what a request costs, and which limits it meets.

mod common;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use common::{Served, eventually, fields, get as get_request, on_every_store, reason, request};
use common::{away, http_client, send, store_on, text};
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use support::RedisServer;
use tokio::task::JoinSet;
use tower_redis_kit::rate_limit::{
    Allowances, Blocked, Charge, ChooseLimits, ConcurrencyLimitLayer, Fallback, Finished, Header,
    Limit, Limited, LiveLimits, MissingAllowances, MissingCharge, MissingKey, PeerIp, Quota,
    RateLimitLayer, RequestMatcher, RouteLimits, WithoutKey,
};
use tower_redis_kit::{Store, StoreLayer};

on_every_store! {
    when_one_refuses_none_is_charged_and_every_violation_is_named,
    limits_of_different_callers_are_one_decision,
    a_hundred_at_once_meet_the_tighter_of_two_exactly,
    a_cost_is_the_requests_own,
    what_costs_more_than_there_is_is_refused_for_good,
    a_handler_says_what_a_request_has_cost,
    a_stream_adds_up_what_it_costs,
    bytes_are_charged_at_the_end,
    only_failures_count_and_guesses_at_once_are_no_hole,
    what_is_settled_keeps_no_failure_alive,
    who_hangs_up_pays_what_was_reserved,
    who_hangs_up_before_the_body_pays_what_was_reserved,
    a_handler_that_charges_answers_whom_no_limit_meets,
    a_handler_that_panics_or_is_left_pays_what_was_reserved,
    a_shadow_refuses_nobody_and_shows_nowhere,
    a_shadow_that_cannot_tell_who_asks_refuses_nobody,
    a_shadow_beside_a_live_limit_is_charged_by_itself,
    limits_are_chosen_by_route_and_method,
    a_tier_is_chosen_by_request,
    changed_limits_go_on_with_what_was_counted,
    lists_come_before_limits,
    no_key_passes_or_is_refused_as_it_was_said,
    a_handler_is_told_what_is_left,
}

fn by_key(name: &str, quota: Quota) -> Limit {
    Limit::new(name, quota, Header::new("x-api-key"))
}

fn by_user(name: &str, quota: Quota) -> Limit {
    Limit::new(name, quota, Header::new("x-user"))
}

fn app(layer: RateLimitLayer, store: Store) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }).post(|| async { "made" }))
        .layer(layer)
        .layer(StoreLayer::new(store))
}

fn keyed(key: &str) -> Request<Body> {
    request("GET", "/", &[("x-api-key", key)])
}

async fn status(app: &Router, request: Request<Body>) -> u16 {
    send(app, request).await.status().as_u16()
}

/// What the store says is left of a limit.
async fn left(store: &Store, name: &str, quota: Quota, key: &str) -> u64 {
    store.limiter(name, quota).peek(key).await.unwrap().remaining()
}

/// What is left, once it is `expected`: what is settled is not waited for.
async fn is_left(store: &Store, name: &str, quota: Quota, key: &str, expected: u64) {
    let there = async || left(store, name, quota, key).await == expected;
    eventually(&format!("{expected} are left of {name:?}"), there).await;
}

async fn when_one_refuses_none_is_charged_and_every_violation_is_named(store: Store) {
    let (second, hour, day) = (Quota::per_day(2), Quota::per_day(2), Quota::per_day(50));
    let layer = RateLimitLayer::all([
        by_key("second", second),
        by_key("hour", hour.sliding_log()),
        by_key("day", day.fixed_window()),
    ]);
    let app = app(layer, store.clone());
    for _ in 0..2 {
        assert_eq!(status(&app, keyed("k")).await, 200);
    }
    for _ in 0..5 {
        let response: Response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(fields(response.headers(), "ratelimit-policy").len(), 3);
        let limited: Limited = reason(&response);
        let names: Vec<_> = limited.violations().map(|it| it.limit().to_owned()).collect();
        assert_eq!(names, ["second", "hour"]);
        let longest = limited.violations().filter_map(|it| it.retry_after()).max();
        assert_eq!(limited.retry_after(), longest);
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["violated-policies"], serde_json::json!(["second", "hour"]));
    }
    assert_eq!(left(&store, "day", day.fixed_window(), "k").await, 48);
}

async fn limits_of_different_callers_are_one_decision(store: Store) {
    let quota = Quota::per_day(2);
    let layer = RateLimitLayer::all([by_key("key", quota), by_user("user", Quota::per_day(3))]);
    let app = app(layer, store.clone());
    let of = |key, user| request("GET", "/", &[("x-api-key", key), ("x-user", user)]);
    assert_eq!(status(&app, of("a", "ada")).await, 200);
    assert_eq!(status(&app, of("a", "ada")).await, 200);
    // The key's limit refuses: the user keeps what is left.
    assert_eq!(status(&app, of("a", "ada")).await, 429);
    assert_eq!(left(&store, "user", Quota::per_day(3), "ada").await, 1);
    assert_eq!(status(&app, of("b", "ada")).await, 200);
    // And the other way round.
    assert_eq!(status(&app, of("b", "ada")).await, 429);
    assert_eq!(left(&store, "key", quota, "b").await, 1);
}

async fn a_hundred_at_once_meet_the_tighter_of_two_exactly(store: Store) {
    let (tight, wide) = (Quota::per_day(37).sliding_log(), Quota::per_day(90));
    let layer = RateLimitLayer::all([by_key("wide", wide), by_key("tight", tight)]);
    let app = app(layer, store.clone());
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let app = app.clone();
        callers.spawn(async move { status(&app, keyed("k")).await });
    }
    let statuses = callers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 37);
    assert!(statuses.iter().all(|status| [200, 429].contains(status)));
    assert_eq!(left(&store, "wide", wide, "k").await, 90 - 37);
}

async fn a_cost_is_the_requests_own(store: Store) {
    let quota = Quota::per_day(10);
    let write = |head: &Parts| if head.method == "POST" { 4 } else { 0 };
    let limits = [by_key("each", quota).cost(3), by_key("write", quota).cost_by(write)];
    let app = app(RateLimitLayer::all(limits), store.clone());
    assert_eq!(status(&app, keyed("k")).await, 200);
    assert_eq!(status(&app, request("POST", "/", &[("x-api-key", "k")])).await, 200);
    assert_eq!(left(&store, "each", quota, "k").await, 4);
    assert_eq!(left(&store, "write", quota, "k").await, 6);
    assert_eq!(status(&app, keyed("k")).await, 200);
    assert_eq!(status(&app, keyed("k")).await, 429, "3 of 1");
}

async fn what_costs_more_than_there_is_is_refused_for_good(store: Store) {
    let app = app(RateLimitLayer::all(by_key("api", Quota::per_day(3)).cost(4)), store.clone());
    let response: Response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!response.headers().contains_key("retry-after"), "no waiting will help");
    assert_eq!(reason::<Limited, _>(&response).retry_after(), None);
    assert_eq!(left(&store, "api", Quota::per_day(3), "k").await, 3);
}

/// A limit of which 100 are reserved, and what the handler says is charged.
fn metered(name: &str) -> Limit {
    by_key(name, METERED).cost(100).settle(|done| done.charged().unwrap_or(done.reserved()))
}

const METERED: Quota = Quota::per_day(1_000).fixed_window();

async fn a_handler_says_what_a_request_has_cost(store: Store) {
    let handler = async |charge: Charge, headers: HeaderMap| {
        let cost = headers.get("x-cost").and_then(|cost| cost.to_str().ok()?.parse().ok());
        cost.into_iter().for_each(|cost| charge.set(cost));
        "done"
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(RateLimitLayer::all(metered("tokens")))
        .layer(StoreLayer::new(store.clone()));
    let mut expected = 1_000;
    // Less, more than was reserved, nothing, and nothing said.
    for (cost, charged) in [("30", 30), ("250", 250), ("0", 0), ("?", 100)] {
        let request = request("GET", "/", &[("x-api-key", "k"), ("x-cost", cost)]);
        let response: Response = send(&app, request).await;
        assert_eq!(text(response).await, "done");
        expected -= charged;
        is_left(&store, "tokens", METERED, "k", expected).await;
    }
}

async fn a_stream_adds_up_what_it_costs(store: Store) {
    let handler = async |charge: Charge| {
        let parts = stream::iter(["a", "b", "c"]).map(move |part| {
            charge.add(7);
            Ok::<_, Infallible>(part)
        });
        Body::from_stream(parts)
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(RateLimitLayer::all(metered("tokens")))
        .layer(StoreLayer::new(store.clone()));
    let response: Response = send(&app, keyed("k")).await;
    assert_eq!(left(&store, "tokens", METERED, "k").await, 900, "until the end it is reserved");
    assert_eq!(text(response).await, "abc");
    is_left(&store, "tokens", METERED, "k", 979).await;
}

async fn bytes_are_charged_at_the_end(store: Store) {
    let bytes = |done: &Finished| u32::try_from(done.bytes()).unwrap_or(u32::MAX);
    let limit = by_key("bytes", METERED).cost(10).settle(bytes);
    // As when what another server sends is passed on.
    let sized = async || {
        let parts = stream::iter(["abc", "def"]).map(Ok::<_, Infallible>);
        ([("content-length", "6")], Body::from_stream(parts))
    };
    let app = Router::new()
        .route("/", get(|| async { vec![b'x'; 400] }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/sized", get(sized))
        .layer(RateLimitLayer::all(limit))
        .layer(StoreLayer::new(store.clone()));
    // By a real server, which does not read an empty body, nor one after HEAD, nor beyond the
    // length that is stated.
    let served =
        Served::by(|listener| async move { axum::serve(listener, app).await.unwrap() }).await;
    let client = http_client();
    let mut expected = 1_000;
    let requests =
        [("GET", "/", 400), ("GET", "/empty", 0), ("HEAD", "/", 0), ("GET", "/sized", 6)];
    for (method, path, charged) in requests {
        let request = request(method, &served.uri(path), &[("x-api-key", "k")]);
        let response = client.request(request).await.unwrap();
        let _ = response.into_body().collect().await.unwrap();
        expected -= charged;
        is_left(&store, "bytes", METERED, "k", expected).await;
    }
}

/// The server was not yet asking for it.
async fn who_hangs_up_before_the_body_pays_what_was_reserved(store: Store) {
    let bytes = |done: &Finished| u32::try_from(done.bytes()).unwrap_or(u32::MAX);
    let limit = by_key("bytes", METERED).cost(100).settle(bytes);
    let app = Router::new()
        .route("/", get(|| async { "x".repeat(90) }))
        .route("/empty", get(|| async {}))
        .layer(RateLimitLayer::all(limit))
        .layer(StoreLayer::new(store.clone()));
    drop(send::<_, Body>(&app, keyed("k")).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(left(&store, "bytes", METERED, "k").await, 900);
    // There is nothing to wait for here.
    let empty = request("GET", "/empty", &[("x-api-key", "k")]);
    assert_eq!(text(send::<_, Body>(&app, empty).await).await, "");
    is_left(&store, "bytes", METERED, "k", 900).await;
}

async fn a_handler_that_charges_answers_whom_no_limit_meets(store: Store) {
    let app = |layer| {
        Router::new()
            .route("/", get(async |charge: Charge| charge.set(30)))
            .layer(layer)
            .layer(StoreLayer::new(store.clone()))
    };
    let is_office = |head: &Parts| head.uri.query() == Some("office");
    let all = app(RateLimitLayer::all(metered("tokens")).allow(is_office));
    let by =
        app(RateLimitLayer::by(move |head: &Parts| (!is_office(head)).then(|| metered("tokens"))));
    for app in [all, by] {
        let office = request("GET", "/?office", &[("x-api-key", "k")]);
        assert_eq!(status(&app, office).await, 200);
        assert_eq!(status(&app, get_request("/")).await, 200, "without a key");
        assert_eq!(status(&app, keyed("k")).await, 200);
    }
}

async fn only_failures_count_and_guesses_at_once_are_no_hole(store: Store) {
    let quota = Quota::per_day(5).fixed_window();
    let failures = |done: &Finished| u32::from(done.status() == StatusCode::UNAUTHORIZED);
    let guesses = Arc::new(AtomicU32::new(0));
    let handler = {
        let guesses = guesses.clone();
        move |body: String| {
            let guesses = guesses.clone();
            async move {
                if body == "right" {
                    return StatusCode::OK;
                }
                guesses.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                StatusCode::UNAUTHORIZED
            }
        }
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(RateLimitLayer::all(by_user("log-in", quota).settle(failures)))
        .layer(StoreLayer::new(store.clone()));
    let guess = |password: &'static str| {
        Request::post("/").header("x-user", "ada").body(Body::from(password)).unwrap()
    };
    for _ in 0..10 {
        assert_eq!(status(&app, guess("right")).await, 200);
        is_left(&store, "log-in", quota, "ada", 5).await;
    }
    let mut guessers = JoinSet::new();
    for _ in 0..50 {
        let app = app.clone();
        guessers.spawn(async move { status(&app, guess("wrong")).await });
    }
    let statuses = guessers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(guesses.load(Ordering::Relaxed), 5, "no sixth guess came through");
    assert_eq!(status(&app, guess("right")).await, 429);
}

/// Of a log, what is given back is what was charged, and an older failure ends in its own time.
async fn what_is_settled_keeps_no_failure_alive(store: Store) {
    let quota = Quota::new(2, Duration::from_secs(2)).sliding_log();
    let failures = |done: &Finished| u32::from(done.status() == StatusCode::UNAUTHORIZED);
    let answer = async |body: String| match &*body {
        "right" => StatusCode::OK,
        _ => StatusCode::UNAUTHORIZED,
    };
    let app = Router::new()
        .route("/", post(answer))
        .layer(RateLimitLayer::all(by_user("log-in", quota).settle(failures)))
        .layer(StoreLayer::new(store.clone()));
    let guess = |password: &'static str| {
        Request::post("/").header("x-user", "ada").body(Body::from(password)).unwrap()
    };
    assert_eq!(status(&app, guess("wrong")).await, 401);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(status(&app, guess("right")).await, 200);
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(left(&store, "log-in", quota, "ada").await, 2);
}

async fn who_hangs_up_pays_what_was_reserved(store: Store) {
    let handler = async |charge: Charge| {
        charge.set(1);
        Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"x"))))
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(RateLimitLayer::all(metered("tokens")))
        .layer(StoreLayer::new(store.clone()));
    let response: Response = send(&app, keyed("k")).await;
    let mut body = response.into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(left(&store, "tokens", METERED, "k").await, 900);
}

async fn a_handler_that_panics_or_is_left_pays_what_was_reserved(store: Store) {
    let app = Router::new()
        .route("/panic", get(async || -> String { panic!("as it should") }))
        .route("/hang", get(std::future::pending::<String>))
        .layer(RateLimitLayer::all(metered("tokens")))
        .layer(StoreLayer::new(store.clone()));
    let of = |path: &str| request("GET", path, &[("x-api-key", "k")]);
    let panicked = {
        let (app, request) = (app.clone(), of("/panic"));
        tokio::spawn(async move { status(&app, request).await })
    };
    assert!(panicked.await.unwrap_err().is_panic());
    let hanging = send::<_, Body>(&app, of("/hang"));
    assert!(tokio::time::timeout(Duration::from_millis(100), hanging).await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(left(&store, "tokens", METERED, "k").await, 800);
}

async fn a_shadow_refuses_nobody_and_shows_nowhere(store: Store) {
    let app = app(RateLimitLayer::all(by_key("next", Quota::per_day(2)).shadow()), store.clone());
    for _ in 0..5 {
        let response: Response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(fields(response.headers(), "ratelimit").is_empty());
        assert!(fields(response.headers(), "ratelimit-policy").is_empty());
    }
    assert_eq!(left(&store, "next", Quota::per_day(2), "k").await, 0, "it counts all the same");
}

/// Nobody has said where connections come from.
async fn a_shadow_that_cannot_tell_who_asks_refuses_nobody(store: Store) {
    let by_peer = || Limit::new("peer", Quota::per_day(1), PeerIp);
    let shadow = [by_peer().shadow(), by_key("api", Quota::per_day(9))];
    let shadow = app(RateLimitLayer::all(shadow), store.clone());
    assert_eq!(status(&shadow, keyed("k")).await, 200);
    let permits = ConcurrencyLimitLayer::new("peer", 1, PeerIp);
    let answer = |layer: ConcurrencyLimitLayer| {
        let app = Router::new().route("/", get(|| async {})).layer(layer.with_store(store.clone()));
        async move { status(&app, get_request("/")).await }
    };
    assert_eq!(answer(permits.clone().shadow()).await, 200);
    assert_eq!(answer(permits).await, 500);
    assert_eq!(status(&app(RateLimitLayer::all(by_peer()), store), get_request("/")).await, 500);
}

#[tokio::test]
async fn with_redis_away_a_shadow_refuses_nobody() {
    let store = away().await;
    let next = || by_key("next", Quota::per_day(1)).shadow().without_key(WithoutKey::Refuse);
    let shadow = RateLimitLayer::all(next()).fallback(Fallback::Refuse);
    let shadow = app(shadow, store.clone());
    assert_eq!(status(&shadow, keyed("k")).await, 200);
    assert_eq!(status(&shadow, get_request("/")).await, 200);
    let both = [next(), by_key("api", Quota::per_day(1))];
    let both = app(RateLimitLayer::all(both).fallback(Fallback::Refuse), store);
    assert_eq!(status(&both, keyed("k")).await, 503);
}

async fn a_shadow_beside_a_live_limit_is_charged_by_itself(store: Store) {
    let (live, shadow) = (Quota::per_day(4), Quota::per_day(2));
    let limits = [by_key("next", shadow).shadow(), by_key("api", live)];
    let app = app(RateLimitLayer::all(limits), store.clone());
    for _ in 0..4 {
        let response: Response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(fields(response.headers(), "ratelimit").len(), 1);
    }
    assert_eq!(left(&store, "api", live, "k").await, 0, "the shadow's refusal spares nobody");
    assert_eq!(status(&app, keyed("k")).await, 429);
}

async fn limits_are_chosen_by_route_and_method(store: Store) {
    let one = |name| by_key(name, Quota::per_day(1));
    let table = RouteLimits::new()
        .route("/users/{id}", one("user"))
        .route("POST /users/{id}", [one("user"), one("write")])
        .route("GET /export", one("export"))
        .route("GET /both", one("get"))
        .route("HEAD /both", one("head"))
        .otherwise(one("other"));
    let hello = || async { "hello" };
    let app = Router::new()
        .route("/users/{id}", get(hello).post(hello))
        .route("/export", get(hello))
        .route("/both", get(hello))
        .route("/a", get(hello))
        .route("/b", get(hello))
        .layer(RateLimitLayer::by(table))
        .layer(StoreLayer::new(store));
    let of = |method: &str, path: &str| request(method, path, &[("x-api-key", "k")]);
    assert_eq!(status(&app, of("GET", "/users/1")).await, 200);
    assert_eq!(status(&app, of("GET", "/users/2")).await, 429, "one route, whatever the id");
    let response: Response = send(&app, of("POST", "/users/3")).await;
    assert_eq!(reason::<Limited, _>(&response).limit(), "user");
    assert_eq!(status(&app, of("GET", "/export")).await, 200);
    assert_eq!(status(&app, of("HEAD", "/export")).await, 429, "by the same handler");
    assert_eq!(status(&app, of("GET", "/both")).await, 200);
    assert_eq!(status(&app, of("HEAD", "/both")).await, 200, "of its own");
    assert_eq!(status(&app, of("GET", "/a")).await, 200);
    assert_eq!(status(&app, of("GET", "/b")).await, 429, "the rest has one limit");
}

#[test]
fn a_route_that_no_request_has_is_no_entry_of_a_table() {
    let add = |route: &'static str| {
        move || drop(RouteLimits::new().route(route, by_key("x", Quota::per_day(1))))
    };
    for (route, fix) in [
        ("log-in", "a route is `/path` or `METHOD /path`"),
        ("(POST) /x", "a route is `/path` or `METHOD /path`"),
        ("post /x", "capital letters"),
        ("ANY /x", "its path alone"),
        ("POST /x ", "no space"),
        ("GET /a GET /b", "no space"),
        ("/x?y=1", "no query"),
        ("/x#y", "no fragment"),
        ("/users/:id", "`{name}`"),
        ("/files/*rest", "`{*name}`"),
    ] {
        let panic = std::panic::catch_unwind(add(route)).expect_err(route);
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains(fix) && said.contains(&format!("{route:?}")), "{said}");
    }
    for route in ["/", "/v1/users:batch", "/a/{id}/b/{*rest}", "PURGE /x", "POST  /x"] {
        add(route)();
    }
}

async fn a_tier_is_chosen_by_request(store: Store) {
    let (free, paid) = (by_key("free", Quota::per_day(1)), by_key("paid", Quota::per_day(3)));
    let layer = RateLimitLayer::by(move |head: &Parts| match head.headers.get("x-plan") {
        None => None,
        Some(plan) if plan == "paid" => Some(paid.clone()),
        Some(_) => Some(free.clone()),
    });
    let app = app(layer, store);
    let of = |plan| request("GET", "/", &[("x-api-key", "k"), ("x-plan", plan)]);
    let mut statuses = Vec::new();
    for plan in ["free", "free", "paid", "paid", "paid", "paid"] {
        statuses.push(status(&app, of(plan)).await);
    }
    assert_eq!(statuses, [200, 429, 200, 200, 200, 429]);
    for _ in 0..5 {
        assert_eq!(status(&app, keyed("k")).await, 200, "no limit");
    }
}

async fn changed_limits_go_on_with_what_was_counted(store: Store) {
    let quota = |limit| Quota::per_day(limit).fixed_window();
    let limits = LiveLimits::new(by_key("api", quota(2)));
    let app = app(RateLimitLayer::by(limits.clone()), store);
    for expected in [200, 200, 429] {
        assert_eq!(status(&app, keyed("k")).await, expected);
    }
    limits.replace(by_key("api", quota(4)));
    for expected in [200, 200, 429] {
        assert_eq!(status(&app, keyed("k")).await, expected);
    }
    limits.replace(by_key("api", quota(1)));
    assert_eq!(status(&app, keyed("k")).await, 429);
    let response: Response = send(&app, keyed("other")).await;
    assert_eq!(fields(response.headers(), "ratelimit-policy"), ["\"api\";q=1;w=86400"]);
    let head = get_request("/").into_parts().0;
    assert!(limits.choose(&head).is_some());
}

async fn lists_come_before_limits(store: Store) {
    let layer = RateLimitLayer::all(by_key("api", Quota::per_day(1)))
        .allow(Header::new("x-api-key").is_one_of(["friend", "both"]))
        .block(Header::new("x-api-key").is_one_of(["foe", "both"]));
    let app = app(layer, store.clone());
    for _ in 0..3 {
        for friend in ["friend", "both"] {
            let response: Response = send(&app, keyed(friend)).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert!(fields(response.headers(), "ratelimit").is_empty(), "it meets no limit");
        }
        let response: Response = send(&app, keyed("foe")).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let _: Blocked = reason(&response);
    }
    assert_eq!(left(&store, "api", Quota::per_day(1), "foe").await, 1, "it is not counted");
    assert_eq!(status(&app, keyed("other")).await, 200);
    assert_eq!(status(&app, keyed("other")).await, 429);
}

async fn no_key_passes_or_is_refused_as_it_was_said(store: Store) {
    let limits = [
        by_key("api", Quota::per_day(1)),
        by_user("user", Quota::per_day(1)).without_key(WithoutKey::Refuse),
    ];
    let app = app(RateLimitLayer::all(limits), store.clone());
    let response: Response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(reason::<MissingKey, _>(&response).limit(), "user");
    assert_eq!(left(&store, "api", Quota::per_day(1), "k").await, 1, "and none is charged");
    assert_eq!(status(&app, request("GET", "/", &[("x-user", "ada")])).await, 200);
}

#[tokio::test]
async fn a_handler_that_wants_to_charge_where_nothing_settles_is_a_500_that_names_the_fix() {
    let app = Router::new()
        .route("/", get(async |charge: Charge| charge.set(1)))
        .route("/maybe", get(async |charge: Option<Charge>| charge.is_none().to_string()))
        .layer(RateLimitLayer::all(by_key("api", Quota::per_day(10))))
        .layer(StoreLayer::new(Store::memory()));
    let response: Response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let _: MissingCharge = reason(&response);
    assert!(text(response).await.contains("Limit::settle"));
    assert_eq!(text(send::<_, Body>(&app, get_request("/maybe")).await).await, "true");
}

/// What its handler was told, outermost first.
async fn told(allowances: Allowances) -> String {
    let of = |name| allowances.capacity(name).unwrap();
    let told = allowances.iter();
    let told = told.map(|(name, it)| format!("{name}: {} of {}", it.remaining(), of(name)));
    let least = allowances.remaining();
    format!("{}; {least:?}", told.collect::<Vec<_>>().join(", "))
}

async fn a_handler_is_told_what_is_left(store: Store) {
    let limits = [
        by_key("minute", Quota::per_minute(2)),
        by_key("day", Quota::per_day(9)),
        by_key("next", Quota::per_day(1)).shadow(),
    ];
    let outer = RateLimitLayer::all(by_user("user", Quota::per_day(5)).cost(3)).allowances();
    let app = Router::new()
        .route("/", get(told))
        .layer(RateLimitLayer::all(by_key("silent", Quota::per_day(9))))
        .layer(RateLimitLayer::all(limits).allowances())
        .layer(outer)
        .layer(StoreLayer::new(store));
    let of_both = || request("GET", "/", &[("x-api-key", "k"), ("x-user", "ada")]);
    let first: Response = send(&app, of_both()).await;
    assert_eq!(text(first).await, "user: 2 of 5, minute: 1 of 2, day: 8 of 9; Some(1)");
    let second: Response = send(&app, keyed("k")).await;
    assert_eq!(text(second).await, "minute: 0 of 2, day: 7 of 9; Some(0)");
    assert_eq!(status(&app, keyed("k")).await, 429);
    let nobody: Response = send(&app, get_request("/")).await;
    assert_eq!(text(nobody).await, "; None");
}

#[tokio::test]
async fn a_handler_is_told_of_a_limit_that_goes_on_in_this_process() {
    let layer = |fallback| {
        let limit = by_key("api", Quota::per_day(3));
        RateLimitLayer::all(limit).allowances().fallback(fallback)
    };
    for (fallback, expected) in
        [(Fallback::Local, "api: 2 of 3; Some(2)"), (Fallback::Allow, "; None")]
    {
        let app = Router::new().route("/", get(told)).layer(layer(fallback));
        let app = app.layer(StoreLayer::new(away().await));
        let response: Response = send(&app, keyed("k")).await;
        assert_eq!(text(response).await, expected);
    }
}

#[tokio::test]
async fn a_handler_that_wants_to_know_what_no_layer_tells_is_a_500_that_names_the_fix() {
    let app = Router::new()
        .route("/", get(told))
        .route("/maybe", get(async |it: Option<Allowances>| it.is_none().to_string()))
        .layer(RateLimitLayer::all(by_key("api", Quota::per_day(10))))
        .layer(StoreLayer::new(Store::memory()));
    let response: Response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let _: MissingAllowances = reason(&response);
    assert!(text(response).await.contains("RateLimitLayer::allowances()"));
    assert_eq!(text(send::<_, Body>(&app, get_request("/maybe")).await).await, "true");
}

#[tokio::test]
async fn any_number_of_limits_is_one_command_on_one_subject() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let quotas = [
        Quota::per_day(100),
        Quota::per_day(100).sliding_log(),
        Quota::per_day(100).sliding_window(),
        Quota::per_calendar_month(100),
        Quota::per_day(100).lockout([Duration::from_secs(60)]),
    ];
    let names = ["a", "b", "c", "d", "e"];
    for count in 1..=5 {
        let limits: Vec<_> =
            names.iter().zip(quotas).take(count).map(|(name, quota)| by_key(name, quota)).collect();
        let app = app(RateLimitLayer::all(limits), store.clone());
        assert_eq!(status(&app, keyed("warm")).await, 200);
        let before = server.count();
        for _ in 0..10 {
            assert_eq!(status(&app, keyed("k")).await, 200);
        }
        let ran = server.count().since(&before).commands;
        assert_eq!(ran.get("evalsha"), Some(&10), "{count} limits: {ran:?}");
        let others: Vec<_> = ran.keys().filter(|name| name.contains("eval")).collect();
        assert_eq!(others.len(), 1, "{ran:?}");
    }
}

/// Nothing is leased before the connection for messages stands.
async fn leases(server: &RedisServer, app: &Router, key: &'static str) {
    let is_leased = async || {
        let before = server.count();
        assert_eq!(status(app, keyed(key)).await, 200);
        !server.count().since(&before).commands.contains_key("evalsha")
    };
    eventually("a lease is kept", is_leased).await;
}

#[tokio::test]
async fn leases_and_remembered_refusals_take_no_command() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let lease = by_key("lease", Quota::per_day(1_000)).lease(100);
    let leased = app(RateLimitLayer::all(lease), store.clone());
    leases(&server, &leased, "first").await;
    let before = server.count();
    for _ in 0..500 {
        assert_eq!(status(&leased, keyed("k")).await, 200);
    }
    let ran = server.count().since(&before).commands;
    assert!(ran["evalsha"] <= 6, "{ran:?}");

    let denied =
        app(RateLimitLayer::all(by_key("deny", Quota::per_day(1)).deny_cache(true)), store.clone());
    assert_eq!(status(&denied, keyed("k")).await, 200);
    // A refusal is remembered once the connection for messages stands.
    let free = async || {
        let before = server.count();
        assert_eq!(status(&denied, keyed("k")).await, 429);
        !server.count().since(&before).commands.contains_key("evalsha")
    };
    eventually("a refusal is remembered", free).await;
    let before = server.count();
    for _ in 0..500 {
        let response: Response = send(&denied, keyed("k")).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(fields(response.headers(), "ratelimit").len(), 1);
        assert!(response.headers().contains_key("retry-after"));
    }
    assert!(!server.count().since(&before).commands.contains_key("evalsha"));
}

#[tokio::test]
async fn who_only_looks_is_neither_charged_nor_leased_for() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let writes = |head: &Parts| u32::from(head.method == "POST");
    let minute = Duration::from_secs(60);
    let quotas = [
        ("gcra", Quota::per_hour(3)),
        ("fixed", Quota::per_hour(3).fixed_window()),
        ("sliding", Quota::per_hour(3).sliding_window()),
        ("log", Quota::per_hour(3).sliding_log()),
        ("lockout", Quota::per_hour(3).lockout([minute])),
    ];
    for (name, quota) in quotas {
        let limit = by_key(name, quota).cost_by(writes).deny_cache(true);
        for limit in [limit.clone(), limit.settle(Finished::reserved)] {
            let app = app(RateLimitLayer::all(limit), store.clone());
            for _ in 0..10 {
                assert_eq!(status(&app, keyed("k")).await, 200, "{name}");
            }
            assert_eq!(left(&store, name, quota, "k").await, 3, "{name}");
        }
    }

    let quota = Quota::per_day(100);
    let leased = by_key("lease", quota).cost_by(writes).lease(10);
    let app = app(RateLimitLayer::all(leased), store.clone());
    for _ in 0..5 {
        assert_eq!(status(&app, keyed("k")).await, 200);
    }
    assert_eq!(left(&store, "lease", quota, "k").await, 100);
    let write = || request("POST", "/", &[("x-api-key", "k")]);
    assert_eq!(status(&app, write()).await, 200);
    let before = server.count();
    for _ in 0..20 {
        let looked: Response = send(&app, keyed("k")).await;
        let told = fields(looked.headers(), "ratelimit");
        assert!(told[0].starts_with(r#""lease";r=99;"#), "{told:?}");
    }
    for _ in 0..9 {
        assert_eq!(status(&app, write()).await, 200, "nothing of the lease was spent");
    }
    assert!(!server.count().since(&before).commands.contains_key("evalsha"));
    assert_eq!(left(&store, "lease", quota, "k").await, 90);
}

/// Another layer, of this process or of another, may have a limit of the same name.
#[tokio::test]
async fn what_is_settled_ends_a_refusal_that_others_remember() {
    let server = RedisServer::start();
    let (here, there) = (store_on(&server).await, store_on(&server).await);
    let quota = Quota::per_day(1);
    let settles = || by_key("api", quota).settle(|_| 0);
    let settles = app(RateLimitLayer::all(settles()), here.clone());
    for (key, store) in [("here", here), ("there", there)] {
        let denies = app(RateLimitLayer::all(by_key("api", quota).deny_cache(true)), store);
        let under_way: Response = send(&settles, keyed(key)).await;
        assert_eq!(under_way.status(), 200);
        let is_remembered = async || {
            let before = server.count();
            assert_eq!(status(&denies, keyed(key)).await, 429);
            !server.count().since(&before).commands.contains_key("evalsha")
        };
        eventually("a refusal is remembered", is_remembered).await;
        text(under_way).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(status(&denies, keyed(key)).await, 200, "{key}");
    }
}

#[tokio::test]
async fn a_lease_outlives_who_asked_for_it() {
    let server = RedisServer::start();
    let store = Store::builder().deadline(Duration::from_secs(5));
    let store = store.connect(&server.url()).await.unwrap();
    let quota = Quota::per_day(1_000);
    let leased = app(RateLimitLayer::all(by_key("lease", quota).lease(100)), store.clone());
    leases(&server, &leased, "first").await;
    server.pause();
    let hangs_up = status(&leased, keyed("k"));
    tokio::time::timeout(Duration::from_millis(50), hangs_up).await.unwrap_err();
    server.resume();
    leases(&server, &leased, "k").await;
    let left = left(&store, "lease", quota, "k").await;
    assert!((890..=900).contains(&left), "one batch, and what was asked for meanwhile: {left}");
}

#[test]
#[should_panic(expected = "settle or lease")]
fn what_settles_is_not_leased() {
    let _ = by_key("api", Quota::per_day(100)).lease(10).settle(|done| done.reserved());
}

/// The limits' own matchers are what users write, too.
#[test]
fn a_closure_is_a_list() {
    let health = |head: &Parts| head.uri.path() == "/health";
    assert!(health.matches(&get_request("/health").into_parts().0));
    assert!(!health.matches(&get_request("/").into_parts().0));
}
