//! The response cache as a client and a handler meet it.

mod common;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use common::{Counter, Served, away, field, fields, memory, on_every_store, reason, request, send};
use common::{http_client, text};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower::{Layer, Service, service_fn};
use tower_redis_kit::cache::{Cache, CacheBody, CacheLayer, CacheTags};
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionLayer};
use tower_redis_kit::{MissingStore, Store, StoreError, StoreLayer};

on_every_store! {
    a_second_request_is_answered_from_the_cache,
    each_uri_is_stored_by_itself,
    hosts_do_not_share_responses,
    a_request_with_content_has_no_part_in_the_cache,
    nested_routers_do_not_share_responses,
    head_is_answered_from_a_stored_get,
    an_answer_to_head_is_not_stored,
    a_matching_etag_is_304,
    an_unmodified_response_is_304,
    no_cache_asks_the_handler_and_stores_anew,
    no_store_bypasses_the_cache,
    a_range_bypasses_the_cache,
    only_if_cached_never_reaches_the_handler,
    a_request_may_want_it_fresher,
    every_variant_becomes_a_hit,
    a_response_with_another_vary_takes_the_place,
    what_must_not_be_stored_is_not,
    statuses_that_may_be_reused_are_stored,
    other_statuses_are_not_stored,
    an_age_on_arrival_counts,
    an_authorized_answer_is_stored_only_when_it_says_so,
    a_session_inside_the_cache_keeps_its_answers_to_itself,
    a_session_around_the_cache_keeps_its_answers_to_itself,
    a_session_looked_at_while_the_body_streams_keeps_its_answer_to_itself,
    a_change_drops_what_is_stored_for_its_uri,
    a_change_that_failed_drops_nothing,
    safe_methods_drop_nothing,
    a_change_drops_every_variant,
    a_purge_drops_what_carries_the_tag,
    a_purge_counts_every_variant,
    a_response_may_have_several_tags,
    tags_of_several_parts_add_up,
    a_response_with_too_many_tags_is_not_stored,
    a_response_made_before_a_purge_is_not_stored_after_it,
    a_response_made_before_a_change_is_not_stored_after_it,
    a_purge_of_another_tag_does_not_keep_a_response_out,
    a_purge_without_a_cache_layer_works_on_the_requests_store,
    a_body_longer_than_the_limit_passes_and_is_not_stored,
    a_body_in_many_frames_is_stored_whole,
    a_body_that_fails_is_not_stored,
    a_body_that_is_dropped_is_not_stored,
    an_empty_body_is_stored,
    a_body_of_another_length_than_stated_is_not_stored,
    trailers_pass_and_their_response_is_not_stored,
    fields_of_a_rate_limit_are_not_stored,
    a_pinned_store_is_used_instead_of_the_requests,
    the_last_byte_leaves_when_the_response_is_stored,
    a_real_connection_gets_hits,
}

const MISS: &str = "tower-redis-kit; fwd=uri-miss";
const STORED: &str = "tower-redis-kit; fwd=uri-miss; stored";
const HIT: &str = "tower-redis-kit; hit; ttl=60";
const BYPASS: &str = "tower-redis-kit; fwd=bypass";

type Fields = &'static [(&'static str, &'static str)];

const FRESH: Fields = &[("cache-control", "max-age=60")];

/// Answers every request with these fields, and with `1` the first time, `2` the second.
fn numbered(fields: Fields) -> Router {
    counting(fields, Counter::default())
}

fn counting(fields: Fields, calls: Counter) -> Router {
    Router::new().fallback(async move || {
        calls.add();
        let mut response = calls.get().to_string().into_response();
        add(response.headers_mut(), fields);
        response
    })
}

fn add(headers: &mut HeaderMap, fields: Fields) {
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
}

fn cached(handler: Router, store: Store) -> Router {
    handler.layer(CacheLayer::new()).layer(StoreLayer::new(store))
}

/// A response that has been read to its end.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    /// What the cache did, and the body.
    fn cache(&self) -> (&str, &str) {
        (field(&self.headers, "cache-status"), &self.body)
    }
}

async fn see<S, B>(service: &S, request: Request<Body>) -> Seen
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let response = send(service, request).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Seen { status, headers, body: text(response).await }
}

async fn see_get<S, B>(service: &S, uri: &str) -> Seen
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    see(service, common::get(uri)).await
}

