//! Redis stops, hangs, refuses or is not there: what each layer answers, how soon, and that
//! service is whole again by itself.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]

mod common;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use common::{Served, assert_unavailable, field, request, send, store_on, within};
use http::header::CACHE_CONTROL;
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use support::{Proxy, RedisServer, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tower_redis_kit::cache::{Cache, CacheLayer};
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Subject, Token};
use tower_redis_kit::{Store, StoreError, StoreLayer};

/// How long a call may take unless the store's builder says otherwise.
const DEADLINE: Duration = Duration::from_millis(100);

/// What a first call may take beyond that.
const SLACK: Duration = Duration::from_millis(50);

/// What a call takes at most, at the median, once the store knows that Redis is away.
const AT_ONCE: Duration = Duration::from_millis(5);

/// How soon service is whole again after Redis is.
const RECOVERY: Duration = Duration::from_secs(3);

/// Tests that measure time run one after the other.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// One route behind each layer, and one behind all four.
fn app(store: Store) -> Router {
    let limit = || RateLimitLayer::new("api", Quota::per_hour(100_000), Header::new("x-api-key"));
    let read = async |session: Session| session.get::<u32>("a").await.map(drop);
    let fresh = async || [(CACHE_CONTROL, "public, max-age=60")];
    let all = async |session: Session| {
        session.get::<u32>("a").await?;
        Ok::<_, SessionError>([(CACHE_CONTROL, "public, max-age=60")])
    };
    let all = Router::new()
        .route("/all", get(all))
        .layer(CacheLayer::new())
        .layer(SessionLayer::new())
        .layer(RevocationLayer::new(verify))
        .layer(limit());
    Router::new()
        .route("/limited", get(async || {}).layer(limit()))
        .route("/session", get(read).layer(SessionLayer::new()))
        .route("/no-session", get(async |_: Session| {}).layer(SessionLayer::new()))
        .route("/token", get(async || {}).layer(RevocationLayer::new(verify)))
        .route("/cached", get(fresh).layer(CacheLayer::new()))
        .merge(all)
        .layer(StoreLayer::new(store))
}

const ROUTES: [&str; 6] = ["/limited", "/session", "/no-session", "/token", "/cached", "/all"];

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    Ok((token_of(token), ()))
}

fn token_of(token: &str) -> Token {
    Token::new(token, SystemTime::now() + Duration::from_secs(60)).subject("ada")
}

/// A request for which every layer needs the store.
fn asking(path: &str) -> Request<Body> {
    let cookie = format!("__Host-session={}", "A".repeat(43));
    request("GET", path, &[("x-api-key", "k"), ("authorization", "Bearer t"), ("cookie", &cookie)])
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

async fn visit(app: &Router, path: &str) -> (Response<Body>, Duration) {
    timed(send(app, asking(path))).await
}

fn by_the_store(response: &Response<Body>) -> bool {
    let bypassed = || field(response.headers(), "cache-status").contains("bypass");
    let cached = response.headers().contains_key("cache-status");
    response.status() == StatusCode::OK && !(cached && bypassed())
}

/// What each layer's documentation says about a store that cannot answer.
fn assert_outcome(path: &str, response: &Response<Body>) {
    match path {
        "/limited" => {
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.headers().contains_key("ratelimit"), "it goes on in process");
        }
        "/session" | "/token" | "/all" => {
            assert_unavailable(response);
            for name in ["set-cookie", "www-authenticate"] {
                assert!(!response.headers().contains_key(name), "{path}: {name}");
            }
        }
        "/no-session" => assert_eq!(response.status(), StatusCode::OK),
        "/cached" => {
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(field(response.headers(), "cache-status"), "tower-redis-kit; fwd=bypass");
        }
        other => panic!("no outcome for {other}"),
    }
}

