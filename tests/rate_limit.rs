//! Rate limits as a client and a handler meet them.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::get;
use common::{Counter, Served, assert_unavailable, away, field, fields, on_every_store, reason};
use common::{send, text};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};
use tower_redis_kit::rate_limit::{
    Fallback, Header, Key, KeyError, KeyExtractor, Limited, MissingPeer, PeerAddr, PeerIp, Quota,
    RateLimitLayer,
};
use tower_redis_kit::{MissingStore, Store, StoreLayer};

on_every_store! {
    allowed_requests_report_what_remains,
    limited_request_reports_retry_after,
    limited_request_never_reaches_the_handler,
    burst_is_what_may_come_at_once,
    each_header_value_has_a_quota_of_its_own,
    a_closure_makes_the_key,
    a_request_without_a_key_passes_unmarked,
    each_peer_address_has_a_quota_of_its_own,
    ipv6_addresses_of_one_64_share_a_quota,
    peer_addr_overrules_connect_info,
    connect_info_of_a_real_connection_is_counted,
    stacked_limits_append_their_fields,
    a_route_has_a_limit_of_its_own,
    layers_of_one_name_share_their_counts,
    layers_of_different_names_count_apart,
    a_layer_and_its_clone_with_another_store_count_apart,
    a_pinned_store_is_used_instead_of_the_requests,
    concurrent_callers_are_admitted_up_to_the_quota,
    limited_is_in_the_extensions,
    a_refusal_has_nothing_of_the_request_in_its_extensions,
}

const OK: StatusCode = StatusCode::OK;
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// One route behind `limit`, and a store.
fn app(limit: RateLimitLayer, store: Store) -> Router {
    hello().layer(limit).layer(StoreLayer::new(store))
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// A request with an API key, by which `by_api_key` counts.
fn keyed(key: &str) -> Request<Body> {
    common::request("GET", "/", &[("x-api-key", key)])
}

fn by_api_key() -> Header {
    Header::new("x-api-key")
}

fn from_peer(ip: &str) -> Request<Body> {
    let mut request = common::get("/");
    request.extensions_mut().insert(peer(ip));
    request
}

fn peer(ip: &str) -> PeerAddr {
    PeerAddr(SocketAddr::new(ip.parse().expect("an address"), 4711))
}

async fn statuses<const N: usize>(app: &Router, request: impl Fn() -> Request<Body>) -> [u16; N] {
    let mut statuses = [0; N];
    for status in &mut statuses {
        *status = send(app, request()).await.status().as_u16();
    }
    statuses
}

async fn allowed_requests_report_what_remains(store: Store) {
    let app = app(RateLimitLayer::new("api", Quota::per_hour(3), by_api_key()), store);
    for state in [r#""api";r=2;t=1200"#, r#""api";r=1;t=2400"#, r#""api";r=0;t=3600"#] {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), OK);
        assert_eq!(field(response.headers(), "ratelimit-policy"), r#""api";q=3;w=3600"#);
        assert_eq!(field(response.headers(), "ratelimit"), state);
        assert!(!response.headers().contains_key("retry-after"));
        assert_eq!(text(response).await, "hello");
    }
}

async fn limited_request_reports_retry_after(store: Store) {
    let app = app(RateLimitLayer::new("api", Quota::per_hour(2), by_api_key()), store);
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 200]);
    let response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), LIMITED);
    assert_eq!(field(response.headers(), "retry-after"), "1800");
    assert_eq!(field(response.headers(), "ratelimit-policy"), r#""api";q=2;w=3600"#);
    assert_eq!(field(response.headers(), "ratelimit"), r#""api";r=0;t=1800"#);
    assert_eq!(field(response.headers(), "content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["violated-policies"], serde_json::json!(["api"]));
}

async fn limited_request_never_reaches_the_handler(store: Store) {
    let calls = Counter::default();
    let count = calls.clone();
    let handler = move || async move { count.add() };
    let app = Router::new()
        .route("/", get(handler))
        .layer(RateLimitLayer::new("api", Quota::per_hour(2), by_api_key()))
        .layer(StoreLayer::new(store));
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 200, 429, 429]);
    assert_eq!(calls.get(), 2);
}

async fn burst_is_what_may_come_at_once(store: Store) {
    let quota = Quota::per_hour(100).burst(2);
    let app = app(RateLimitLayer::new("api", quota, by_api_key()), store);
    let response = send(&app, keyed("k")).await;
    assert_eq!(field(response.headers(), "ratelimit-policy"), r#""api";q=100;w=3600"#);
    assert_eq!(field(response.headers(), "ratelimit"), r#""api";r=1;t=36"#);
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 429]);
}

#[tokio::test(start_paused = true)]
async fn per_second_5_means_five_a_second() {
    let quota = Quota::per_second(5);
    let app = app(RateLimitLayer::new("api", quota, by_api_key()), Store::memory());
    let mut admitted = 0;
    // Asks all the time, for ten seconds.
    for _ in 0..1000 {
        admitted += usize::from(send(&app, keyed("k")).await.status() == OK);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(admitted, 5 + 5 * 10 - 1, "the burst, and one each 200 ms before the tenth second");
}

#[tokio::test(start_paused = true)]
async fn quota_comes_back_evenly() {
    let app = app(RateLimitLayer::new("api", Quota::per_second(5), by_api_key()), Store::memory());
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 200, 200, 200, 200, 429]);
    tokio::time::advance(Duration::from_millis(199)).await;
    assert_eq!(statuses(&app, || keyed("k")).await, [429]);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 429]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 200, 200, 200, 200, 429]);
}