async fn a_second_request_is_answered_from_the_cache(store: Store) {
    let kept: Fields = &[
        ("cache-control", "max-age=60"),
        ("content-type", "text/x-own"),
        ("etag", "\"v1\""),
        ("x-own", "a"),
        ("x-own", "b"),
    ];
    let calls = Counter::default();
    let app = cached(counting(&kept[..1], calls.clone()), store.clone());
    assert_eq!(see_get(&app, "/plain").await.cache(), (STORED, "1"));
    assert_eq!(see_get(&app, "/plain").await.cache(), (HIT, "1"));
    assert_eq!(calls.get(), 1);

    let plain = plain(store, move || {
        let mut response = Response::new("text".to_owned());
        add(response.headers_mut(), kept);
        response
    });
    let first = see_get(&plain, "/").await;
    assert!(!first.headers.contains_key("age"));
    let hit = see_get(&plain, "/").await;
    assert_eq!((hit.status, hit.cache()), (200, (HIT, "text")));
    assert_eq!(field(&hit.headers, "age"), "0");
    assert_eq!(field(&hit.headers, "content-length"), "4");
    assert_eq!(field(&hit.headers, "content-type"), "text/x-own");
    assert_eq!(field(&hit.headers, "etag"), "\"v1\"");
    assert_eq!(fields(&hit.headers, "x-own"), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_response_ages_and_ends() {
    let app = cached(numbered(FRESH), Store::memory());
    see_get(&app, "/").await;
    tokio::time::advance(Duration::from_millis(10_500)).await;
    let hit = see_get(&app, "/").await;
    assert_eq!(hit.cache(), ("tower-redis-kit; hit; ttl=50", "1"));
    assert_eq!(field(&hit.headers, "age"), "10");
    tokio::time::advance(Duration::from_millis(49_499)).await;
    let hit = see_get(&app, "/").await;
    assert_eq!(hit.cache(), ("tower-redis-kit; hit; ttl=1", "1"));
    assert_eq!(field(&hit.headers, "age"), "59");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(see_get(&app, "/").await.cache(), (STORED, "2"));
}

#[tokio::test]
async fn a_response_stored_on_redis_ends() {
    let app = cached(numbered(&[("cache-control", "max-age=1")]), common::redis().await);
    assert_eq!(see_get(&app, "/").await.cache(), (STORED, "1"));
    assert_eq!(see_get(&app, "/").await.body, "1");
    common::eventually("it has ended", async || see_get(&app, "/").await.body == "2").await;
}

async fn each_uri_is_stored_by_itself(store: Store) {
    let app = cached(numbered(FRESH), store);
    let uris = ["/", "/a", "/a/", "/A", "/a?", "/a?b=1", "/a?b=2", "/a%20", "/%61"];
    for uri in uris {
        assert_eq!(field(&see_get(&app, uri).await.headers, "cache-status"), STORED, "{uri}");
    }
    for (number, uri) in uris.iter().enumerate() {
        assert_eq!(see_get(&app, uri).await.cache(), (HIT, &*(number + 1).to_string()), "{uri}");
    }
}

async fn hosts_do_not_share_responses(store: Store) {
    let app = cached(numbered(FRESH), store);
    let of_host = |host| request("GET", "/", &[("host", host)]);
    assert_eq!(see(&app, of_host("a.example")).await.cache(), (STORED, "1"));
    assert_eq!(see(&app, of_host("b.example")).await.cache(), (STORED, "2"));
    assert_eq!(see(&app, of_host("a.example:8080")).await.cache(), (STORED, "3"));
    assert_eq!(see(&app, of_host("A.Example")).await.cache(), (HIT, "1"));
    // HTTP/2 has the host in the URI, and a scheme, of which HTTP/1.1 says nothing.
    assert_eq!(see_get(&app, "https://a.example/").await.cache(), (HIT, "1"));
    assert_eq!(see_get(&app, "https://c.example/").await.cache(), (STORED, "4"));
    see(&app, request("POST", "/", &[("host", "c.example")])).await;
    assert_eq!(see_get(&app, "https://c.example/").await.cache().0, STORED);
}

async fn a_request_with_content_has_no_part_in_the_cache(store: Store) {
    let echo = Router::new().fallback(async |body: String| ([(CACHE_CONTROL, FRESH[0].1)], body));
    let app = cached(echo, store);
    let fat = |text: &'static str| Request::get("/").body(Body::from(text)).expect("a request");
    assert_eq!(see(&app, fat("evil")).await.body, "evil");
    assert_eq!(see_get(&app, "/").await.cache(), (STORED, ""));
    assert_eq!(see(&app, fat("mine")).await.body, "mine");
}

async fn nested_routers_do_not_share_responses(store: Store) {
    let inner = |name: &'static str| {
        let handler = async move || ([(CACHE_CONTROL, "max-age=60")], name);
        Router::new().route("/page", get(handler)).layer(CacheLayer::new())
    };
    let app = Router::new()
        .nest("/one", inner("one"))
        .nest("/two", inner("two"))
        .layer(StoreLayer::new(store));
    for status in [STORED, HIT] {
        assert_eq!(see_get(&app, "/one/page").await.cache(), (status, "one"));
        assert_eq!(see_get(&app, "/two/page").await.cache(), (status, "two"));
    }
}

async fn head_is_answered_from_a_stored_get(store: Store) {
    let app = cached(numbered(FRESH), store);
    see_get(&app, "/").await;
    let head = see(&app, request("HEAD", "/", &[])).await;
    assert_eq!((head.status, head.cache()), (200, (HIT, "")));
    assert_eq!(field(&head.headers, "content-length"), "1");
    assert_eq!(see_get(&app, "/").await.cache(), (HIT, "1"));
}

async fn an_answer_to_head_is_not_stored(store: Store) {
    let app = cached(numbered(FRESH), store);
    assert_eq!(see(&app, request("HEAD", "/", &[])).await.cache(), (MISS, ""));
    assert_eq!(see_get(&app, "/").await.cache(), (STORED, "2"));
}

async fn a_matching_etag_is_304(store: Store) {
    let fields: Fields = &[
        ("cache-control", "max-age=60"),
        ("etag", "\"v1\""),
        ("content-location", "/here"),
        ("vary", "accept"),
    ];
    let app = cached(numbered(fields), store);
    see_get(&app, "/").await;
    for known in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
        let seen = see(&app, request("GET", "/", &[("if-none-match", known)])).await;
        assert_eq!((seen.status, seen.cache()), (304, (HIT, "")), "{known}");
        assert_eq!(field(&seen.headers, "etag"), "\"v1\"");
        assert_eq!(field(&seen.headers, "cache-control"), "max-age=60");
        assert_eq!(field(&seen.headers, "content-location"), "/here");
        assert_eq!(field(&seen.headers, "vary"), "accept");
        assert!(!seen.headers.contains_key("content-type"));
        // RFC 9110, 8.6: the 200's length or none, where axum would state that of no body.
        assert_eq!(field(&seen.headers, "content-length"), "1");
    }
    for unknown in ["\"v0\"", "v1", "\"v1", ""] {
        let seen = see(&app, request("GET", "/", &[("if-none-match", unknown)])).await;
        assert_eq!((seen.status, seen.cache()), (200, (HIT, "1")), "{unknown}");
    }
}