async fn assert_every_outcome_comes_at_once(app: &Router) {
    for path in ROUTES {
        let mut times = Vec::new();
        for _ in 0..50 {
            let (response, time) = visit(app, path).await;
            assert_outcome(path, &response);
            times.push(time);
        }
        times.sort_unstable();
        assert!(times[25] < AT_ONCE, "{path}: {:?}", times[25]);
    }
}

async fn assert_recovers(app: &Router, store: &Store, limit: Duration) {
    within(limit, "the store is up", async || store.health().is_up()).await;
    for path in ROUTES {
        let (response, _) = visit(app, path).await;
        assert!(by_the_store(&response), "{path}: {response:?}");
    }
}

#[tokio::test]
async fn a_stopped_redis_is_survived() {
    let _alone = alone().await;
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let app = app(store.clone());
    assert_recovers(&app, &store, Duration::ZERO + RECOVERY).await;
    let before = store.health();
    assert!(before.is_up() && before.error().is_none());

    server.stop();
    for path in ROUTES {
        let (response, time) = visit(&app, path).await;
        assert_outcome(path, &response);
        assert!(time < DEADLINE + SLACK, "{path} took {time:?}");
    }
    assert_every_outcome_comes_at_once(&app).await;
    let health = store.health();
    assert!(!health.is_up());
    assert!(health.error().expect("a reason").is_unavailable());
    assert!(health.since() >= before.since());
    assert_eq!(health.generation(), before.generation());

    server.start_again();
    assert_recovers(&app, &store, RECOVERY).await;
    assert!(store.health().generation() > before.generation());
    assert!(store.health().error().is_none());
}

#[tokio::test]
async fn a_hanging_redis_is_survived() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let app = app(store.clone());
    assert_recovers(&app, &store, RECOVERY).await;

    server.pause();
    for number in 1..=3 {
        assert!(store.health().is_up(), "before call {number}");
        let (response, time) = visit(&app, "/token").await;
        assert_outcome("/token", &response);
        assert!((DEADLINE..DEADLINE + SLACK).contains(&time), "call {number} took {time:?}");
    }
    let health = store.health();
    assert!(!health.is_up());
    assert!(health.error().expect("a reason").is_timeout());
    assert_every_outcome_comes_at_once(&app).await;

    server.resume();
    assert_recovers(&app, &store, RECOVERY).await;
}

#[tokio::test]
async fn calls_at_once_wait_for_one_deadline_only() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let app = app(store_on(&server).await);
    server.pause();
    let (_, time) = timed(async {
        let [a, b, c, d, e, f] = ROUTES.map(|path| visit(&app, path));
        tokio::join!(a, b, c, d, e, f)
    })
    .await;
    // Two layers of `/all` ask one after the other.
    assert!(time < 2 * (DEADLINE + SLACK), "{time:?}");
}

#[tokio::test]
async fn the_deadline_is_as_set() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let deadline = Duration::from_millis(300);
    let store = Store::builder().deadline(deadline).connect(&server.url()).await.expect("a store");
    server.pause();
    let (error, time) = timed(store.is_revoked(token_of("t"))).await;
    assert!(error.expect_err("nobody answers").is_timeout());
    assert!((deadline..deadline + SLACK).contains(&time), "{time:?}");
}

#[tokio::test]
async fn a_silent_network_is_survived() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.expect("a store");
    let app = app(store.clone());
    proxy.set_silent(true);
    for number in 1..=3 {
        let (response, time) = visit(&app, "/session").await;
        assert_outcome("/session", &response);
        assert!((DEADLINE..DEADLINE + SLACK).contains(&time), "call {number} took {time:?}");
    }
    assert_every_outcome_comes_at_once(&app).await;
    proxy.set_silent(false);
    // An attempt to connect that fell into the silence waits two seconds for its answer.
    assert_recovers(&app, &store, RECOVERY + Duration::from_secs(2)).await;
}

