//! What a limit says of itself: every field is read as clients read it, by a parser of structured
//! fields.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get;
use common::{Served, field, fields, reason, request, send, text};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Fields, Header, Limit, Limited, Quota, RateLimitLayer, Unit};
use tower_redis_kit::{Store, StoreLayer};

const OK: StatusCode = StatusCode::OK;
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const SECRET: [u8; 16] = *b"0123456789abcdef";
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
const DRAFT6: [&str; 3] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];

/// One member of a list, by RFC 9651.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    name: String,
    item: Item,
}

impl Member {
    fn number(&self, key: &str) -> Option<u64> {
        let number = self.item.params.get(key)?.as_integer().expect("an integer");
        Some(u64::try_from(i64::from(number)).expect("not negative"))
    }

    fn bytes(&self, key: &str) -> Option<&[u8]> {
        Some(self.item.params.get(key)?.as_byte_sequence().expect("a byte sequence"))
    }
}

/// All lines of a field are one list.
fn items(headers: &HeaderMap, name: &str) -> Vec<Item> {
    let list: List = Parser::new(&fields(headers, name).join(", ")).parse().expect("a list");
    let item = |entry| match entry {
        ListEntry::Item(item) => item,
        ListEntry::InnerList(list) => panic!("{name} has an inner list: {list:?}"),
    };
    list.into_iter().map(item).collect()
}

fn members(headers: &HeaderMap, name: &str) -> Vec<Member> {
    let member = |item: Item| match &item.bare_item {
        BareItem::String(string) => Member { name: string.as_str().to_owned(), item },
        other => panic!("{name} has {other:?}, which is no string"),
    };
    items(headers, name).into_iter().map(member).collect()
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| &*member.name).collect()
}

/// A client that waits for `Retry-After` has waited for every `t`.
fn is_patient(headers: &HeaderMap) -> bool {
    let wait = headers.get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
    let times = members(headers, "ratelimit").into_iter().filter_map(|member| member.number("t"));
    wait.is_none_or(|wait| times.max().is_none_or(|time| time <= wait))
}

fn numbers(headers: &HeaderMap, names: [&str; 3]) -> [u64; 3] {
    names.map(|name| field(headers, name).parse().expect("a number"))
}

fn by_key() -> Header {
    Header::new("x-api-key")
}

fn limit(name: &str, quota: Quota) -> Limit {
    Limit::new(name, quota, by_key())
}

fn keyed(key: &str) -> Request<Body> {
    request("GET", "/", &[("x-api-key", key)])
}

/// A handler behind these layers, the first one innermost.
fn app<const N: usize>(layers: [RateLimitLayer; N]) -> Router {
    let handler = Router::new().route("/", get(|| async { "hello" }));
    let limited = layers.into_iter().fold(handler, |app, layer| app.layer(layer));
    limited.layer(StoreLayer::new(Store::memory()))
}

async fn problem(response: Response<Body>) -> Value {
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    serde_json::from_str(&text(response).await).expect("JSON")
}

#[tokio::test]
async fn clients_of_a_real_connection_read_both_lists() {
    let layer = RateLimitLayer::all([
        limit("second", Quota::per_second(10)),
        limit("bytes", Quota::per_hour(60)).unit(Unit::ContentBytes),
        limit("half", Quota::new(3, Duration::from_millis(500))),
    ]);
    let app = app([layer]);
    let served = Served::by(async move |listener| {
        axum::serve(listener, app).await.expect("serving");
    })
    .await;
    let request = request("GET", &served.uri("/"), &[("x-api-key", "k")]);
    let response = common::http_client().request(request).await.expect("a response");
    let policies = members(response.headers(), "ratelimit-policy");
    assert_eq!(names(&policies), ["second", "bytes", "half"]);
    let stated: Vec<_> = policies.iter().map(|it| (it.number("q"), it.number("w"))).collect();
    assert_eq!(stated, [(Some(10), Some(1)), (Some(60), Some(3600)), (Some(3), None)]);
    let unit = policies[1].item.params["qu"].as_string().expect("a string");
    assert_eq!(unit.as_str(), "content-bytes");
    let states = members(response.headers(), "ratelimit");
    assert_eq!(names(&states), ["second", "bytes", "half"]);
    let stated: Vec<_> = states.iter().map(|it| (it.number("r"), it.number("t"))).collect();
    assert_eq!(stated, [(Some(9), Some(1)), (Some(59), Some(60)), (Some(2), Some(1))]);
}

