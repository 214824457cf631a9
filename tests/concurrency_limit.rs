//! Concurrency limits: how many requests are under way at the same time, to the end of their bodies,
//! and what becomes of the permits of those that end in another way.

mod common;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::routing::{any, get};
use common::{
    Served, assert_unavailable, away, eventually, field, fields, http_client, on_every_store,
    reason, redis_under, send, store_on, text, unique, within,
};
use futures_util::stream;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use support::{Proxy, RedisServer};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_redis_kit::rate_limit::{ConcurrencyLimitLayer, Fallback, Fields, Header, Limited};
use tower_redis_kit::rate_limit::{MissingKey, WithoutKey};
use tower_redis_kit::{Store, StoreError, StoreLayer};

on_every_store! {
    of_a_hundred_at_once_ten_are_let_in,
    a_permit_is_held_to_the_end_of_the_body,
    a_permit_ends_with_a_body_that_is_dropped_or_fails,
    a_permit_ends_with_an_error_of_the_service,
    a_permit_ends_with_a_request_that_is_given_up,
    each_key_and_each_name_has_permits_of_its_own,
    a_lease_is_renewed_as_long_as_the_request_is_under_way,
    a_client_that_hangs_up_frees_its_permit,
    a_shadow_refuses_nobody_and_shows_nowhere,
}

const OK: StatusCode = StatusCode::OK;
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// Short enough to be waited for, and long beside a slow machine's hiccups.
const LEASE: Duration = Duration::from_millis(900);

fn limit(permits: u32) -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new("exports", permits, Header::new("x-api-key"))
}

fn keyed(key: &str) -> Request<Body> {
    common::request("GET", "/", &[("x-api-key", key)])
}

/// Handlers that wait until they are let go.
#[derive(Clone)]
struct Desk {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Desk {
    fn new() -> Desk {
        Desk { inside: Arc::default(), most: Arc::default(), go: Arc::new(Semaphore::new(0)) }
    }

    fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    fn app(&self, limit: ConcurrencyLimitLayer) -> Router {
        let handler = async |State(desk): State<Desk>| {
            let inside = desk.inside.fetch_add(1, Ordering::SeqCst) + 1;
            desk.most.fetch_max(inside, Ordering::SeqCst);
            desk.go.acquire().await.expect("it is not closed").forget();
            desk.inside.fetch_sub(1, Ordering::SeqCst);
            "done"
        };
        Router::new().route("/", get(handler)).with_state(self.clone()).layer(limit)
    }
}

/// A route that answers with its request's body.
fn echo(limit: ConcurrencyLimitLayer) -> Router {
    let handler = async |request: Request<Body>| request.into_body();
    Router::new().route("/", any(handler)).layer(limit)
}

type Part = Result<Bytes, StoreError>;

/// A body in parts.
fn streamed() -> (mpsc::UnboundedSender<Part>, Body) {
    let (sender, mut parts) = mpsc::unbounded_channel::<Part>();
    let stream = futures_util::stream::poll_fn(move |cx| parts.poll_recv(cx));
    (sender, Body::from_stream(stream))
}

/// A response of `app` whose body has not ended.
async fn under_way(app: &Router, key: &str) -> UnderWay {
    let (parts, body) = streamed();
    let response = send(app, keyed(key).map(|_| body)).await;
    assert_eq!(response.status(), OK);
    (parts, response)
}

type UnderWay = (mpsc::UnboundedSender<Part>, Response<Body>);

/// Whether one more request is let in; it ends at once.
async fn lets_in(app: &Router) -> bool {
    let response: Response<Body> = send(app, keyed("k")).await;
    let is_in = response.status() == OK;
    assert!(is_in || response.status() == LIMITED, "{}", response.status());
    is_in
}

async fn of_a_hundred_at_once_ten_are_let_in(store: Store) {
    let desk = Desk::new();
    let app = desk.app(limit(10).with_store(store));
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let app = app.clone();
        requests.spawn(async move { send(&app, keyed("k")).await });
    }
    for _ in 0..90 {
        let refused: Response<Body> = requests.join_next().await.expect("a response").unwrap();
        assert_eq!(refused.status(), LIMITED);
        assert_eq!(field(refused.headers(), "retry-after"), "1");
        assert_eq!(field(refused.headers(), "ratelimit"), r#""exports";r=0"#);
        let policy = r#""exports";q=10;qu="concurrent-requests""#;
        assert_eq!(field(refused.headers(), "ratelimit-policy"), policy);
        assert_eq!(field(refused.headers(), "content-type"), "application/problem+json");
        let limited: Limited = reason(&refused);
        assert_eq!(limited.limit(), "exports");
        assert!(text(refused).await.contains("exports"));
    }
    eventually("ten are inside", async || desk.inside() == 10).await;
    desk.go.add_permits(10);
    let mut remaining = Vec::new();
    while let Some(admitted) = requests.join_next().await {
        let admitted = admitted.unwrap();
        assert_eq!(admitted.status(), OK);
        remaining.push(field(admitted.headers(), "ratelimit").to_owned());
        assert_eq!(text(admitted).await, "done");
    }
    remaining.sort();
    let expected: Vec<_> = (0..10).map(|r| format!(r#""exports";r={r}"#)).collect();
    assert_eq!(remaining, expected);
    assert_eq!(desk.most.load(Ordering::SeqCst), 10);
    desk.go.add_permits(100);
    eventually("all are free again", async || {
        let response: Response<Body> = send(&app, keyed("k")).await;
        response.headers()["ratelimit"] == r#""exports";r=9"#
    })
    .await;
}

/// A service whose next request is let in, at the latest after the round trip of a release.
async fn assert_free(app: &Router) {
    eventually("a permit is free", async || lets_in(app).await).await;
}

async fn a_permit_is_held_to_the_end_of_the_body(store: Store) {
    let app = echo(limit(1).with_store(store));
    let (parts, response) = under_way(&app, "k").await;
    assert!(!lets_in(&app).await);
    let mut body = response.into_body();
    parts.send(Ok("half".into())).unwrap();
    assert!(body.frame().await.is_some());
    assert!(!lets_in(&app).await);
    drop(parts);
    assert!(body.frame().await.is_none());
    // Though the body is still there.
    assert_free(&app).await;
    drop(body);
}

async fn a_permit_ends_with_a_body_that_is_dropped_or_fails(store: Store) {
    let again = ConcurrencyLimitLayer::new("again", 1, Header::new("x-api-key"));
    let again = again.with_store(store.clone());
    let app = echo(limit(1).with_store(store));
    let (_parts, response) = under_way(&app, "k").await;
    assert!(!lets_in(&app).await);
    drop(response);
    assert_free(&app).await;

    // What gives that one back is on its way.
    let app = echo(again);
    let (parts, response) = under_way(&app, "k").await;
    let error = Store::connect("ftp://nowhere").await.expect_err("no such scheme");
    parts.send(Err(error)).unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.expect("an error").is_err());
    assert_free(&app).await;
}

async fn a_permit_ends_with_an_error_of_the_service(store: Store) {
    let fails = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("broken"));
    let service = limit(1).with_store(store).layer(fails);
    for _ in 0..3 {
        eventually("the service is called", async || {
            service.clone().oneshot(keyed("k")).await.is_err()
        })
        .await;
    }
}

async fn a_permit_ends_with_a_request_that_is_given_up(store: Store) {
    let desk = Desk::new();
    let app = desk.app(limit(1).with_store(store));
    for _ in 0..3 {
        let before = desk.inside();
        eventually("the handler is cancelled", async || {
            let request = send::<_, Body>(&app, keyed("k"));
            let cancelled = timeout(Duration::from_millis(50), request).await.is_err();
            cancelled && desk.inside() > before
        })
        .await;
    }
    desk.go.add_permits(100);
    eventually("it is free", async || send::<_, Body>(&app, keyed("k")).await.status() == OK).await;
}

async fn each_key_and_each_name_has_permits_of_its_own(store: Store) {
    let app = echo(limit(1).with_store(store.clone()));
    let (_ada, _response) = under_way(&app, "ada").await;
    let (_bob, _response) = under_way(&app, "bob").await;
    let other = ConcurrencyLimitLayer::new("imports", 1, Header::new("x-api-key"));
    let other = echo(other.with_store(store));
    let (_parts, _response) = under_way(&other, "ada").await;
    // Whom it does not concern it does not hold up.
    let response: Response<Body> = send(&app, common::get("/")).await;
    assert_eq!(response.status(), OK);
    assert!(fields(response.headers(), "ratelimit").is_empty());
}

async fn a_lease_is_renewed_as_long_as_the_request_is_under_way(store: Store) {
    let app = echo(limit(1).lease(LEASE).with_store(store));
    let (parts, response) = under_way(&app, "k").await;
    for _ in 0..12 {
        sleep(LEASE / 4).await;
        assert!(!lets_in(&app).await);
    }
    drop(parts);
    assert_eq!(text(response).await, "");
    assert_free(&app).await;
}

async fn a_client_that_hangs_up_frees_its_permit(store: Store) {
    let app = echo(limit(1).with_store(store));
    let router = app.clone();
    let served = Served::by(async |listener| axum::serve(listener, router).await.unwrap()).await;
    let (parts, body) = streamed();
    let request = Request::post(served.uri("/")).header("x-api-key", "k").body(body);
    let client = http_client();
    let response = client.request(request.unwrap()).await.expect("a response");
    assert_eq!(response.status(), OK);
    assert!(!lets_in(&app).await);
    drop((response, client));
    eventually("the permit is free", async || {
        // A server finds out by writing.
        let _ = parts.send(Ok(vec![0; 1 << 20].into()));
        lets_in(&app).await
    })
    .await;
}

#[tokio::test]
async fn instances_on_one_redis_share_their_permits() {
    let prefix = unique("shared");
    let [one, two] = [redis_under(&prefix).await, redis_under(&prefix).await];
    let desk = Desk::new();
    let apps = [one, two].map(|store| desk.app(limit(10).with_store(store)));
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let app = apps[number % 2].clone();
        requests.spawn(async move { send::<_, Body>(&app, keyed("k")).await.status() });
    }
    for _ in 0..90 {
        assert_eq!(requests.join_next().await.unwrap().unwrap(), LIMITED);
    }
    eventually("ten are inside", async || desk.inside() == 10).await;
    desk.go.add_permits(10);
    assert!(requests.join_all().await.iter().all(|status| *status == OK));
    assert_eq!(desk.most.load(Ordering::SeqCst), 10);
}