#[tokio::test(start_paused = true)]
async fn coming_back_at_retry_after_is_not_too_early() {
    let app = app(RateLimitLayer::new("api", Quota::per_minute(7), by_api_key()), Store::memory());
    assert_eq!(statuses(&app, || keyed("k")).await, [200; 7]);
    for _ in 0..20 {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), LIMITED);
        let wait = field(response.headers(), "retry-after").parse().expect("seconds");
        tokio::time::advance(Duration::from_secs(wait)).await;
        assert_eq!(statuses(&app, || keyed("k")).await, [200]);
    }
}

async fn each_header_value_has_a_quota_of_its_own(store: Store) {
    let app = app(RateLimitLayer::new("api", Quota::per_hour(1), by_api_key()), store);
    assert_eq!(statuses(&app, || keyed("one")).await, [200, 429]);
    assert_eq!(statuses(&app, || keyed("two")).await, [200, 429]);
}

async fn a_closure_makes_the_key(store: Store) {
    let tenant = |head: &Parts| head.uri.query().map(str::to_owned);
    let app = app(RateLimitLayer::new("tenant", Quota::per_hour(1), tenant), store);
    assert_eq!(statuses(&app, || common::get("/?tenant=a")).await, [200, 429]);
    assert_eq!(statuses(&app, || common::get("/?tenant=b")).await, [200, 429]);
    assert_eq!(statuses(&app, || common::get("/")).await, [200, 200]);
}

async fn a_request_without_a_key_passes_unmarked(store: Store) {
    let app = app(RateLimitLayer::new("api", Quota::per_hour(1), by_api_key()), store);
    for _ in 0..3 {
        let response = send(&app, common::get("/")).await;
        assert_eq!(response.status(), OK);
        assert!(!response.headers().contains_key("ratelimit"));
        assert!(!response.headers().contains_key("ratelimit-policy"));
    }
}

async fn each_peer_address_has_a_quota_of_its_own(store: Store) {
    let app = app(RateLimitLayer::new("ip", Quota::per_hour(1), PeerIp), store);
    assert_eq!(statuses(&app, || from_peer("192.0.2.1")).await, [200, 429]);
    assert_eq!(statuses(&app, || from_peer("::ffff:192.0.2.1")).await, [429]);
    assert_eq!(statuses(&app, || from_peer("192.0.2.2")).await, [200, 429]);
}