#[tokio::test]
async fn cut_connections_are_survived() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.expect("a store");
    let app = app(store.clone());
    for _ in 0..5 {
        let generation = store.health().generation();
        proxy.cut();
        for path in ROUTES {
            let (response, time) = visit(&app, path).await;
            assert!(time < DEADLINE + SLACK, "{path} took {time:?}");
            if !by_the_store(&response) {
                assert_outcome(path, &response);
            }
        }
        within(RECOVERY, "it connects anew", async || store.health().generation() > generation)
            .await;
        assert_recovers(&app, &store, RECOVERY).await;
    }
}

#[tokio::test]
async fn refused_connections_are_tried_again() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let store = Store::connect(&proxy.url()).await.expect("a store");
    let app = app(store.clone());
    proxy.refuse(true);
    proxy.cut();
    visit(&app, "/token").await;
    assert_every_outcome_comes_at_once(&app).await;
    let before = proxy.accepted();
    within(RECOVERY, "it tries again", async || proxy.accepted() > before + 1).await;
    proxy.refuse(false);
    assert_recovers(&app, &store, RECOVERY).await;
}

#[tokio::test]
async fn a_call_under_way_when_the_connection_is_cut_fails_before_its_deadline() {
    let _alone = alone().await;
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let deadline = Duration::from_secs(20);
    let store = Store::builder().deadline(deadline).connect(&proxy.url()).await.expect("a store");
    let round_trips = proxy.round_trips();
    proxy.set_silent(true);
    let cut = async {
        let sent = async || proxy.round_trips() > round_trips;
        within(RECOVERY, "the call is sent", sent).await;
        proxy.cut();
    };
    let ((answer, time), ()) = tokio::join!(timed(store.is_revoked(token_of("t"))), cut);
    let error = answer.expect_err("the connection was cut");
    assert!(error.is_unavailable() && !error.is_timeout(), "{error}");
    assert!(time < deadline / 2, "{time:?}");
}

#[tokio::test]
async fn one_call_too_many_fails_at_once() {
    let server = RedisServer::start();
    let builder = Store::builder().max_in_flight(1).deadline(Duration::from_secs(10));
    let store = builder.connect(&server.url()).await.expect("a store");
    server.pause();
    let second = async {
        let (answer, time) = timed(store.is_revoked(token_of("t"))).await;
        server.resume();
        (answer, time)
    };
    let (first, (second, time)) = tokio::join!(store.is_revoked(token_of("t")), second);
    assert_eq!(first, Ok(false));
    assert!(second.expect_err("there is no room").is_overloaded());
    assert!(time < SLACK, "{time:?}");
    assert!(store.health().is_up(), "that says nothing about Redis");
}

#[tokio::test]
async fn a_bad_key_does_not_take_the_others_down() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let app = app(store.clone());
    visit(&app, "/limited").await;
    let limit = server.keys().into_iter().find(|key| key.contains(":limit:")).expect("a limit");
    server.command(&["DEL", &limit]);
    server.command(&["LPUSH", &limit, "x"]);
    let monitor = server.monitor();
    for _ in 0..5 {
        let (response, _) = visit(&app, "/limited").await;
        assert_outcome("/limited", &response);
    }
    assert!(store.health().is_up());
    assert!(by_the_store(&visit(&app, "/token").await.0));
    assert_eq!(monitor.stop().len(), 6, "each was asked");
}

#[tokio::test]
async fn a_redis_that_became_a_replica_counts_as_away_until_it_is_none() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    server.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let error = store.revoke(Subject::new("ada")).await.expect_err("it is read-only");
    assert!(error.is_unavailable(), "{error}");
    within(RECOVERY, "it is down", async || !store.health().is_up()).await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    within(RECOVERY, "it is up", async || store.revoke(Subject::new("ada")).await.is_ok()).await;
}

#[tokio::test]
async fn a_redis_without_memory_is_full() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = store.revoke(token_of("t")).await.expect_err("no room");
    assert!(error.is_full(), "{error}");
    assert_eq!(store.is_revoked(token_of("t")).await, Ok(false), "reading goes on");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(store.revoke(token_of("t")).await, Ok(()));
}