/// Who holds permits by the server's word.
fn held(server: &RedisServer) -> i64 {
    let keys = server.keys();
    let key = keys.iter().find(|key| key.starts_with("kit:semaphore:"));
    key.map_or(0, |key| server.query(&["ZCARD", key]))
}

#[test]
fn the_permit_of_a_process_that_dies_is_free_after_its_lease() {
    let server = RedisServer::start();
    let layer = limit(1).lease(LEASE);
    // A runtime that ends with its tasks and connections is a process, as far as Redis sees it.
    let process = tokio::runtime::Runtime::new().unwrap();
    let response = process.block_on(async {
        let app = echo(layer.clone().with_store(store_on(&server).await));
        let (_, response) = under_way(&app, "k").await;
        sleep(LEASE).await;
        response
    });
    process.shutdown_background();
    drop(response);
    let survivor = tokio::runtime::Runtime::new().unwrap();
    survivor.block_on(async {
        let app = echo(layer.with_store(store_on(&server).await));
        assert_eq!(held(&server), 1);
        assert!(!lets_in(&app).await);
        sleep(LEASE).await;
        assert!(lets_in(&app).await);
    });
}

#[tokio::test]
async fn a_store_that_ends_gives_its_permits_back() {
    let server = RedisServer::start();
    let (one, other) = (store_on(&server).await, store_on(&server).await);
    let app = echo(limit(2).with_store(one.clone()));
    let held_back = [under_way(&app, "k").await, under_way(&app, "k").await];
    assert_eq!(held(&server), 2);
    assert!(one.shutdown(Duration::from_secs(5)).await);
    assert_eq!(held(&server), 0);
    let app = echo(limit(2).with_store(other));
    let _others = [under_way(&app, "k").await, under_way(&app, "k").await];
    drop(held_back);
    assert_eq!(held(&server), 2);
}