#[derive(Clone, Debug)]
struct Any {
    name: String,
    quota: Quota,
    cost: u32,
    unit: Unit,
    has_partition_key: bool,
    is_shadow: bool,
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let seconds = (1u64..10 * 365 * 86_400).prop_map(Duration::from_secs);
    let micros = (1u64..100_000_000).prop_map(Duration::from_micros);
    let small = 1u32..10;
    let period = prop_oneof![seconds, micros];
    (prop_oneof![small, 1u32..=u32::MAX], period, 0..7).prop_map(|(limit, period, kind)| {
        let quota = Quota::new(limit, period);
        match kind {
            0 => quota.fixed_window(),
            1 => quota.sliding_window(),
            2 => Quota::new(limit.min(1_000_000), period).sliding_log(),
            3 => quota.lockout([Duration::from_secs(60)]),
            4 => Quota::per_calendar_month(limit),
            5 => quota.guaranteed(),
            _ => quota,
        }
    })
}

fn any_limit() -> impl Strategy<Value = Any> {
    let unit = prop_oneof![
        Just(Unit::Requests),
        Just(Unit::ContentBytes),
        Just(Unit::ConcurrentRequests),
        Just(Unit::Other)
    ];
    let cost = prop_oneof![0..5u32, any::<u32>()];
    let is_shadow = prop::bool::weighted(0.2);
    ("[a-zA-Z0-9._-]{1,64}", any_quota(), cost, unit, any::<bool>(), is_shadow).prop_map(
        |(name, quota, cost, unit, has_partition_key, is_shadow)| Any {
            name,
            quota,
            cost,
            unit,
            has_partition_key,
            is_shadow,
        },
    )
}

fn made(any: &Any) -> Limit {
    let mut limit = limit(&any.name, any.quota).cost(any.cost).unit(any.unit);
    if any.has_partition_key {
        limit = limit.partition_key(SECRET);
    }
    if any.is_shadow { limit.shadow() } else { limit }
}

/// As lists of what is told, and what is not.
fn check(headers: &HeaderMap, limits: &[Any]) {
    let (policies, states) = (members(headers, "ratelimit-policy"), members(headers, "ratelimit"));
    let told: Vec<_> = limits.iter().filter(|limit| !limit.is_shadow).collect();
    assert_eq!(names(&policies), told.iter().map(|it| &*it.name).collect::<Vec<_>>());
    assert_eq!(names(&states), names(&policies));
    for ((limit, policy), state) in told.iter().zip(&policies).zip(&states) {
        assert_eq!(policy.number("q"), Some(limit.quota.limit().into()));
        assert!(policy.number("w").is_none_or(|window| window > 0));
        assert!(policy.bytes("pk").is_none());
        assert!(state.number("r").expect("what remains") <= limit.quota.burst_size().into());
        assert_eq!(state.bytes("pk").is_some(), limit.has_partition_key);
    }
    assert!(is_patient(headers), "{headers:?}");
}

#[test]
fn any_limits_fields_are_structured_fields() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(limits in prop::collection::vec(any_limit(), 1..5))| {
        let distinct: BTreeSet<_> = limits.iter().map(|limit| &limit.name).collect();
        prop_assume!(distinct.len() == limits.len());
        let app = app([RateLimitLayer::all(limits.iter().map(made).collect::<Vec<_>>())]);
        for _ in 0..4 {
            let response = runtime.block_on(send(&app, keyed("k")));
            check(response.headers(), &limits);
            prop_assert_eq!(response.status() == LIMITED, response.extensions().get::<Limited>().is_some());
            prop_assert!(response.status() == LIMITED || response.status() == OK);
            if let Some(limited) = response.extensions().get::<Limited>() {
                let told = response.headers().contains_key(RETRY_AFTER);
                prop_assert_eq!(told, limited.retry_after().is_some());
            }
        }
    });
}

#[tokio::test]
async fn stacked_layers_and_the_handler_append() {
    let fields = |mut response: Response<Body>| {
        let value = HeaderValue::from_static("\"upstream\";r=7;t=9");
        response.headers_mut().append("ratelimit", value);
        response
    };
    let layer = |name| RateLimitLayer::new(name, Quota::per_hour(2), by_key());
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(tower::util::MapResponseLayer::new(fields))
        .layer(layer("inner"))
        .layer(layer("outer"))
        .layer(StoreLayer::new(Store::memory()));
    let response = send(&app, keyed("k")).await;
    let states = members(response.headers(), "ratelimit");
    assert_eq!(names(&states), ["upstream", "inner", "outer"]);
    assert_eq!(names(&members(response.headers(), "ratelimit-policy")), ["inner", "outer"]);
}

