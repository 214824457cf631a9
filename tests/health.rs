//! The pages for those who look after a service, and what a store says about itself.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]

mod common;

use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use common::{
    Served, eventually, field, get, http_client, on_every_store, request, send, store_on, text,
};
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use support::{Proxy, RedisCluster, RedisServer};
use tokio::task::JoinSet;
use tower::Service;
use tower_redis_kit::health::{
    Contents, Details, Finding, Liveness, MemoryLimit, Mode, PageBody, Readiness, Role, Software,
};
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::{Store, StoreLayer};

on_every_store! {
    axum_serves_the_pages,
    hyper_serves_the_pages,
    a_second_reading_tells_of_the_time_since_the_first,
}

/// How long a call may take unless the store's builder says otherwise.
const DEADLINE: Duration = Duration::from_millis(100);

/// What a call takes at most, at the median, that waits for nobody.
const AT_ONCE: Duration = Duration::from_millis(5);

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

/// What a page says, and its status.
async fn page<S>(service: &S) -> (StatusCode, Value)
where
    S: Service<Request<Body>, Response = Response<PageBody>, Error = Infallible> + Clone,
{
    let response = send(service, get("/")).await;
    assert_eq!(field(response.headers(), "cache-control"), "no-store");
    let status = response.status();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        assert_eq!(field(response.headers(), "retry-after"), "1");
    }
    (status, json(response).await)
}

/// That the page comes without waiting for anybody, whatever else this machine does.
async fn assert_at_once<S>(service: &S)
where
    S: Service<Request<Body>, Response = Response<PageBody>, Error = Infallible> + Clone,
{
    let mut times = Vec::new();
    for _ in 0..21 {
        times.push(timed(page(service)).await.1);
    }
    times.sort_unstable();
    assert!(times[10] < AT_ONCE, "{times:?}");
}

async fn json<B>(response: Response<B>) -> Value
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    assert_eq!(field(response.headers(), "content-type"), "application/json");
    let length = field(response.headers(), "content-length").to_owned();
    let text = text(response).await;
    assert_eq!(length, text.len().to_string());
    serde_json::from_str(&text).expect("a page in JSON")
}

fn findings(page: &Value) -> Vec<&str> {
    let names = page["findings"].as_array().expect("findings").iter();
    names.map(|finding| finding["name"].as_str().expect("a name")).collect()
}

/// Asks each page over a socket, in each way.
async fn assert_pages(served: &Served, is_memory: bool) {
    let client = http_client();
    let ask = async |method: &str, path: &str| {
        let request = request(method, &served.uri(path), &[]);
        client.request(request).await.expect("an answer")
    };
    for (path, status) in [("/live", "alive"), ("/ready", "ready"), ("/health", "")] {
        let response = ask("GET", path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(field(response.headers(), "cache-control"), "no-store");
        let length = field(response.headers(), "content-length").to_owned();
        let page = json(response).await;
        if path == "/health" {
            assert_eq!(page["store"]["up"], true);
            let software = page["reading"]["software"].as_str().expect("a software");
            assert_eq!(software == "in_process", is_memory, "{software}");
        } else {
            assert_eq!(page["status"], status);
        }
        let head = ask("HEAD", path).await;
        assert_eq!(head.status(), StatusCode::OK);
        if path != "/health" {
            assert_eq!(field(head.headers(), "content-length"), length);
        }
        assert_eq!(text(head).await, "");
        for method in ["POST", "DELETE", "OPTIONS"] {
            let refused = ask(method, path).await;
            assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(field(refused.headers(), "allow"), "GET, HEAD");
            assert_eq!(field(refused.headers(), "cache-control"), "no-store");
            assert_eq!(text(refused).await, "");
        }
    }
}

fn is_memory(store: &Store) -> bool {
    format!("{store:?}").contains("Memory")
}

async fn axum_serves_the_pages(store: Store) {
    let app: Router = Router::new()
        .route_service("/live", Liveness::new())
        .route_service("/ready", Readiness::new().needs("sessions", store.clone()))
        .route_service("/health", Details::new(store.clone()));
    let served =
        Served::by(async move |listener| axum::serve(listener, app).await.expect("served")).await;
    assert_pages(&served, is_memory(&store)).await;
}

async fn hyper_serves_the_pages(store: Store) {
    let (ready, details) =
        (Readiness::new().needs("sessions", store.clone()), Details::new(store.clone()));
    let pages = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (mut ready, mut details) = (ready.clone(), details.clone());
        async move {
            match request.uri().path() {
                "/live" => Liveness::new().call(request).await,
                "/ready" => ready.call(request).await,
                _ => details.call(request).await,
            }
        }
    });
    let served =
        Served::by(async move |listener| {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(
                    TokioIo::new(stream),
                    TowerToHyperService::new(pages.clone()),
                ));
            }
        })
        .await;
    assert_pages(&served, is_memory(&store)).await;
}