#[tokio::test]
async fn nothing_is_left_of_a_store_that_is_dropped() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let server = RedisServer::start();
    let before = tasks();
    for on_redis in [false, true] {
        let store = if on_redis { store_on(&server).await } else { Store::memory() };
        let app = echo(limit(1).with_store(store));
        let under_way = under_way(&app, "k").await;
        drop(app);
        assert!(tasks() > before, "somebody renews it");
        drop(under_way);
        eventually("all tasks have ended", async || tasks() == before).await;
    }
}

#[tokio::test]
async fn permits_are_renewed_together() {
    let server = RedisServer::start();
    let app = echo(limit(50).lease(LEASE).with_store(store_on(&server).await));
    let mut held_back = Vec::new();
    for _ in 0..40 {
        held_back.push(under_way(&app, "k").await);
    }
    let before = server.count();
    sleep(LEASE * 2).await;
    let sent = server.count().since(&before);
    let renewals = sent.commands.get("evalsha").copied().unwrap_or_default();
    assert!((4 * 40..=8 * 40).contains(&renewals), "{renewals}");
    assert!(sent.round_trips * 8 < renewals, "{} round trips", sent.round_trips);
    assert_eq!(held(&server), 40);
    drop(held_back);
    eventually("all are given back", async || held(&server) == 0).await;
}

#[tokio::test]
async fn a_request_that_lost_its_permit_goes_on_and_has_one_again_when_there_is_room() {
    let server = RedisServer::start();
    let [one, other] = [store_on(&server).await, store_on(&server).await]
        .map(|store| echo(limit(1).lease(LEASE).with_store(store)));
    let (parts, response) = under_way(&one, "k").await;
    server.command(&["FLUSHALL"]);
    let (_parts, theirs) = under_way(&other, "k").await;
    sleep(LEASE).await;
    assert_eq!(held(&server), 1, "theirs");
    drop(theirs);
    eventually("it is free", async || held(&server) == 0 || !lets_in(&other).await).await;
    eventually("it is held again", async || held(&server) == 1).await;
    assert!(!lets_in(&other).await);
    parts.send(Ok("all of it".into())).unwrap();
    drop(parts);
    assert_eq!(text(response).await, "all of it");
    eventually("it is given back", async || held(&server) == 0).await;
}

#[tokio::test]
async fn a_request_that_is_given_up_before_the_answer_gives_back_what_it_gets() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    // Several connections, on which commands may overtake each other.
    let builder = Store::builder().connections(4).deadline(Duration::from_secs(5));
    let store = builder.connect(&proxy.url()).await.unwrap();
    let desk = Desk::new();
    let app = desk.app(limit(100).with_store(store));
    proxy.set_delay(Duration::from_millis(20));
    let monitor = server.monitor();
    for patience in (0..50).map(|step| Duration::from_millis(step * 2)) {
        let _ = timeout(patience, send::<_, Body>(&app, keyed("k"))).await;
    }
    proxy.set_delay(Duration::ZERO);
    sleep(Duration::from_millis(200)).await;
    eventually("nothing is held", async || held(&server) == 0).await;
    let sent = monitor.stop();
    let count = |name: &str| sent.iter().filter(|command| command[0] == name).count();
    assert_eq!(count("EVALSHA"), 50);
    assert_eq!(count("ZREM"), 50, "each once");
    assert!(desk.inside() > 0, "some got through");
}