async fn ipv6_addresses_of_one_64_share_a_quota(store: Store) {
    let app = app(RateLimitLayer::new("ip", Quota::per_hour(2), PeerIp), store);
    assert_eq!(statuses(&app, || from_peer("2001:db8:0:1::1")).await, [200]);
    assert_eq!(statuses(&app, || from_peer("2001:db8:0:1:ffff::2")).await, [200, 429]);
    assert_eq!(statuses(&app, || from_peer("2001:db8:0:2::1")).await, [200, 200, 429]);
}

async fn peer_addr_overrules_connect_info(store: Store) {
    let app = app(RateLimitLayer::new("ip", Quota::per_hour(1), PeerIp), store);
    let proxied = |client| {
        let mut request = from_peer(client);
        request.extensions_mut().insert(ConnectInfo(peer("192.0.2.99").0));
        request
    };
    assert_eq!(statuses(&app, || proxied("192.0.2.1")).await, [200, 429]);
    assert_eq!(statuses(&app, || proxied("192.0.2.2")).await, [200, 429]);
}

async fn connect_info_of_a_real_connection_is_counted(store: Store) {
    let app = app(RateLimitLayer::new("ip", Quota::per_hour(2), PeerIp), store);
    let served = Served::by(async move |listener| {
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.expect("serving");
    })
    .await;
    for status in [OK, OK, LIMITED] {
        // A connection of its own each time: what counts is the address, not the port.
        let response = common::http_client().request(common::get(&served.uri("/"))).await;
        assert_eq!(response.expect("a response").status(), status);
    }
}