async fn an_unmodified_response_is_304(store: Store) {
    let fields: Fields =
        &[("cache-control", "max-age=60"), ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")];
    let app = cached(numbered(fields), store);
    see_get(&app, "/").await;
    for (since, status) in [
        ("Mon, 01 Jan 2024 00:00:00 GMT", 304),
        ("Tue, 02 Jan 2024 00:00:00 GMT", 304),
        ("Sun, 31 Dec 2023 00:00:00 GMT", 200),
        ("last week", 200),
    ] {
        let seen = see(&app, request("GET", "/", &[("if-modified-since", since)])).await;
        assert_eq!(seen.status, status, "{since}");
        assert_eq!(field(&seen.headers, "cache-status"), HIT);
    }
}

async fn no_cache_asks_the_handler_and_stores_anew(store: Store) {
    let app = cached(numbered(FRESH), store);
    see_get(&app, "/").await;
    let anew = "tower-redis-kit; fwd=request; stored";
    let mut calls = 1;
    for (name, value) in
        [("cache-control", "no-cache"), ("cache-control", "max-age=0"), ("pragma", "no-cache")]
    {
        calls += 1;
        let body = calls.to_string();
        assert_eq!(see(&app, request("GET", "/", &[(name, value)])).await.cache(), (anew, &*body));
        assert_eq!(see_get(&app, "/").await.cache(), (HIT, &*body));
    }
}

async fn no_store_bypasses_the_cache(store: Store) {
    let app = cached(numbered(FRESH), store);
    let no_store = || request("GET", "/", &[("cache-control", "no-store")]);
    assert_eq!(see(&app, no_store()).await.cache(), (BYPASS, "1"));
    assert_eq!(see_get(&app, "/").await.cache(), (STORED, "2"), "the first was not stored");
    assert_eq!(see(&app, no_store()).await.cache(), (BYPASS, "3"));
    assert_eq!(see_get(&app, "/").await.cache(), (HIT, "2"), "what was stored stays");
}

async fn a_range_bypasses_the_cache(store: Store) {
    let app = cached(numbered(FRESH), store);
    see_get(&app, "/").await;
    let range = request("GET", "/", &[("range", "bytes=0-0")]);
    assert_eq!(see(&app, range).await.cache(), (BYPASS, "2"));
}

async fn only_if_cached_never_reaches_the_handler(store: Store) {
    let calls = Counter::default();
    let app = cached(counting(FRESH, calls.clone()), store);
    let only_if_cached = || request("GET", "/", &[("cache-control", "only-if-cached")]);
    let seen = see(&app, only_if_cached()).await;
    assert_eq!((seen.status, &*seen.body, calls.get()), (504, "", 0));
    see_get(&app, "/").await;
    assert_eq!(see(&app, only_if_cached()).await.cache(), (HIT, "1"));
    let head = request("HEAD", "/none", &[("cache-control", "only-if-cached")]);
    assert_eq!(see(&app, head).await.status, 504);
    assert_eq!(calls.get(), 1);
}

async fn a_request_may_want_it_fresher(store: Store) {
    let app = cached(numbered(FRESH), store);
    see_get(&app, "/").await;
    for (wish, expected) in [
        ("max-age=60", (HIT, "1")),
        ("min-fresh=30", (HIT, "1")),
        ("min-fresh=61", ("tower-redis-kit; fwd=request; stored", "2")),
    ] {
        let wish = request("GET", "/", &[("cache-control", wish)]);
        assert_eq!(see(&app, wish).await.cache(), expected);
    }
}

async fn every_variant_becomes_a_hit(store: Store) {
    let fields: Fields = &[("cache-control", "max-age=60"), ("vary", "Accept-Encoding")];
    let app = cached(numbered(fields), store);
    let accepting = |encoding| request("GET", "/", &[("accept-encoding", encoding)]);
    let joined = "tower-redis-kit; fwd=vary-miss; stored";
    for _ in 0..2 {
        for (encoding, first, number) in
            [("gzip", STORED, "1"), ("br", joined, "2"), ("zstd", joined, "3")]
        {
            let seen = see(&app, accepting(encoding)).await;
            assert_eq!(seen.body, number, "{encoding}");
            assert!([first, HIT].contains(&seen.cache().0), "{encoding}: {seen:?}");
        }
    }
    for (encoding, number) in [("gzip", "1"), ("br", "2"), ("zstd", "3")] {
        assert_eq!(see(&app, accepting(encoding)).await.cache(), (HIT, number), "{encoding}");
    }
    assert_eq!(see_get(&app, "/").await.cache(), (joined, "4"), "no field is a variant too");
    assert_eq!(see_get(&app, "/").await.cache(), (HIT, "4"));
}

async fn a_response_with_another_vary_takes_the_place(store: Store) {
    let by_language = async |head: HeaderMap| {
        let vary = if head.contains_key("x-new") { "x-new" } else { "accept-language" };
        ([(CACHE_CONTROL, "max-age=60"), (VARY, vary)], vary)
    };
    let app = cached(Router::new().route("/", get(by_language)), store);
    let german = || request("GET", "/", &[("accept-language", "de")]);
    let new = || request("GET", "/", &[("accept-language", "en"), ("x-new", "1")]);
    assert_eq!(see(&app, german()).await.cache(), (STORED, "accept-language"));
    assert_eq!(see(&app, german()).await.cache(), (HIT, "accept-language"));
    let replaced = "tower-redis-kit; fwd=vary-miss; stored";
    assert_eq!(see(&app, new()).await.cache(), (replaced, "x-new"));
    assert_eq!(see(&app, new()).await.cache(), (HIT, "x-new"));
    assert_eq!(see(&app, german()).await.cache().1, "accept-language");
}

async fn what_must_not_be_stored_is_not(store: Store) {
    let forbidden: [Fields; 13] = [
        &[],
        &[("cache-control", "public")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=60, s-maxage=0")],
        &[("cache-control", "max-age=60, no-store")],
        &[("cache-control", "max-age=60, no-cache")],
        &[("cache-control", "max-age=60, private")],
        &[("cache-control", "max-age=60"), ("cache-control", "private")],
        &[("cache-control", "max-age=sixty")],
        &[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "max-age=60"), ("vary", "accept"), ("vary", "*")],
        &[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"), ("etag", "\"v1\"")],
    ];
    for fields in forbidden {
        let app = cached(numbered(fields), store.clone());
        assert_eq!(see_get(&app, "/").await.cache(), (MISS, "1"), "{fields:?}");
        assert_eq!(see_get(&app, "/").await.cache(), (MISS, "2"), "{fields:?}");
    }
}