#[tokio::test]
async fn a_permit_whose_answer_comes_too_late_is_given_back() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let app = echo(limit(1).fallback(Fallback::Refuse).with_store(store));
    let monitor = server.monitor();
    // Longer than the deadline, there and back.
    proxy.set_delay(Duration::from_millis(80));
    let response: Response<Body> = send(&app, keyed("k")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reason::<StoreError, _>(&response).is_timeout());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(held(&server), 0);
    // The answers to releases are late as well.
    let sent: Vec<_> = monitor.stop().into_iter().map(|mut it| it.swap_remove(0)).collect();
    assert_eq!(sent[..2], ["EVALSHA", "ZREM"]);
    assert!(sent.iter().filter(|it| *it == "EVALSHA").count() == 1, "{sent:?}");
}

/// A service on a store that answers through a proxy, and refuses while there is no answer.
async fn by_proxy(
    server: &RedisServer,
    permits: u32,
    deadline: Duration,
) -> (Proxy, Store, Router) {
    let proxy = Proxy::to(server.addr());
    let builder = Store::builder().connections(3).deadline(deadline);
    let store = builder.connect(&proxy.url()).await.expect("a store");
    let app = echo(limit(permits).fallback(Fallback::Refuse).with_store(store.clone()));
    (proxy, store, app)
}

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_permit_that_was_taken_on_a_connection_that_was_lost_is_given_back() {
    let server = RedisServer::start();
    let (proxy, _, app) = by_proxy(&server, 1, SOON).await;
    let near = echo(limit(1).with_store(store_on(&server).await));
    proxy.set_deaf(true);
    let (response, ()) = tokio::join!(send::<_, Body>(&app, keyed("k")), async {
        within(SOON, "the permit is taken", async || held(&server) == 1).await;
        proxy.refuse(true);
        proxy.cut();
    });
    assert!(reason::<StoreError, _>(&response).is_unavailable());
    // What gives it back fails as well, at first.
    sleep(Duration::from_millis(300)).await;
    assert!(!lets_in(&near).await);
    proxy.set_deaf(false);
    proxy.refuse(false);
    // A lease is 30 s.
    within(SOON, "the permit is free", async || lets_in(&near).await).await;
}

#[tokio::test]
async fn a_permit_that_is_taken_after_its_connection_was_lost_is_given_back() {
    let server = RedisServer::start();
    let (proxy, store, app) = by_proxy(&server, 1, SOON).await;
    // What was sent waits in the server's socket, and is done after what comes later.
    server.pause();
    let (response, ()) = tokio::join!(send::<_, Body>(&app, keyed("k")), async {
        sleep(Duration::from_millis(300)).await;
        proxy.refuse(true);
        proxy.cut();
    });
    assert!(reason::<StoreError, _>(&response).is_unavailable());
    assert!(!store.health().is_up());
    server.resume();
    within(SOON, "the permit is taken", async || held(&server) == 1).await;
    proxy.refuse(false);
    within(SOON, "the permit is free", async || held(&server) == 0).await;
}

#[tokio::test]
async fn permits_of_requests_that_end_while_redis_is_away_are_given_back_when_it_is_back() {
    let server = RedisServer::start();
    let (proxy, store, app) = by_proxy(&server, 200, SOON).await;
    let mut all = Vec::new();
    for _ in 0..200 {
        all.push(under_way(&app, "k").await);
    }
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let whole = tasks();
    proxy.refuse(true);
    proxy.cut();
    within(SOON, "Redis is away", async || !store.health().is_up()).await;
    let before = tasks();
    drop(all);
    sleep(Duration::from_millis(300)).await;
    assert!(tasks() <= before + 1, "one for all: {} after {before}", tasks());
    assert_eq!(held(&server), 200);
    proxy.refuse(false);
    within(SOON, "all are free", async || held(&server) == 0).await;
    within(SOON, "the task has ended", async || tasks() <= whole).await;
}

#[tokio::test]
async fn a_store_that_ends_waits_for_no_permit_that_cannot_be_given_back() {
    let server = RedisServer::start();
    let (proxy, store, app) = by_proxy(&server, 1, SOON).await;
    let under_way = under_way(&app, "k").await;
    proxy.refuse(true);
    proxy.cut();
    within(SOON, "Redis is away", async || !store.health().is_up()).await;
    drop(under_way);
    sleep(Duration::from_millis(100)).await;
    let ended = timeout(Duration::from_secs(2), store.shutdown(Duration::from_secs(20))).await;
    assert_eq!(ended, Ok(true));
    assert_eq!(held(&server), 1);
}