#[tokio::test]
async fn a_key_that_the_access_list_does_not_allow_is_forbidden() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "shop", "on", ">secret", "~shop:*", "+@all"]);
    let url = format!("redis://shop:secret@{}", server.addr());
    let error = Store::builder().prefix("other").connect(&url).await.expect_err("not its keys");
    assert!(error.is_forbidden(), "{error}");
    let other = Store::builder().prefix("other").connect_lazy(&url).expect("a store");
    let until = Instant::now() + Duration::from_secs(3);
    while !other.health().is_up() {
        assert!(Instant::now() < until, "{:?}", other.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = other.is_revoked(token_of("t")).await.expect_err("not its keys");
    assert!(error.is_forbidden(), "{error}");
    assert!(other.health().is_up(), "that says nothing about Redis");
    let own = Store::builder().prefix("shop").connect(&url).await.expect("a store");
    assert_eq!(own.is_revoked(token_of("t")).await, Ok(false));
}

const PASSWORD: &str = "hunter2-xyzzy";

/// Why there is no store at `url`, which shows no password.
async fn refusal(url: &str) -> StoreError {
    let error = Store::connect(url).await.expect_err("no store");
    for shown in [error.to_string(), format!("{error:?}"), format!("{error:#?}")] {
        assert!(!shown.contains(PASSWORD) && !shown.contains("xyzzy"), "{shown}");
    }
    error
}

/// A server that does this with each connection.
async fn listener<F>(answer: fn(TcpStream) -> F) -> Served
where
    F: Future<Output = ()> + Send + 'static,
{
    Served::by(async move |listener| {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    })
    .await
}

async fn answer_http(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]).await;
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    say_nothing(stream).await;
}

/// Reads until the client has gone.
async fn say_nothing(mut stream: TcpStream) {
    while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
}

async fn hang_up(stream: TcpStream) {
    drop(stream);
}

fn url_of(addr: SocketAddr) -> String {
    format!("redis://:{PASSWORD}@{addr}/0")
}