/// A limit looks up what it remembers of a caller: nothing, the first time.
async fn use_store(store: &Store, callers: usize) {
    let limit = RateLimitLayer::new("api", Quota::per_hour(9), Header::new("x-api-key"));
    let app = Router::new()
        .route("/", axum::routing::get(async || {}))
        .layer(limit)
        .layer(StoreLayer::new(store.clone()));
    for _ in 0..2 {
        for caller in 0..callers {
            let caller = caller.to_string();
            let response = send(&app, request("GET", "/", &[("x-api-key", &caller)])).await;
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
}

async fn a_second_reading_tells_of_the_time_since_the_first(store: Store) {
    let details = Details::new(store.clone());
    let (_, first) = page(&details).await;
    assert_eq!(first["reading"]["lookups"]["last_interval"], Value::Null);
    use_store(&store, 20).await;
    let (_, again) = page(&details).await;
    assert_eq!(again["reading"]["lookups"], first["reading"]["lookups"], "read once a second");
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let (_, second) = page(&details).await;
    let interval = &second["reading"]["lookups"]["last_interval"];
    assert!(interval["length_ms"].as_u64().expect("a length") >= 1_000);
    assert!(interval["hits"].as_u64().expect("hits") >= 20, "{interval}");
    assert!(interval["misses"].as_u64().expect("misses") >= 20, "{interval}");
    assert!(interval["hit_rate"].as_f64().expect("a rate") > 0.0);
    assert_eq!(second["reading"]["keys"]["evicted_last_interval"], 0);
}

#[tokio::test]
async fn a_servers_details_are_told() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "maxmemory", "64mb"]);
    let (_, page) = page(&Details::new(store_on(&server).await)).await;
    let reading = &page["reading"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {reading}"));
    let version = server.command(&["INFO", "server"]);
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:"));
    assert_eq!(reading["version"].as_str(), version);
    assert_eq!(reading["mode"], "standalone");
    assert!(number(&reading["round_trip_us"]) > 0);
    assert!(number(&reading["age_ms"]) < 1_000);
    assert!(number(&reading["connected_clients"]) >= 2);
    assert!(number(&reading["commands"]["total"]) > 0);
    number(&reading["commands"]["per_second"]);
    number(&reading["uptime_s"]);
    assert!(number(&reading["memory"]["used_bytes"]) > 100_000);
    assert_eq!(reading["memory"]["limit"], "64.00 MiB");
    assert_eq!(reading["memory"]["limit_bytes"], 64 << 20);
    assert_eq!(reading["memory"]["eviction_policy"], "noeviction");
    assert_eq!((number(&reading["keys"]["expired"]), number(&reading["keys"]["evicted"])), (0, 0));
    assert_eq!(reading["replication"]["role"], "primary");
    assert_eq!(reading["replication"]["replicas"], 0);
    assert_eq!(reading["persistence"]["append_only"], false);
    assert_eq!(reading["persistence"]["snapshots"], false);
    assert_eq!(page["store"]["generation"], 1);
    assert_eq!(page["store"]["last_error"], Value::Null);
    let info = store_on(&server).await.info().await.expect("an answer");
    assert_eq!(info.software, Some(Software::Redis));
    assert_eq!(info.mode, Some(Mode::Standalone));
    assert!(info.round_trip > Duration::ZERO);
}