#[tokio::test]
async fn a_missing_peer_is_a_500_that_names_the_fix() {
    let calls = Counter::default();
    let count = calls.clone();
    let app = Router::new()
        .route("/", get(move || async move { count.add() }))
        .layer(RateLimitLayer::new("ip", Quota::per_hour(2), PeerIp))
        .layer(StoreLayer::new(Store::memory()));
    let response = send(&app, common::get("/")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let missing: MissingPeer = reason(&response);
    assert!(missing.to_string().contains("into_make_service_with_connect_info"));
    assert!(missing.to_string().contains("PeerAddr"));
    assert_eq!(calls.get(), 0);
}

#[tokio::test]
async fn a_missing_store_is_a_500_that_names_the_fix() {
    let app = hello().layer(RateLimitLayer::new("api", Quota::per_hour(2), by_api_key()));
    let response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let missing: MissingStore = reason(&response);
    assert!(missing.to_string().contains("StoreLayer::new(store)"));
    assert!(missing.to_string().contains(".with_store(store)"));
}

async fn stacked_limits_append_their_fields(store: Store) {
    let app = hello()
        .layer(RateLimitLayer::new("inner", Quota::per_hour(1), by_api_key()))
        .layer(RateLimitLayer::new("outer", Quota::per_hour(3), by_api_key()))
        .layer(StoreLayer::new(store));
    let policies = [r#""inner";q=1;w=3600"#, r#""outer";q=3;w=3600"#];
    let states = [
        (OK, [r#""inner";r=0;t=3600"#, r#""outer";r=2;t=1200"#]),
        (LIMITED, [r#""inner";r=0;t=3600"#, r#""outer";r=1;t=2400"#]),
    ];
    for (status, states) in states {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), status);
        assert_eq!(fields(response.headers(), "ratelimit-policy"), policies);
        assert_eq!(fields(response.headers(), "ratelimit"), states);
    }
    send(&app, keyed("k")).await;
    let by_outer = send(&app, keyed("k")).await;
    assert_eq!(reason::<Limited, _>(&by_outer).limit(), "outer");
    assert_eq!(field(by_outer.headers(), "ratelimit"), r#""outer";r=0;t=1200"#);
}

async fn a_route_has_a_limit_of_its_own(store: Store) {
    let limit = RateLimitLayer::new("log-in", Quota::per_hour(1), by_api_key());
    let app = Router::new()
        .route("/log-in", get(|| async {}).layer(limit))
        .route("/", get(|| async {}))
        .layer(StoreLayer::new(store));
    let log_in = || common::request("GET", "/log-in", &[("x-api-key", "k")]);
    assert_eq!(statuses(&app, log_in).await, [200, 429]);
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 200]);
}

async fn layers_of_one_name_share_their_counts(store: Store) {
    let layer = || RateLimitLayer::new("api", Quota::per_hour(3), by_api_key());
    let (one, two) = (app(layer(), store.clone()), app(layer(), store));
    assert_eq!(statuses(&one, || keyed("k")).await, [200, 200]);
    assert_eq!(statuses(&two, || keyed("k")).await, [200, 429]);
    assert_eq!(statuses(&one, || keyed("k")).await, [429]);
}

async fn layers_of_different_names_count_apart(store: Store) {
    let layer = |name| RateLimitLayer::new(name, Quota::per_hour(1), by_api_key());
    let (one, two) = (app(layer("one"), store.clone()), app(layer("two"), store));
    assert_eq!(statuses(&one, || keyed("k")).await, [200, 429]);
    assert_eq!(statuses(&two, || keyed("k")).await, [200, 429]);
}

async fn a_layer_and_its_clone_with_another_store_count_apart(store: Store) {
    let layer = RateLimitLayer::new("api", Quota::per_hour(1), by_api_key());
    let pinned = layer.clone().with_store(Store::memory());
    let (one, two) = (app(layer, store.clone()), app(pinned, store));
    assert_eq!(statuses(&one, || keyed("k")).await, [200, 429]);
    assert_eq!(statuses(&two, || keyed("k")).await, [200, 429]);
}

async fn a_pinned_store_is_used_instead_of_the_requests(store: Store) {
    let layer = || RateLimitLayer::new("api", Quota::per_hour(2), by_api_key());
    let with_another = app(layer().with_store(store.clone()), Store::memory());
    let with_none = hello().layer(layer().with_store(store.clone()));
    let plain = app(layer(), store);
    assert_eq!(statuses(&with_another, || keyed("k")).await, [200]);
    assert_eq!(statuses(&with_none, || keyed("k")).await, [200]);
    assert_eq!(statuses(&plain, || keyed("k")).await, [429]);
}

async fn concurrent_callers_are_admitted_up_to_the_quota(store: Store) {
    let app = app(RateLimitLayer::new("api", Quota::per_hour(37), by_api_key()), store);
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let app = app.clone();
        callers.spawn(async move {
            let response = send(&app, keyed("k")).await;
            (response.status(), field(response.headers(), "ratelimit").to_owned())
        });
    }
    let answers = callers.join_all().await;
    let admitted: Vec<_> = answers.iter().filter(|(status, _)| *status == OK).collect();
    assert_eq!(admitted.len(), 37);
    assert!(answers.iter().all(|(status, _)| [OK, LIMITED].contains(status)));
    let told: HashSet<_> = admitted.iter().map(|(_, state)| state).collect();
    assert_eq!(told.len(), 37, "each was told another number: {told:?}");
}

async fn limited_is_in_the_extensions(store: Store) {
    let app = app(RateLimitLayer::new("api", Quota::per_hour(1), by_api_key()), store);
    let reworded =
        app.layer(axum::middleware::map_response(async |response: axum::response::Response| {
            match response.extensions().get::<Limited>() {
                Some(limited) => {
                    let wait = limited.retry_after().expect("waiting helps").as_secs();
                    let hour = (3590..=3600).contains(&wait);
                    Response::new(Body::from(format!("{}, an hour: {hour}", limited.limit())))
                }
                None => response,
            }
        }));
    assert_eq!(text(send(&reworded, keyed("k")).await).await, "hello");
    assert_eq!(text(send(&reworded, keyed("k")).await).await, "api, an hour: true");
}

async fn a_refusal_has_nothing_of_the_request_in_its_extensions(store: Store) {
    #[derive(Clone)]
    struct OfRequest;
    #[derive(Clone)]
    struct OfResponse;
    let layer = RateLimitLayer::new("api", Quota::per_hour(1), by_api_key());
    let worded = layer.clone().refuse_with(|_, head| {
        assert!(head.extensions.get::<OfRequest>().is_some());
        let mut response = Response::new(Bytes::new());
        response.extensions_mut().insert(OfResponse);
        response
    });
    for (layer, is_worded) in [(layer, false), (worded, true)] {
        let app = app(layer, store.clone());
        let request = || {
            let mut request = keyed("k");
            request.extensions_mut().insert(OfRequest);
            request
        };
        send(&app, request()).await;
        let response = send(&app, request()).await;
        let extensions = response.extensions();
        assert!(extensions.get::<Limited>().is_some());
        assert!(extensions.get::<OfRequest>().is_none());
        assert_eq!(extensions.get::<OfResponse>().is_some(), is_worded);
    }
}

#[tokio::test]
async fn with_redis_away_the_limit_goes_on_in_process() {
    let layer = RateLimitLayer::new("api", Quota::per_hour(2), by_api_key());
    let app = app(layer, away().await);
    let response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), OK);
    assert_eq!(field(response.headers(), "ratelimit-policy"), r#""api";q=2;w=3600"#);
    assert_eq!(field(response.headers(), "ratelimit"), r#""api";r=1;t=1800"#);
    assert_eq!(statuses(&app, || keyed("k")).await, [200, 429]);
    let response = send(&app, keyed("k")).await;
    assert_eq!(field(response.headers(), "retry-after"), "1800");
    assert_eq!(reason::<Limited, _>(&response).limit(), "api");
    assert_eq!(statuses(&app, || keyed("other")).await, [200]);
}

#[tokio::test]
async fn with_redis_away_fallback_allow_lets_pass() {
    let layer = RateLimitLayer::new("api", Quota::per_hour(1), by_api_key());
    let app = app(layer.fallback(Fallback::Allow), away().await);
    for _ in 0..5 {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), OK);
        assert!(!response.headers().contains_key("ratelimit"), "nothing is known of the limit");
    }
}