#[tokio::test]
async fn what_ends_while_it_is_renewed_is_given_back_once_and_afterwards() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let builder = Store::builder().connections(4).deadline(Duration::from_secs(5));
    let store = builder.connect(&proxy.url()).await.unwrap();
    let app = echo(limit(1).lease(LEASE).with_store(store));
    let under_way = under_way(&app, "k").await;
    let monitor = server.monitor();
    proxy.set_delay(Duration::from_millis(100));
    sleep(LEASE / 3 + Duration::from_millis(50)).await;
    drop(under_way);
    sleep(LEASE / 2).await;
    eventually("it is given back", async || held(&server) == 0).await;
    let sent: Vec<_> = monitor.stop().into_iter().map(|mut it| it.swap_remove(0)).collect();
    assert_eq!(sent, ["EVALSHA", "ZREM"]);
}

#[tokio::test]
async fn a_request_costs_one_command_to_come_and_one_to_go() {
    let server = RedisServer::start();
    let app = echo(limit(1).with_store(store_on(&server).await));
    assert!(lets_in(&app).await);
    eventually("it is given back", async || held(&server) == 0).await;
    let cost = async |request: Request<Body>| {
        let (before, monitor) = (server.count(), server.monitor());
        let response: Response<Body> = send(&app, request).await;
        drop(response);
        sleep(Duration::from_millis(50)).await;
        let names = monitor.stop().into_iter().map(|mut command| command.swap_remove(0));
        (server.count().since(&before).round_trips, names.collect::<Vec<_>>())
    };
    assert_eq!(cost(keyed("k")).await, (2, vec!["EVALSHA".to_owned(), "ZREM".to_owned()]));
    let _under_way = under_way(&app, "k").await;
    assert_eq!(cost(keyed("k")).await, (1, vec!["EVALSHA".to_owned()]), "it is refused");
    assert_eq!(cost(common::get("/")).await, (0, vec![]), "it has no key");
}

#[tokio::test]
async fn with_redis_away_the_limit_goes_on_in_process_with_those_under_way() {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let app = echo(limit(2).with_store(store.clone()));
    let first = under_way(&app, "k").await;
    server.stop();
    eventually("Redis is away", async || !store.health().is_up()).await;
    let second = under_way(&app, "k").await;
    assert_eq!(field(second.1.headers(), "ratelimit"), r#""exports";r=0"#);
    assert!(!lets_in(&app).await);
    drop(first);
    assert!(lets_in(&app).await);

    // What was not taken there is not given back there.
    server.start_again();
    eventually("Redis is back", async || lets_in(&app).await && held(&server) == 0).await;
    sleep(Duration::from_millis(300)).await;
    let monitor = server.monitor();
    drop(second);
    sleep(Duration::from_millis(100)).await;
    assert!(monitor.stop().iter().all(|command| command[0] != "ZREM"));
}

#[tokio::test]
async fn with_redis_away_layers_of_one_name_count_together_on_one_store() {
    let (store, other) = (away().await, away().await);
    let hold = || get(async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()));
    let layer = limit(1);
    let app = Router::new()
        .route("/a", hold().layer(layer.clone()))
        .route("/b", hold().layer(limit(1)))
        .route("/elsewhere", hold().layer(layer.with_store(other)))
        .layer(StoreLayer::new(store));
    let ask = |path| send(&app, common::request("GET", path, &[("x-api-key", "k")]));
    let first: Response<Body> = ask("/a").await;
    let second: Response<Body> = ask("/b").await;
    let elsewhere: Response<Body> = ask("/elsewhere").await;
    assert_eq!([first.status(), second.status(), elsewhere.status()], [OK, LIMITED, OK]);
}