/// A route for each status, all fresh for a minute.
fn statuses() -> Router {
    let calls = Counter::default();
    Router::new().route(
        "/{status}",
        get(async move |axum::extract::Path(status): axum::extract::Path<u16>| {
            calls.add();
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [(CACHE_CONTROL, "max-age=60")], calls.get().to_string())
        }),
    )
}

async fn statuses_that_may_be_reused_are_stored(store: Store) {
    let app = cached(statuses(), store);
    for status in [200, 203, 300, 301, 308, 404, 405, 410, 414, 501] {
        let first = see_get(&app, &format!("/{status}")).await;
        let again = see_get(&app, &format!("/{status}")).await;
        assert_eq!((again.status, again.cache()), (status, (HIT, &*first.body)));
    }
}

async fn other_statuses_are_not_stored(store: Store) {
    let app = cached(statuses(), store);
    for status in [201, 202, 206, 302, 303, 307, 400, 401, 403, 409, 429, 500, 502, 503, 504] {
        for _ in 0..2 {
            let seen = see_get(&app, &format!("/{status}")).await;
            assert_eq!((seen.status, seen.cache().0), (status, MISS));
        }
    }
}

async fn an_age_on_arrival_counts(store: Store) {
    let app = cached(numbered(&[("cache-control", "max-age=60"), ("age", "20")]), store);
    see_get(&app, "/").await;
    let hit = see_get(&app, "/").await;
    assert_eq!(hit.cache(), ("tower-redis-kit; hit; ttl=40", "1"));
    assert_eq!(field(&hit.headers, "age"), "20");
}

async fn an_authorized_answer_is_stored_only_when_it_says_so(store: Store) {
    let with_token = |path: &str| request("GET", path, &[("authorization", "Bearer ada")]);
    let cases: [(Fields, bool); 5] = [
        (FRESH, false),
        (&[("cache-control", "max-age=60, private")], false),
        (&[("cache-control", "max-age=60, public")], true),
        (&[("cache-control", "s-maxage=60")], true),
        (&[("cache-control", "max-age=60, must-revalidate")], true),
    ];
    for (number, (fields, stored)) in cases.into_iter().enumerate() {
        let (app, uri) = (cached(numbered(fields), store.clone()), format!("/{number}"));
        see(&app, with_token(&uri)).await;
        let next = see_get(&app, &uri).await;
        assert_eq!(next.body == "1", stored, "{fields:?}: {next:?}");
    }
    // What is stored for all answers who has a token as well.
    let app = cached(numbered(FRESH), store);
    see_get(&app, "/").await;
    assert_eq!(see(&app, with_token("/")).await.cache(), (HIT, "1"));
}

/// Handlers that look at the session, or do not.
fn with_session() -> Router {
    let look = async |session: Session, cache_control: &'static str| {
        let user: Option<String> = session.get("user").await.expect("a session");
        ([(CACHE_CONTROL, cache_control)], user.unwrap_or_default())
    };
    Router::new()
        .route("/personal", get(move |session| look(session, "max-age=60")))
        .route("/public", get(move |session| look(session, "max-age=60, public")))
        .route("/untouched", get(async |_: Session| ([(CACHE_CONTROL, "max-age=60")], "same")))
        .route(
            "/log-in",
            get(async |session: Session| {
                session.insert("user", "ada").await.expect("a change");
                ([(CACHE_CONTROL, "max-age=60, public")], "welcome")
            }),
        )
}

async fn personal_answers_are_not_shared(app: Router) {
    // A change sets a cookie, or it would not be one; what sets a cookie is not stored.
    let log_in = send(&app, common::get("/log-in")).await;
    let cookie =
        field(log_in.headers(), "set-cookie").split(';').next().expect("a pair").to_owned();
    assert_eq!(text(log_in).await, "welcome");
    let as_ada = |uri: &str| request("GET", uri, &[("cookie", &cookie)]);

    assert_eq!(see(&app, as_ada("/personal")).await.cache(), (MISS, "ada"));
    assert_eq!(see_get(&app, "/personal").await.cache(), (MISS, ""));
    assert_eq!(see(&app, as_ada("/untouched")).await.cache(), (STORED, "same"));
    assert_eq!(see_get(&app, "/untouched").await.cache(), (HIT, "same"));
    assert_eq!(see_get(&app, "/public").await.cache(), (STORED, ""));
    assert_eq!(see_get(&app, "/public").await.cache(), (HIT, ""));
}