#[tokio::test]
async fn nothing_listening_is_refused() {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let error = refusal(&url_of(addr)).await;
    assert!(error.is_refused() && error.is_unavailable(), "{error}");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn a_service_starts_while_redis_is_away() {
    let mut server = RedisServer::start();
    let url = server.url();
    server.stop();
    let store = Store::connect_lazy(&url).expect("a store");
    let (error, time) = timed(store.revoke(token_of("t"))).await;
    assert!(error.expect_err("away").is_unavailable());
    assert!(time < Duration::from_millis(50), "{time:?}");
    server.start_again();
    let until = Instant::now() + Duration::from_secs(3);
    while !store.health().is_up() {
        assert!(Instant::now() < until, "{:?}", store.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.revoke(token_of("t")).await.expect("revoked");
    assert!(Store::connect_lazy("http://localhost").expect_err("a URL").is_invalid_url());
}

#[tokio::test]
async fn a_host_without_an_address_is_unresolved() {
    // A label of more than 63 letters: no resolver needs to ask anybody about it.
    let host = format!("{}.invalid", "a".repeat(64));
    let error = refusal(&format!("redis://:{PASSWORD}@{host}:6379")).await;
    assert!(error.is_unresolved(), "{error}");
    assert!(error.to_string().contains(&format!("{host}:6379")), "{error}");
}

#[tokio::test]
async fn what_speaks_http_is_not_redis() {
    let http = listener(answer_http).await;
    let error = refusal(&url_of(http.addr)).await;
    assert!(error.is_not_redis(), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let silent = listener(say_nothing).await;
    let (error, time) = timed(refusal(&url_of(silent.addr))).await;
    assert!(error.is_timeout(), "{error}");
    assert!(time < Duration::from_secs(3), "{time:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_unavailable() {
    let closed = listener(hang_up).await;
    let error = refusal(&url_of(closed.addr)).await;
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_unauthorized() {
    let server = RedisServer::with(&["--requirepass", "the-right-one"]);
    for log_in in [format!(":{PASSWORD}@"), format!("nobody:{PASSWORD}@"), String::new()] {
        let error = refusal(&format!("redis://{log_in}{}", server.addr())).await;
        assert!(error.is_unauthorized(), "{log_in}: {error}");
    }
    let url = format!("redis://:the-right-one@{}", server.addr());
    let store = Store::connect(&url).await.expect("a store");
    assert!(!format!("{store:?}").contains("the-right-one"));
}

#[tokio::test]
async fn a_password_that_the_server_has_not_is_unauthorized() {
    let server = RedisServer::start();
    let error = refusal(&url_of(server.addr())).await;
    assert!(error.is_unauthorized(), "{error}");
}

#[tokio::test]
async fn a_password_of_any_characters_can_be_given_in_percent_encoding() {
    let server = RedisServer::with(&["--requirepass", "a@b:c/d?e#f%ü"]);
    let url = format!("redis://:a%40b%3Ac%2Fd%3Fe%23f%25%C3%BC@{}", server.addr());
    assert!(Store::connect(&url).await.expect("a store").health().is_up());
}

#[tokio::test]
async fn a_database_that_there_is_not_is_no_store() {
    let server = RedisServer::start();
    for database in ["99", "-1"] {
        let error = refusal(&format!("redis://{}/{database}", server.addr())).await;
        assert!(error.is_invalid_url(), "{database}: {error}");
        assert!(error.to_string().contains("database"), "{database}: {error}");
    }
    let store = Store::connect(&format!("redis://{}/3", server.addr())).await.expect("a store");
    store.revoke(token_of("t")).await.expect("revoked");
    assert!(server.command(&["INFO", "keyspace"]).contains("db3:"));
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_invalid() {
    for url in [
        "",
        " ",
        "redis",
        "redis:",
        "redis://",
        "localhost:6379",
        "http://localhost",
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://localhost/database",
        "redis://localhost/99999999999999999999",
        "redis://localhost/0#fragment",
        "redis://ada@localhost",
        "redis-sentinel://localhost/m?sentinel_user=eve",
        "memory:x",
        "memory://",
        "MEMORY",
    ] {
        let error = refusal(url).await;
        assert!(error.is_invalid_url(), "{url}: {error}");
    }
    for url in [
        format!("redis://:{PASSWORD}@localhost:port"),
        format!("http://:{PASSWORD}@localhost"),
        format!("redis://:{PASSWORD}@/0"),
        format!("redis://ada:{PASSWORD}@localhost/database"),
    ] {
        let error = refusal(&url).await;
        assert!(error.is_invalid_url(), "{error}");
    }
}

/// Whatever is asked for, without a host whose name would have to be looked up.
fn urls() -> impl Strategy<Value = String> {
    let anything = any::<String>()
        .prop_filter("no host", |url| !url.trim_start().to_lowercase().starts_with("redis"));
    // Nothing listens on port 1.
    prop_oneof![
        anything,
        "[a-zA-Z]{1,9}://127.0.0.1:1.*".prop_filter("no host", |url| !url.contains('@')),
        "redis://[^/?#@\\\\\\[\\]]{0,20}@127.0.0.1:1",
        "redis://127.0.0.1:1/.{0,40}",
        "redis://127.0.0.1:1\\?[a-z]{0,12}=.{0,12}",
        "redis://\\[[0-9a-f:]{0,12}\\]:1",
        "memory:.{0,10}",
    ]
}

#[test]
fn any_url_is_a_store_in_process_or_an_error() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }, |(url in urls())| {
        match runtime.block_on(Store::connect(&url)) {
            Ok(_) => prop_assert_eq!(&url, "memory:"),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    });
}

#[tokio::test]
async fn a_store_in_process_is_always_up() {
    let store = Store::connect("memory:").await.expect("a store");
    assert!(store.health().is_up());
    assert!(store.health().error().is_none());
    assert_eq!(Cache::new(store).purge_tag("tag").await, Ok(0));
}