#[tokio::test]
async fn replicas_are_counted() {
    let primary = RedisServer::start();
    let store = store_on(&primary).await;
    let _replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    eventually("a replica is connected", async || {
        store.info().await.expect("an answer").replication.replicas == Some(1)
    })
    .await;
    let replication = store.info().await.expect("an answer").replication;
    assert_eq!(replication.role, Some(Role::Primary));
    eventually("the replica has reported", async || {
        store.info().await.expect("an answer").replication.lag.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_is_told_as_one_and_by_node() {
    let cluster = RedisCluster::shared();
    let patient = Store::builder().deadline(Duration::from_secs(5));
    let store = patient.connect(&cluster.url()).await.expect("a store");
    let (_, page) = page(&Details::new(store.clone())).await;
    let reading = &page["reading"];
    assert_eq!(reading["mode"], "cluster");
    assert_eq!(reading["replication"]["replicas"], 3);
    let nodes = reading["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 3);
    let used = |node: &Value| node["memory"]["used_bytes"].as_u64().expect("known");
    assert_eq!(nodes.iter().map(used).sum::<u64>(), used(reading));
    assert_eq!(findings(&page), ["not_persisted", "unlimited_memory"], "each is told once");
    let info = store.info().await.expect("an answer");
    assert_eq!((info.mode, info.nodes.len()), (Some(Mode::Cluster), 3));
}

#[tokio::test]
async fn a_flood_of_requests_makes_one_reading() {
    let server = RedisServer::start();
    let details = Details::new(store_on(&server).await);
    let (before, began) = (server.count(), Instant::now());
    let mut requests = JoinSet::new();
    for _ in 0..1_000 {
        let details = details.clone();
        requests.spawn(async move { page(&details).await });
    }
    for (status, page) in requests.join_all().await {
        assert_eq!(status, StatusCode::OK);
        assert_eq!(page["reading"]["memory"]["eviction_policy"], "noeviction");
    }
    let cost = server.count().since(&before);
    // One a second, if this took so long.
    let seconds = 1 + began.elapsed().as_secs();
    assert!(cost.commands["info"] <= seconds && cost.round_trips <= seconds, "{cost:?}");
    assert_eq!(cost.commands["info"], cost.commands["ping"]);
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    page(&details).await;
    assert_eq!(server.count().since(&before).commands["info"], cost.commands["info"] + 1);
}

#[tokio::test]
async fn clients_that_leave_make_nobody_ask_more_often() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.addr());
    let patient = Store::builder().deadline(Duration::from_secs(2));
    let details = Details::new(patient.connect(&proxy.url()).await.expect("a store"));
    page(&details).await;
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let before = server.count();
    proxy.set_delay(Duration::from_millis(100));
    for _ in 0..20 {
        let leaving = send(&details, get("/"));
        let _ = tokio::time::timeout(Duration::from_millis(20), leaving).await;
    }
    let (status, known) = page(&details).await;
    assert_eq!(status, StatusCode::OK);
    assert!(known["reading"]["age_ms"].as_u64().expect("an age") >= 1_000);
    let asked = || server.count().since(&before).commands.get("info").copied();
    eventually("the question has come", async || asked().is_some()).await;
    assert_eq!(asked(), Some(1));
}

#[tokio::test]
async fn a_stopped_redis_is_told_at_once_with_what_was_known() {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let (details, cache) = (Details::new(store.clone()), Store::memory());
    let needing = Readiness::new().needs("sessions", store.clone()).uses("cache", cache.clone());
    let using = Readiness::new().needs("sessions", cache).uses("cache", store.clone());
    assert_eq!(page(&details).await.0, StatusCode::OK);
    assert_eq!(page(&needing).await.0, StatusCode::OK);

    server.stop();
    eventually("the store knows", async || {
        // Something has to be called for it to be noticed.
        store.info().await.is_err() && !store.health().is_up()
    })
    .await;
    let (status, report) = page(&details).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(report["status"], "down");
    assert_eq!(findings(&report), ["away"]);
    assert_eq!(report["store"]["up"], false);
    eventually("the reason is known", async || {
        page(&details).await.1["store"]["last_error"] == "refused"
    })
    .await;
    assert_eq!(report["reading"]["memory"]["eviction_policy"], "noeviction", "what was known");
    for (readiness, expected, word) in [(&needing, 503, "unready"), (&using, 200, "ready")] {
        let (status, report) = page(readiness).await;
        assert_eq!((status.as_u16(), &report["status"]), (expected, &Value::from(word)));
        let stores = report["stores"].as_array().expect("stores");
        let up: Vec<_> = stores.iter().map(|store| store["up"] == true).collect();
        assert_eq!(up.iter().filter(|up| **up).count(), 1);
    }
    assert_eq!(page(&Liveness::new()).await.0, StatusCode::OK);
    assert_at_once(&details).await;
    assert_at_once(&needing).await;

    server.start_again();
    eventually("it is back", async || page(&details).await.0 == StatusCode::OK).await;
    let (_, report) = page(&needing).await;
    assert_eq!(report["status"], "ready");
    assert_eq!(report["stores"][0]["generation"], 2);
    assert!(report["stores"][0]["last_error"].is_string(), "why it was away: {report}");
}

#[tokio::test]
async fn a_hanging_redis_keeps_no_page_longer_than_the_deadline() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let details = Details::new(store.clone());
    let readiness = Readiness::new().needs("sessions", store.clone());
    page(&details).await;
    tokio::time::sleep(Duration::from_millis(1_010)).await;

    server.pause();
    let ((status, report), time) = timed(page(&details)).await;
    assert!((DEADLINE..DEADLINE * 2).contains(&time), "{time:?}");
    assert_eq!((status, &report["status"]), (StatusCode::OK, &Value::from("critical")));
    assert_eq!(findings(&report), ["no_answer"]);
    assert_eq!(report["reading_error"], "timeout");
    assert_eq!(report["reading"]["software"], "redis", "what was known");
    // Who comes after that is told what is known of it.
    let (_, time) = timed(page(&details)).await;
    assert!(time < DEADLINE / 2, "{time:?}");
    assert_at_once(&readiness).await;
    // The store finds out by the third deadline missed in a row.
    while store.health().is_up() {
        store.info().await.expect_err("nobody answers");
    }
    assert_eq!(page(&details).await.1["status"], "down");
    assert_eq!(page(&readiness).await.0, StatusCode::SERVICE_UNAVAILABLE);

    server.resume();
    eventually("it is back", async || page(&details).await.1["status"] == "warning").await;
    assert_eq!(page(&readiness).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_page_shows_no_password_and_no_address() {
    let server = RedisServer::with(&["--requirepass", "hunter2"]);
    let url = |password| format!("redis://:{password}@127.0.0.1:{}", server.port());
    let wrong = Store::connect_lazy(&url("hunter3")).expect("a URL");
    eventually("it is known why", async || {
        wrong.health().error().is_some_and(|error| error.is_unauthorized())
    })
    .await;
    let right = Store::connect(&url("hunter2")).await.expect("a store");
    for (store, expected) in [(&wrong, 503), (&right, 200)] {
        let details = Details::new(store.clone());
        let (status, report) = page(&details).await;
        assert_eq!(status.as_u16(), expected);
        let (_, ready) = page(&Readiness::new().needs("sessions", store.clone())).await;
        for text in [report.to_string(), ready.to_string()] {
            for secret in ["hunter", "127.0.0.1", &server.port().to_string()] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
    let (_, report) = page(&Details::new(wrong)).await;
    assert_eq!(report["store"]["last_error"], "unauthorized");
    assert_eq!(report["reading"], Value::Null);
}

async fn store_of_user(server: &RedisServer, rules: &[&str]) -> Store {
    let user = ["ACL", "SETUSER", "app", "on", ">word", "~*", "&*", "+@all"];
    server.command(&[&user, rules].concat());
    let url = format!("redis://app:word@127.0.0.1:{}", server.port());
    Store::connect(&url).await.expect("a store")
}

#[tokio::test]
async fn a_user_without_permission_is_told_that_and_nothing_is_down() {
    let server = RedisServer::start();
    for rules in [&["-info"][..], &["-info", "-ping", "-config"]] {
        let store = store_of_user(&server, rules).await;
        let info = store.info().await.expect("no error");
        assert!(info.is_withheld);
        assert_eq!((info.software, info.memory.used, info.uptime), (None, None, None));
        let details = Details::new(store.clone());
        let (status, report) = page(&details).await;
        assert_eq!((status, &report["status"]), (StatusCode::OK, &Value::from("ok")));
        assert_eq!(findings(&report), ["withheld"]);
        assert!(report["findings"][0]["text"].as_str().expect("a text").contains("+info"));
        assert!(report["reading"]["round_trip_us"].as_u64().expect("a time") > 0);
        assert_eq!(report["store"]["up"], true);
        assert!(store.health().is_up());
    }
}

#[tokio::test]
async fn settings_that_are_refused_are_asked_for_once_a_connection() {
    let server = RedisServer::start();
    let store = store_of_user(&server, &["-config"]).await;
    let details = Details::new(store.clone());
    for _ in 0..2 {
        let (_, report) = page(&details).await;
        assert_eq!(report["reading"]["persistence"]["snapshots"], Value::Null);
        assert_eq!(findings(&report), ["unlimited_memory"]);
        tokio::time::sleep(Duration::from_millis(1_010)).await;
    }
    let stats = server.command(&["INFO", "commandstats"]);
    let refused = stats.lines().find(|line| line.starts_with("cmdstat_config|get:"));
    assert!(refused.expect("it was asked").contains("rejected_calls=1"), "{refused:?}");
}

/// The findings about a store that nobody has asked before.
async fn audit(store: &Store, contents: Contents) -> Vec<String> {
    let (_, report) = page(&Details::new(store.clone()).contents(contents)).await;
    findings(&report).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_must_last_is_audited_on_a_real_server() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let set = |name, value| server.command(&["CONFIG", "SET", name, value]);
    let (lasting, disposable) = (Contents::Lasting, Contents::Disposable);
    assert_eq!(audit(&store, lasting).await, ["not_persisted", "unlimited_memory"]);
    assert_eq!(audit(&store, disposable).await, ["unlimited_memory"]);

    set("save", "3600 1");
    set("maxmemory", "1gb");
    assert_eq!(audit(&store, lasting).await, ["refuses_when_full"]);
    set("save", "");
    set("appendonly", "yes");
    assert_eq!(audit(&store, lasting).await, ["refuses_when_full"]);

    for policy in ["allkeys-lru", "volatile-lfu"] {
        set("maxmemory-policy", policy);
        assert_eq!(audit(&store, lasting).await, ["evicts"]);
        assert_eq!(audit(&store, disposable).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_caught_at_it() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let details = Details::new(store.clone());
    let used = |info: tower_redis_kit::health::ServerInfo| info.memory.used.expect("known").0;
    let before = used(store.info().await.expect("an answer"));
    page(&details).await;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.command(&["CONFIG", "SET", "maxmemory", &(before + (2 << 20)).to_string()]);
    let fill = "for i = 1, 400 do redis.call('SET', i, string.rep('x', 10000), 'PX', 60000) end";
    server.command(&["EVAL", fill, "0"]);
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let (status, report) = page(&details).await;
    assert_eq!((status, &report["status"]), (StatusCode::OK, &Value::from("critical")));
    let names = findings(&report);
    assert_eq!(names[0], "memory_short");
    for name in ["evicts", "evicted", "not_persisted"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(report["reading"]["keys"]["evicted_last_interval"].as_u64() > Some(0));
    let text = report["findings"].to_string();
    assert!(text.contains("CONFIG SET maxmemory-policy noeviction"), "{text}");
}

#[tokio::test]
async fn the_in_process_store_tells_of_its_shelves() {
    let store = Store::builder().memory_capacity(1 << 20).memory();
    use_store(&store, 3).await;
    let info = store.info().await.expect("an answer");
    assert_eq!(info.software, Some(Software::InProcess));
    let MemoryLimit::At(capacity) = info.memory.limit.expect("known") else {
        panic!("it is bounded")
    };
    assert!(capacity.0 <= 1 << 20 && capacity.0 > 900 << 10, "{capacity}");
    let limits = info.shelves.iter().find(|shelf| shelf.name == "rate limits").expect("a shelf");
    assert_eq!((limits.entries, limits.evicts), (3, true));
    assert_eq!((limits.lookups.hits, limits.lookups.misses), (3, 3));
    assert_eq!(info.memory.used, Some(limits.used));

    // Sessions are refused when there is no more room for them.
    let fill = Store::builder().memory_capacity(40_000).memory();
    let sessions = Router::new()
        .route(
            "/",
            axum::routing::get(async |session: tower_redis_kit::session::Session| {
                session.insert("text", "x".repeat(400)).await
            }),
        )
        .layer(tower_redis_kit::session::SessionLayer::new())
        .layer(StoreLayer::new(fill.clone()));
    while send(&sessions, get("/")).await.status() == StatusCode::OK {}
    let (_, report) = page(&Details::new(fill.clone())).await;
    assert_eq!(findings(&report), ["shelf_short"]);
    let found = fill.info().await.expect("an answer").findings(Contents::Lasting);
    assert!(matches!(found[..], [Finding::ShelfShort { name: "sessions", .. }]), "{found:?}");
}

#[tokio::test]
async fn a_watch_follows_the_health() {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    let mut watch = store.watch_health();
    assert!(watch.current().is_up());
    server.stop();
    let _ = store.info().await;
    assert!(!watch.changed().await.is_up());
    server.start_again();
    let back = async { while !watch.changed().await.is_up() {} };
    tokio::time::timeout(Duration::from_secs(5), back).await.expect("it is back");
    assert_eq!(watch.current().generation(), 2);
    assert!(watch.current().last_error().is_some());

    drop(store);
    let waited = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
    assert!(waited.is_err(), "of a store that was dropped nothing changes");
}

#[tokio::test]
async fn what_a_reading_costs_is_one_round_trip() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let before = server.count();
    store.info().await.expect("an answer");
    assert_eq!(server.count().since(&before).round_trips, 1);
}