#[tokio::test]
async fn a_shadow_is_not_shown() {
    let shadow = limit("shadow", Quota::per_hour(1)).shadow();
    let layer = RateLimitLayer::all([shadow, limit("api", Quota::per_hour(9))]).legacy_fields();
    let app = app([layer]);
    for remaining in [8, 7] {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), OK);
        assert_eq!(names(&members(response.headers(), "ratelimit")), ["api"]);
        assert_eq!(names(&members(response.headers(), "ratelimit-policy")), ["api"]);
        assert_eq!(numbers(response.headers(), LEGACY)[..2], [9, remaining]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_t_is_later_than_retry_after() {
    // Of the whole day, most of the quota is still there: its `t` is no reason to wait.
    let day = limit("day", Quota::per_day(2).burst(2));
    let app = app([
        RateLimitLayer::all([limit("second", Quota::per_second(1)), day]),
        RateLimitLayer::new("outer", Quota::per_day(100), by_key()),
    ]);
    let allowed = send(&app, keyed("k")).await;
    let times = |response: &Response<Body>| {
        let states = members(response.headers(), "ratelimit");
        states.iter().map(|state| state.number("t")).collect::<Vec<_>>()
    };
    assert_eq!(times(&allowed), [Some(1), Some(43_200), Some(864)]);
    let refused = send(&app, keyed("k")).await;
    assert_eq!(refused.status(), LIMITED);
    assert_eq!(field(refused.headers(), "retry-after"), "1");
    assert_eq!(times(&refused), [Some(1), None, None]);
    assert!(is_patient(refused.headers()));
}

/// Otherwise more would remain than there is.
#[tokio::test(start_paused = true)]
async fn a_burst_above_the_limit_is_told_as_a_quota_of_its_own_time() {
    let app =
        app([RateLimitLayer::all(limit("api", Quota::per_second(5).burst(20))).legacy_fields()]);
    let response = send(&app, keyed("k")).await;
    assert_eq!(field(response.headers(), "ratelimit-policy"), "\"api\";q=20;w=4");
    assert_eq!(field(response.headers(), "ratelimit"), "\"api\";r=19;t=1");
    assert_eq!(numbers(response.headers(), LEGACY), [20, 19, 1]);
}

#[tokio::test(start_paused = true)]
async fn several_that_refuse_are_waited_for() {
    let layer = RateLimitLayer::all([
        limit("second", Quota::per_second(1)),
        limit("minute", Quota::per_minute(1)),
    ]);
    let app = app([layer]);
    send(&app, keyed("k")).await;
    let refused = send(&app, keyed("k")).await;
    assert_eq!(field(refused.headers(), "retry-after"), "60");
    let expected = json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "the limit \"second\" is used up; the limit \"minute\" is used up",
        "violated-policies": ["second", "minute"],
    });
    assert_eq!(problem(refused).await, expected);
}

#[tokio::test]
async fn what_never_fits_has_no_retry_after_and_says_so() {
    let app = app([RateLimitLayer::all(limit("api", Quota::per_hour(2)).cost(3))]);
    let refused = send(&app, keyed("k")).await;
    assert_eq!(refused.status(), LIMITED);
    assert!(!refused.headers().contains_key(RETRY_AFTER));
    assert_eq!(members(refused.headers(), "ratelimit")[0].number("r"), Some(2));
    let problem = problem(refused).await;
    assert_eq!(problem["detail"], "the request costs more than the limit \"api\" ever has");
}

#[tokio::test]
async fn who_is_locked_out_reads_of_abnormal_usage_whatever_is_accepted() {
    let quota = Quota::per_hour(1).lockout([Duration::from_secs(90)]);
    let app = app([RateLimitLayer::new("log-in", quota, by_key())]);
    let html = || request("GET", "/", &[("x-api-key", "k"), ("accept", "text/html")]);
    send(&app, html()).await;
    let refused = send(&app, html()).await;
    assert_eq!(field(refused.headers(), "retry-after"), "90");
    let problem = problem(refused).await;
    let kind = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";
    assert_eq!(problem["type"], kind);
    assert_eq!(problem["detail"], "the limit \"log-in\" is shut for this caller");
    assert_eq!(problem["violated-policies"], json!(["log-in"]));
}