async fn a_session_inside_the_cache_keeps_its_answers_to_itself(store: Store) {
    let app = with_session()
        .layer(SessionLayer::new())
        .layer(CacheLayer::new())
        .layer(StoreLayer::new(store));
    personal_answers_are_not_shared(app.clone()).await;
    // `Vary: Cookie` is stored along: a public answer is one for each cookie.
    let other = request("GET", "/public", &[("cookie", "a=b")]);
    assert_eq!(field(&see(&app, other).await.headers, "vary"), "Cookie");
    let log_in = see_get(&app, "/log-in").await;
    assert!(log_in.headers.contains_key(SET_COOKIE));
    assert_eq!(log_in.cache().0, MISS);
}

async fn a_session_around_the_cache_keeps_its_answers_to_itself(store: Store) {
    let app = with_session()
        .layer(CacheLayer::new())
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    personal_answers_are_not_shared(app).await;
}

/// A body whose one frame has yet to be made.
struct Late(Option<Pin<Box<dyn Future<Output = Bytes> + Send>>>);

impl http_body::Body for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(late) = &mut self.0 else { return Poll::Ready(None) };
        let bytes = ready!(late.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

async fn a_session_looked_at_while_the_body_streams_keeps_its_answer_to_itself(store: Store) {
    let handler = async |session: Session| {
        let late = async move {
            let user: Option<String> = session.get("user").await.expect("a session");
            user.unwrap_or_default().into()
        };
        ([(CACHE_CONTROL, "max-age=60")], Body::new(Late(Some(Box::pin(late)))))
    };
    let app = with_session()
        .route("/late", get(handler))
        .layer(CacheLayer::new())
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let log_in = send(&app, common::get("/log-in")).await;
    let cookie = field(log_in.headers(), "set-cookie").split(';').next().expect("a pair");
    assert_eq!(see(&app, request("GET", "/late", &[("cookie", cookie)])).await.body, "ada");
    assert_eq!(see_get(&app, "/late").await.body, "", "somebody else's");
}

async fn a_change_drops_what_is_stored_for_its_uri(store: Store) {
    let app = cached(numbered(FRESH), store);
    let mut calls = 0;
    for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
        calls += 1;
        assert_eq!(see_get(&app, "/").await.cache(), (STORED, &*calls.to_string()));
        let other = see_get(&app, "/other").await.body;
        let changed = see(&app, request(method, "/", &[])).await;
        assert_eq!(changed.cache().0, "tower-redis-kit; fwd=method", "{method}");
        assert_eq!(see_get(&app, "/other").await.cache(), (HIT, &*other), "another URI stays");
        calls = changed.body.parse().expect("a number");
    }
}

async fn a_change_that_failed_drops_nothing(store: Store) {
    let handler = async |method: http::Method, uri: http::Uri| {
        let status = match method {
            http::Method::GET => StatusCode::OK,
            _ => uri.path()[1..].parse().expect("a status"),
        };
        (status, [(CACHE_CONTROL, "max-age=60")])
    };
    let app = cached(Router::new().fallback(handler), store);
    for (status, dropped) in [
        (400, false),
        (403, false),
        (409, false),
        (429, false),
        (500, false),
        (503, false),
        (200, true),
        (204, true),
        (303, true),
    ] {
        let uri = format!("/{status}");
        see_get(&app, &uri).await;
        assert_eq!(see(&app, request("POST", &uri, &[])).await.status, status);
        let next = see_get(&app, &uri).await;
        assert_eq!(next.cache().0, if dropped { STORED } else { HIT }, "{status}");
    }
}

async fn safe_methods_drop_nothing(store: Store) {
    let app = cached(numbered(FRESH), store);
    see_get(&app, "/").await;
    for method in ["HEAD", "OPTIONS", "TRACE"] {
        see(&app, request(method, "/", &[])).await;
        assert_eq!(see_get(&app, "/").await.cache(), (HIT, "1"), "{method}");
    }
}

const BY_ACCEPT: Fields = &[("cache-control", "max-age=60"), ("vary", "accept")];

async fn a_change_drops_every_variant(store: Store) {
    let app = cached(numbered(BY_ACCEPT), store);
    let accepting = |what| request("GET", "/", &[("accept", what)]);
    for what in ["a", "b", "c"] {
        see(&app, accepting(what)).await;
    }
    see(&app, request("POST", "/", &[])).await;
    for (what, number) in [("b", "5"), ("a", "6"), ("c", "7")] {
        assert_eq!(see(&app, accepting(what)).await.body, number);
    }
}

/// Answers with the path as tag, and purges the tag that is the query of `/purge`.
fn tagged() -> Router {
    let calls = Counter::default();
    let page = async move |uri: http::Uri| {
        calls.add();
        let tags = CacheTags::new(uri.query().unwrap_or_default().split('&'));
        ([(CACHE_CONTROL, "max-age=60"), (VARY, "accept")], tags, calls.get().to_string())
    };
    let purge = async |uri: http::Uri, cache: Cache| {
        let dropped = cache.purge_tag(uri.query().unwrap_or_default()).await?;
        Ok::<_, StoreError>(dropped.to_string())
    };
    Router::new().fallback(page).route("/purge", get(purge))
}