#[tokio::test]
async fn with_redis_away_fallback_refuse_is_503_and_never_429() {
    let layer = RateLimitLayer::new("api", Quota::per_hour(1), by_api_key());
    let app = app(layer.fallback(Fallback::Refuse), away().await);
    for _ in 0..5 {
        let response = send(&app, keyed("k")).await;
        assert_unavailable(&response);
        assert!(!response.headers().contains_key("ratelimit"));
    }
    assert_eq!(statuses(&app, || common::get("/")).await, [200]);
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct OwnError;

/// Names the error type of a service, and with it that a layer has not changed it.
fn own_error<S: tower::Service<Request<Body>, Error = OwnError>>(service: S) -> S {
    service
}

#[tokio::test]
async fn the_inner_services_error_passes_through() {
    let failing = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(OwnError));
    let limit = RateLimitLayer::new("api", Quota::per_hour(1), by_api_key());
    for store in [common::memory().await, common::redis().await] {
        let service = own_error(limit.clone().with_store(store).layer(failing));
        assert_eq!(service.clone().oneshot(keyed("k")).await.expect_err("it fails"), OwnError);
        let limited = service.oneshot(keyed("k")).await.expect("the layer answers");
        assert_eq!(limited.status(), LIMITED);
    }
}

#[tokio::test]
async fn a_key_extractor_of_the_users_own_may_say_who_is_asking() {
    struct Tenant;
    impl KeyExtractor for Tenant {
        fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
            Header::new("x-tenant").key(head)
        }
    }
    let app = app(RateLimitLayer::new("api", Quota::per_hour(1), Tenant), Store::memory());
    let tenant = || {
        let mut request = common::get("/");
        request.headers_mut().insert("x-tenant", HeaderValue::from_static("t"));
        request
    };
    assert_eq!(statuses(&app, tenant).await, [200, 429]);
}

#[test]
#[should_panic(expected = "a limit's name is 1 to 64 letters, digits or any of - _ .")]
fn a_name_that_could_break_a_key_is_refused() {
    let _ = RateLimitLayer::new("a{b}", Quota::per_hour(1), PeerIp);
}