#[tokio::test]
async fn a_response_of_ones_own_gets_the_fields() {
    for (own, stated) in [(None, "3600"), (Some("7"), "3600"), (Some("9000"), "9000")] {
        let layer = RateLimitLayer::new("api", Quota::per_hour(1), by_key()).refuse_with(
            move |limited: &Limited, head: &Parts| {
                let words = format!("no: {} for {}", limited.limit(), head.uri);
                let mut response = Response::new(words.into());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                if let Some(own) = own {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(own));
                }
                response
            },
        );
        let app = app([layer]);
        send(&app, keyed("k")).await;
        let refused = send(&app, keyed("k")).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(field(refused.headers(), "retry-after"), stated);
        assert_eq!(field(refused.headers(), "ratelimit"), r#""api";r=0;t=3600"#);
        assert_eq!(field(refused.headers(), "ratelimit-policy"), r#""api";q=1;w=3600"#);
        assert_eq!(reason::<Limited, _>(&refused).limit(), "api");
        assert_eq!(text(refused).await, "no: api for /");
    }
}

#[tokio::test]
async fn a_partition_key_tells_callers_apart_and_nothing_else() {
    let partitioned = |secret: [u8; 16]| {
        let limit = |name| limit(name, Quota::per_hour(9)).partition_key(secret);
        app([RateLimitLayer::all([limit("api"), limit("other")])])
    };
    let keys = async |app: &Router, caller| {
        let response = send(app, keyed(caller)).await;
        let states = members(response.headers(), "ratelimit");
        states.iter().map(|state| state.bytes("pk").expect("a key").to_vec()).collect::<Vec<_>>()
    };
    let (here, there) = (partitioned(SECRET), partitioned(SECRET));
    let ada = keys(&here, "ada").await;
    assert_eq!(ada, keys(&there, "ada").await, "by every process");
    let others = [keys(&here, "bob").await, keys(&partitioned([7; 16]), "ada").await];
    let all: BTreeSet<_> = others.iter().flatten().chain(&ada).collect();
    assert_eq!(all.len(), 6, "by caller, limit and secret");
    assert!(all.iter().all(|key| key.len() == 9));
}

#[tokio::test(start_paused = true)]
async fn legacy_fields_are_of_the_limit_closest_to_being_used_up() {
    let layer = |name, quota| RateLimitLayer::new(name, quota, by_key()).legacy_fields();
    let loose = || layer("loose", Quota::per_hour(100));
    let tight = || layer("tight", Quota::per_minute(2));
    for layers in [[loose(), tight()], [tight(), loose()]] {
        let app = app(layers);
        let mut told = Vec::new();
        for _ in 0..3 {
            let response = send(&app, keyed("k")).await;
            told.push((response.status(), numbers(response.headers(), LEGACY)));
        }
        assert_eq!(told, [(OK, [2, 1, 30]), (OK, [2, 0, 60]), (LIMITED, [2, 0, 30])]);
    }
    let both = [limit("loose", Quota::per_hour(100)), limit("tight", Quota::per_minute(2))];
    let app = app([RateLimitLayer::all(both).legacy_fields()]);
    let response = send(&app, keyed("k")).await;
    assert_eq!(numbers(response.headers(), LEGACY), [2, 1, 30]);
}

#[tokio::test(start_paused = true)]
async fn no_reset_is_later_than_retry_after() {
    for (fields, names) in [(Fields::None, LEGACY), (Fields::Draft6, DRAFT6)] {
        let layer = |name, quota| RateLimitLayer::new(name, quota, by_key()).fields(fields);
        let inner = layer("inner", Quota::per_second(1)).legacy_fields();
        // The refused request is the last of its day.
        let outer = layer("outer", Quota::per_day(2)).legacy_fields();
        let app = app([inner, outer]);
        send(&app, keyed("k")).await;
        let refused = send(&app, keyed("k")).await;
        assert_eq!(refused.status(), LIMITED);
        assert_eq!(field(refused.headers(), "retry-after"), "1");
        assert_eq!(numbers(refused.headers(), names), [1, 0, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_equals_the_latest_reset_is_told() {
    let layer = |name, quota| RateLimitLayer::new(name, quota, by_key()).legacy_fields();
    let hour = || layer("hour", Quota::per_hour(5));
    let minute = || layer("minute", Quota::per_minute(5));
    for layers in [[hour(), minute()], [minute(), hour()]] {
        let response = send(&app(layers), keyed("k")).await;
        assert_eq!(numbers(response.headers(), LEGACY), [5, 4, 720]);
    }
}

#[tokio::test(start_paused = true)]
async fn older_drafts_have_a_list_of_policies_and_one_state() {
    let layer = |name, quota, fields| RateLimitLayer::new(name, quota, by_key()).fields(fields);
    let loose = |fields| layer("loose", Quota::per_hour(100), fields);
    let tight = |fields| layer("tight", Quota::per_minute(2), fields);
    let policies = |headers: &HeaderMap| {
        let pair = |item: Item| {
            let window = item.params["w"].as_integer().expect("an integer");
            (i64::from(item.bare_item.as_integer().expect("an integer")), i64::from(window))
        };
        items(headers, "ratelimit-policy").into_iter().map(pair).collect::<BTreeSet<_>>()
    };
    for swap in [false, true] {
        let layers = |fields| match swap {
            false => [loose(fields), tight(fields)],
            true => [tight(fields), loose(fields)],
        };
        let expected = BTreeSet::from([(100, 3600), (2, 60)]);
        let seventh = send(&app(layers(Fields::Draft7)), keyed("k")).await;
        assert_eq!(policies(seventh.headers()), expected);
        let state = field(seventh.headers(), "ratelimit");
        let state: Dictionary = Parser::new(state).parse().expect("a dictionary");
        let number = |key: &str| match &state[key] {
            ListEntry::Item(item) => i64::from(item.bare_item.as_integer().expect("an integer")),
            ListEntry::InnerList(list) => panic!("{list:?}"),
        };
        assert_eq!(["limit", "remaining", "reset"].map(number), [2, 1, 30]);
        let sixth = send(&app(layers(Fields::Draft6)), keyed("k")).await;
        assert_eq!(policies(sixth.headers()), expected);
        assert_eq!(numbers(sixth.headers(), DRAFT6), [2, 1, 30]);
        assert!(!sixth.headers().contains_key("ratelimit"));
    }
}

#[tokio::test]
async fn no_fields_are_no_fields() {
    let layer = RateLimitLayer::new("api", Quota::per_hour(1), by_key()).fields(Fields::None);
    let app = app([layer]);
    for status in [OK, LIMITED] {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), status);
        let told = response.headers().keys().filter(|name| name.as_str().contains("ratelimit"));
        assert_eq!(told.count(), 0);
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == LIMITED);
    }
}

#[tokio::test]
async fn a_cache_around_a_limit_keeps_none_of_its_fields() {
    for fields in [Fields::Draft11, Fields::Draft7, Fields::Draft6] {
        let layer = RateLimitLayer::new("api", Quota::per_hour(5), by_key());
        let app = Router::new()
            .route("/", get(|| async { [(CACHE_CONTROL, "max-age=60")].into_response() }))
            .layer(layer.fields(fields).legacy_fields())
            .layer(CacheLayer::new())
            .layer(StoreLayer::new(Store::memory()));
        let first = send(&app, keyed("k")).await;
        assert_eq!(numbers(first.headers(), LEGACY)[..2], [5, 4]);
        text(first).await;
        let hit = send(&app, keyed("k")).await;
        assert!(field(hit.headers(), "cache-status").contains("hit"));
        let told = hit.headers().keys().filter(|name| name.as_str().contains("ratelimit"));
        assert_eq!(told.collect::<Vec<_>>(), Vec::<&str>::new(), "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_is_never_stored() {
    let refuse = |_: &Limited, _: &Parts| {
        let mut response = Response::new("no".into());
        *response.status_mut() = LIMITED;
        let fresh = HeaderValue::from_static("public, max-age=3600");
        response.headers_mut().insert(CACHE_CONTROL, fresh);
        response
    };
    let layer = RateLimitLayer::new("api", Quota::per_second(1), by_key()).refuse_with(refuse);
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(layer)
        .layer(CacheLayer::new())
        .layer(StoreLayer::new(Store::memory()));
    for status in [OK, LIMITED] {
        let response = send(&app, keyed("k")).await;
        assert_eq!(response.status(), status);
        text(response).await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let response = send(&app, keyed("k")).await;
    assert_eq!(response.status(), OK);
}