async fn purge(app: &Router, tag: &str) -> String {
    see_get(app, &format!("/purge?{tag}")).await.body
}

async fn a_purge_drops_what_carries_the_tag(store: Store) {
    let app = cached(tagged(), store);
    for uri in ["/1?blue", "/2?blue", "/3?red"] {
        see_get(&app, uri).await;
    }
    assert_eq!(purge(&app, "green").await, "0");
    assert_eq!(purge(&app, "blue").await, "2");
    assert_eq!(purge(&app, "blue").await, "0", "they are gone");
    assert_eq!(see_get(&app, "/1?blue").await.cache(), (STORED, "4"));
    assert_eq!(see_get(&app, "/2?blue").await.cache(), (STORED, "5"));
    assert_eq!(see_get(&app, "/3?red").await.cache(), (HIT, "3"));
    assert_eq!(purge(&app, "blue").await, "2", "they are stored again under their tag");
}

async fn a_purge_counts_every_variant(store: Store) {
    let app = cached(tagged(), store);
    for what in ["a", "b", "c"] {
        see(&app, request("GET", "/?blue", &[("accept", what)])).await;
    }
    assert_eq!(purge(&app, "blue").await, "3");
    for what in ["a", "b", "c"] {
        let seen = see(&app, request("GET", "/?blue", &[("accept", what)])).await;
        assert!(["4", "5", "6"].contains(&&*seen.body), "{seen:?}");
    }
}

async fn a_response_may_have_several_tags(store: Store) {
    let app = cached(tagged(), store);
    for (number, tag) in ["blue", "red", "green"].into_iter().enumerate() {
        let body = (number + 1).to_string();
        assert_eq!(see_get(&app, "/?blue&red&green&blue").await.cache(), (STORED, &*body));
        assert_eq!(purge(&app, tag).await, "1", "{tag}");
    }
    assert_eq!(see_get(&app, "/?blue&red&green&blue").await.cache(), (STORED, "4"));
    assert_eq!(purge(&app, "Blue").await, "0", "a tag is its very letters");
}

async fn tags_of_several_parts_add_up(store: Store) {
    let parts = || async {
        ([(CACHE_CONTROL, "max-age=60")], CacheTags::new(["a"]), CacheTags::new(["b"]), "text")
    };
    let app = cached(tagged().route("/parts", get(parts)), store);
    for tag in ["a", "b"] {
        see_get(&app, "/parts").await;
        assert_eq!(purge(&app, tag).await, "1", "{tag}");
    }
}

async fn a_response_with_too_many_tags_is_not_stored(store: Store) {
    let app = cached(tagged(), store);
    let tags = |count| (0..count).map(|tag| tag.to_string()).collect::<Vec<_>>().join("&");
    assert_eq!(see_get(&app, &format!("/?{}", tags(64))).await.cache().0, STORED);
    assert_eq!(see_get(&app, &format!("/?{}", tags(65))).await.cache().0, MISS);
}

/// A tagged page whose handler waits, after it has made what it answers, until it is told to go on.
struct Slow {
    app: Router,
    made: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Slow {
    fn new(store: Store) -> Slow {
        let (made, go_on) = <(Arc<Notify>, Arc<Notify>)>::default();
        let calls = Counter::default();
        let handler = {
            let (made, go_on) = (made.clone(), go_on.clone());
            async move || {
                calls.add();
                let answer = calls.get();
                if answer == 1 {
                    made.notify_one();
                    go_on.notified().await;
                }
                ([(CACHE_CONTROL, "max-age=60")], CacheTags::new(["blue"]), answer.to_string())
            }
        };
        let route = get(handler).post(async || "changed");
        let app = cached(tagged().route("/slow", route), store);
        Slow { app, made, go_on }
    }

    /// Whether what the handler made is stored, when `meanwhile` is done before it leaves.
    async fn is_stored(&self, meanwhile: impl AsyncFnOnce(&Router)) -> bool {
        let meanwhile = async {
            self.made.notified().await;
            meanwhile(&self.app).await;
            self.go_on.notify_one();
        };
        let (first, ()) = tokio::join!(see_get(&self.app, "/slow"), meanwhile);
        assert_eq!(first.body, "1", "it answers in any case");
        see_get(&self.app, "/slow").await.body == "1"
    }
}

async fn a_response_made_before_a_purge_is_not_stored_after_it(store: Store) {
    let purge_blue = async |app: &Router| assert_eq!(purge(app, "blue").await, "0");
    assert!(!Slow::new(store).is_stored(purge_blue).await);
}

async fn a_response_made_before_a_change_is_not_stored_after_it(store: Store) {
    let change = async |app: &Router| {
        assert_eq!(see(app, request("POST", "/slow", &[])).await.body, "changed");
    };
    assert!(!Slow::new(store).is_stored(change).await);
}

async fn a_purge_of_another_tag_does_not_keep_a_response_out(store: Store) {
    let purge_red = async |app: &Router| assert_eq!(purge(app, "red").await, "0");
    assert!(Slow::new(store).is_stored(purge_red).await);
}

async fn a_purge_without_a_cache_layer_works_on_the_requests_store(store: Store) {
    let with_layer = cached(tagged(), store.clone());
    see_get(&with_layer, "/?blue").await;
    assert_eq!(purge(&tagged().layer(StoreLayer::new(store.clone())), "blue").await, "1");
    see_get(&with_layer, "/?blue").await;
    assert_eq!(Cache::new(store).purge_tag("blue").await, Ok(1));
}

/// A plain service behind the cache.
fn plain<B: http_body::Body>(
    store: Store,
    answer: impl Fn() -> Response<B> + Clone,
) -> impl Service<Request<Body>, Response = Response<CacheBody<B>>, Error = Infallible> + Clone {
    let handler = service_fn(move |_: Request<Body>| ready(Ok(answer())));
    CacheLayer::new().with_store(store).layer(handler)
}

/// A response of a plain service, fresh for a minute.
fn fresh<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    add(response.headers_mut(), FRESH);
    response
}