#[tokio::test]
async fn with_redis_away_fallback_allow_lets_pass_and_refuse_is_503() {
    let store = away().await;
    let app = echo(limit(1).fallback(Fallback::Allow).with_store(store.clone()));
    let [one, _two] = [under_way(&app, "k").await, under_way(&app, "k").await];
    assert!(fields(one.1.headers(), "ratelimit").is_empty());
    let app = echo(limit(1).fallback(Fallback::Refuse).with_store(store));
    assert_unavailable::<Body>(&send(&app, keyed("k")).await);
}

#[tokio::test]
async fn a_lease_survives_an_outage_that_is_shorter() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let [one, other] = [Store::connect(&proxy.url()).await.unwrap(), store_on(&server).await]
        .map(|store| echo(limit(1).lease(LEASE * 2).with_store(store)));
    let _under_way = under_way(&one, "k").await;
    sleep(LEASE / 2).await;
    proxy.refuse(true);
    proxy.reset();
    sleep(LEASE).await;
    proxy.refuse(false);
    for _ in 0..8 {
        sleep(LEASE / 4).await;
        assert!(!lets_in(&other).await);
    }
}

#[tokio::test]
async fn settings_are_those_of_a_rate_limit() {
    let app = |limit: ConcurrencyLimitLayer| echo(limit.with_store(Store::memory()));
    let strict = app(limit(1).without_key(WithoutKey::Refuse));
    let response: Response<Body> = send(&strict, common::get("/")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(reason::<MissingKey, _>(&response).limit(), "exports");

    let silent =
        app(limit(1).fields(Fields::None).refuse_with(|limited: &Limited, head: &Parts| {
            let mut response = Response::new(format!("{}: {limited}", head.method).into());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }));
    let (_parts, first) = under_way(&silent, "k").await;
    assert!(fields(first.headers(), "ratelimit").is_empty());
    let refused: Response<Body> = send(&silent, keyed("k")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(refused).await, r#"GET: the limit "exports" is used up"#);
}

async fn a_shadow_refuses_nobody_and_shows_nowhere(store: Store) {
    let shadow = limit(1).shadow().without_key(WithoutKey::Refuse).with_store(store.clone());
    let (live, shadow) = (echo(limit(1).with_store(store)), echo(shadow));
    let (_parts, first) = under_way(&shadow, "k").await;
    assert!(fields(first.headers(), "ratelimit").is_empty());
    assert!(!lets_in(&live).await, "it counts");
    assert!(lets_in(&shadow).await);
    let response: Response<Body> = send(&shadow, common::get("/")).await;
    assert_eq!(response.status(), OK);
    drop(first);
    eventually("a permit is free", async || lets_in(&live).await).await;
}

#[tokio::test]
async fn with_redis_away_a_shadow_refuses_nobody() {
    let store = away().await;
    for fallback in [Fallback::Local, Fallback::Allow, Fallback::Refuse] {
        let app = echo(limit(1).shadow().fallback(fallback).with_store(store.clone()));
        let _first = under_way(&app, "k").await;
        assert!(lets_in(&app).await);
    }
}

#[tokio::test]
async fn who_is_allowed_needs_no_permit() {
    let health = |head: &http::request::Parts| head.headers.contains_key("x-health");
    let app = echo(limit(1).allow(health).with_store(Store::memory()));
    let _first = under_way(&app, "k").await;
    assert!(!lets_in(&app).await);
    let allowed = common::request("GET", "/", &[("x-api-key", "k"), ("x-health", "1")]);
    let response: Response<Body> = send(&app, allowed).await;
    assert_eq!(response.status(), OK);
}

#[test]
#[should_panic(expected = "nobody in")]
fn a_limit_of_none_is_refused() {
    let _ = limit(0);
}

#[test]
#[should_panic(expected = "100ms to a day")]
fn a_lease_that_does_not_last_is_refused() {
    let _ = limit(1).lease(Duration::from_millis(99));
}

/// Any service will do, with any body.
#[tokio::test]
async fn the_inner_service_may_be_any() {
    let hello = async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::from("hello")));
    let service = limit(1).with_store(Store::memory()).layer(service_fn(hello));
    let request = Request::get("/").header("x-api-key", "k").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(text(response).await, "hello");
}