/// A body of these frames, of which nothing is known beforehand.
struct Frames(VecDeque<Result<Frame<Bytes>, &'static str>>);

impl Frames {
    fn of(parts: &[&'static str]) -> Frames {
        Frames(
            parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect(),
        )
    }

    fn then(mut self, last: Result<Frame<Bytes>, &'static str>) -> Frames {
        self.0.push_back(last);
        self
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front())
    }
}

async fn a_body_longer_than_the_limit_passes_and_is_not_stored(store: Store) {
    let of_length = async |uri: http::Uri| {
        let length = uri.path()[1..].parse().expect("a length");
        ([(CACHE_CONTROL, "max-age=60")], "x".repeat(length))
    };
    let app = Router::new()
        .fallback(of_length)
        .layer(CacheLayer::new().max_body(1000))
        .layer(StoreLayer::new(store.clone()));
    assert_eq!(see_get(&app, "/1000").await.cache(), (STORED, &*"x".repeat(1000)));
    assert_eq!(see_get(&app, "/1000").await.cache(), (HIT, &*"x".repeat(1000)));
    assert_eq!(see_get(&app, "/1001").await.cache(), (MISS, &*"x".repeat(1001)));

    // A length that is known only at the end.
    let handler =
        service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(fresh(Frames::of(&["xxxxx"; 3])))));
    for (max_body, stored) in [(15, true), (14, false), (4, false), (0, false)] {
        let layer = CacheLayer::new().max_body(max_body).with_store(store.clone());
        let (service, uri) = (layer.layer(handler), format!("/{max_body}"));
        assert_eq!(see_get(&service, &uri).await.body, "xxxxxxxxxxxxxxx");
        let next = see_get(&service, &uri).await;
        assert_eq!((next.cache().0 == HIT, &*next.body), (stored, "xxxxxxxxxxxxxxx"), "{max_body}");
    }
}

async fn a_body_in_many_frames_is_stored_whole(store: Store) {
    let service = plain(store, || fresh(Frames::of(&["", "one ", "", "two ", "three", ""])));
    assert_eq!(see_get(&service, "/").await.cache(), (STORED, "one two three"));
    let hit = see_get(&service, "/").await;
    assert_eq!(hit.cache(), (HIT, "one two three"));
    assert_eq!(field(&hit.headers, "content-length"), "13");
}

async fn a_body_that_fails_is_not_stored(store: Store) {
    let service = plain(store, || fresh(Frames::of(&["half"]).then(Err("it broke"))));
    for _ in 0..2 {
        let response = send(&service, common::get("/")).await;
        assert_eq!(field(response.headers(), "cache-status"), STORED);
        assert_eq!(response.into_body().collect().await.expect_err("half a body"), "it broke");
    }
}

async fn a_body_that_is_dropped_is_not_stored(store: Store) {
    let service = plain(store, || fresh(Frames::of(&["one", "two"])));
    for _ in 0..2 {
        let response = send(&service, common::get("/")).await;
        assert_eq!(field(response.headers(), "cache-status"), STORED);
        let mut body = response.into_body();
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "one");
    }
    assert_eq!(see_get(&service, "/").await.cache(), (STORED, "onetwo"));
    assert_eq!(see_get(&service, "/").await.cache(), (HIT, "onetwo"));
}

async fn an_empty_body_is_stored(store: Store) {
    let by_end = plain(store.clone(), || fresh(Frames::of(&[])));
    let by_size = plain(store.clone(), || fresh(http_body_util::Empty::<Bytes>::new()));
    assert_eq!(see_get(&by_end, "/1").await.cache(), (STORED, ""));
    assert_eq!(see_get(&by_end, "/1").await.cache(), (HIT, ""));
    // Nobody reads a body that says it has ended: it is stored all the same.
    drop(send(&by_size, common::get("/2")).await);
    assert_eq!(see_get(&by_size, "/2").await.cache(), (HIT, ""));
    let gone =
        Router::new().fallback(async || (StatusCode::NO_CONTENT, [(CACHE_CONTROL, "max-age=60")]));
    let app = cached(gone, store);
    drop(send(&app, common::get("/3")).await);
    let hit = see_get(&app, "/3").await;
    assert_eq!((hit.status, hit.cache()), (204, (HIT, "")));
}

async fn a_body_of_another_length_than_stated_is_not_stored(store: Store) {
    for stated in ["6", "4", "2", "0"] {
        let service = plain(store.clone(), move || {
            let mut response = fresh(Frames::of(&["text", "s"]));
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(stated));
            response
        });
        for _ in 0..2 {
            let seen = see_get(&service, "/").await;
            assert_ne!(seen.cache().0, HIT, "{stated}");
            assert_eq!(seen.body, "texts", "{stated}");
        }
    }
}

async fn trailers_pass_and_their_response_is_not_stored(store: Store) {
    let trailers: HeaderMap =
        [("x-checksum".parse().expect("a name"), HeaderValue::from_static("7"))]
            .into_iter()
            .collect();
    for stated in [None, Some("4")] {
        let trailers = trailers.clone();
        let expected = trailers.clone();
        let service = plain(store.clone(), move || {
            let body = Frames::of(&["text"]).then(Ok(Frame::trailers(trailers.clone())));
            let mut response = fresh(body);
            if let Some(length) = stated {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            response
        });
        for _ in 0..2 {
            let response = send(&service, common::get("/")).await;
            let body = response.into_body().collect().await.expect("a whole body");
            assert_eq!(body.trailers(), Some(&expected), "length: {stated:?}");
            assert_eq!(body.to_bytes(), "text");
        }
    }
}

async fn fields_of_a_rate_limit_are_not_stored(store: Store) {
    let app = numbered(FRESH)
        .layer(RateLimitLayer::new("api", Quota::per_hour(5), Header::new("x-api-key")))
        .layer(CacheLayer::new())
        .layer(StoreLayer::new(store));
    let keyed = || request("GET", "/", &[("x-api-key", "k")]);
    let first = see(&app, keyed()).await;
    assert_eq!(field(&first.headers, "ratelimit"), r#""api";r=4;t=720"#);
    let hit = see(&app, keyed()).await;
    assert_eq!(hit.cache(), (HIT, "1"));
    for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(!hit.headers.contains_key(name), "{name} is about another request");
    }
}

async fn a_pinned_store_is_used_instead_of_the_requests(store: Store) {
    let pinned = numbered(FRESH).layer(CacheLayer::new().with_store(store.clone()));
    assert_eq!(see_get(&pinned, "/").await.cache(), (STORED, "1"));
    let with_another = pinned.layer(StoreLayer::new(memory().await));
    assert_eq!(see_get(&with_another, "/").await.cache(), (HIT, "1"));
    assert_eq!(see_get(&cached(numbered(FRESH), store.clone()), "/").await.cache(), (HIT, "1"));
    // A handler's `Cache` is the one of the layer around it.
    let purging = tagged().layer(CacheLayer::new().with_store(store));
    let purging = purging.layer(StoreLayer::new(memory().await));
    see_get(&purging, "/?blue").await;
    assert_eq!(purge(&purging, "blue").await, "1");
}

/// A client that has the whole of a response finds it stored, even if it did not wait for the end
/// of the stream.
async fn the_last_byte_leaves_when_the_response_is_stored(store: Store) {
    let service = plain(store, || {
        let mut response = fresh(Frames::of(&["te", "xt"]));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("4"));
        response
    });
    let mut body = send(&service, common::get("/")).await.into_body();
    for part in ["te", "xt"] {
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), part);
    }
    assert_eq!(see_get(&service, "/").await.cache(), (HIT, "text"));
}

async fn a_real_connection_gets_hits(store: Store) {
    let long: &'static str = "0123456789".repeat(20_000).leak();
    let streamed = move || async move {
        let parts: Vec<_> = (0..20).map(|part| &long[part * 10_000..][..10_000]).collect();
        ([(CACHE_CONTROL, "max-age=60")], Body::new(Frames::of(&parts).map_err(axum::Error::new)))
    };
    let known_length = move || async move { ([(CACHE_CONTROL, "max-age=60")], long) };
    let empty = || async { ([(CACHE_CONTROL, "max-age=60")], "") };
    let app = Router::new()
        .route("/streamed", get(streamed))
        .route("/known-length", get(known_length))
        .route("/empty", get(empty));
    let app = cached(app, store);
    let served =
        Served::by(async |listener| axum::serve(listener, app).await.expect("serving")).await;
    let client = http_client();
    for path in ["/streamed", "/known-length", "/empty"] {
        let body = if path == "/empty" { "" } else { long };
        for (method, status, body) in [("GET", STORED, body), ("GET", HIT, body), ("HEAD", HIT, "")]
        {
            let request = request(method, &served.uri(path), &[]);
            let response = client.request(request).await.expect("a response");
            assert_eq!(field(response.headers(), "cache-status"), status, "{method} {path}");
            assert!(text(response).await == body, "{method} {path} has another body");
        }
    }
}

#[tokio::test]
async fn with_redis_away_every_request_reaches_its_handler() {
    let app = cached(numbered(FRESH), away().await);
    assert_eq!(see_get(&app, "/").await.cache(), (BYPASS, "1"));
    assert_eq!(see_get(&app, "/").await.cache(), (BYPASS, "2"));
    let changed = see(&app, request("POST", "/", &[])).await;
    assert_eq!((changed.status, &*changed.body), (200, "3"));
    assert_eq!(see(&app, request("HEAD", "/", &[])).await.status, 200);
}

#[tokio::test]
async fn with_redis_away_a_purge_is_an_error() {
    let store = away().await;
    let error = Cache::new(store.clone()).purge_tag("blue").await.expect_err("nobody to tell");
    assert!(error.is_unavailable(), "{error}");
    common::assert_unavailable(&send(&cached(tagged(), store), common::get("/purge?blue")).await);
}

#[tokio::test]
async fn a_missing_store_is_a_500_that_names_the_fix() {
    let app = numbered(FRESH).layer(CacheLayer::new());
    let response = send(&app, common::get("/")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reason::<MissingStore, _>(&response).to_string().contains("StoreLayer::new(store)"));
    let app = tagged();
    let response = send(&app, common::get("/purge?blue")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn an_authorization_field_of_any_scheme_is_personal() {
    let app = cached(numbered(FRESH), Store::memory());
    let mut request = common::get("/");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Own x"));
    assert_eq!(see(&app, request).await.cache(), (MISS, "1"));
}
