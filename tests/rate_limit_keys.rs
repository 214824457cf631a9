//! Who a rate limit counts, as clients, proxies and handlers meet it.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::{self, get};
use common::{Served, assert_unavailable, away, field, fields, on_every_store, reason, send, text};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use proptest::prelude::*;
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{
    Addresses, ByMethod, ClientIp, Header, Key, KeyError, KeyExtractor, KeyFuture, Limit,
    MatchedRoute, MissingPeer, PeerAddr, PeerIp, Quota, RateLimitLayer, RequestMatcher,
};
use tower_redis_kit::session::{Fallback, Session, SessionError, SessionField, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token, TokenSubject};
use tower_redis_kit::{Store, StoreLayer};

on_every_store! {
    a_forged_leftmost_address_changes_nothing,
    a_client_past_the_proxies_speaks_for_itself_alone,
    hops_say_which_address_counts,
    an_unreadable_hop_shares_the_proxys_quota,
    forwarded_is_read_where_it_was_chosen,
    ipv6_rotation_inside_a_64_shares_a_quota,
    the_ipv6_prefix_is_a_setting,
    a_mapped_address_is_its_ipv4_address,
    a_client_behind_a_real_proxy_is_counted_by_its_own_address,
    two_sessions_of_one_user_share_a_quota,
    a_log_in_changes_the_key,
    a_limit_alone_makes_no_response_personal,
    tokens_of_one_subject_share_a_quota,
    a_route_is_one_for_all_that_it_matches,
    methods_have_quotas_of_their_own,
    tuples_count_each_combination,
    or_counts_users_by_account_and_others_by_address,
    what_is_waited_for_is_asked_for_once,
    code_names_the_key_that_a_request_has,
}

const LIMITED: u16 = 429;

fn limit(key: impl KeyExtractor) -> RateLimitLayer {
    RateLimitLayer::new("keys", Quota::per_hour(1), key)
}

/// Everything is answered, once an hour for each key.
fn app(key: impl KeyExtractor, store: Store) -> Router {
    Router::new().fallback(|| async {}).layer(limit(key)).layer(StoreLayer::new(store))
}

fn from_peer(peer: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = common::request("GET", "/", fields);
    let peer = SocketAddr::new(peer.parse().expect("an address"), 4711);
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

/// By way of a proxy at 10.0.0.1.
fn proxied(forwarded_for: &str) -> Request<Body> {
    from_peer("10.0.0.1", &[("x-forwarded-for", forwarded_for)])
}

async fn status(app: &Router, request: Request<Body>) -> u16 {
    send(app, request).await.status().as_u16()
}

async fn a_forged_leftmost_address_changes_nothing(store: Store) {
    let app = app(ClientIp::behind(["10.0.0.0/8", "192.0.2.7"]), store);
    assert_eq!(status(&app, proxied("203.0.113.9")).await, 200);
    for forged in ["6.6.6.1, ", "6.6.6.2, 10.0.0.9, ", "for=\"6.6.6.3, ", "garbage, ,, "] {
        for by in ["203.0.113.9", "203.0.113.9, 192.0.2.7", "203.0.113.9:80, 10.0.0.2"] {
            assert_eq!(status(&app, proxied(&format!("{forged}{by}"))).await, LIMITED);
        }
    }
    // In a line of its own.
    let lines = [("x-forwarded-for", "6.6.6.4"), ("x-forwarded-for", "203.0.113.9")];
    assert_eq!(status(&app, from_peer("10.0.0.1", &lines)).await, LIMITED);
    assert_eq!(status(&app, proxied("203.0.113.9, 203.0.113.10")).await, 200);
}

async fn a_client_past_the_proxies_speaks_for_itself_alone(store: Store) {
    let app = app(ClientIp::behind(["10.0.0.0/8"]), store);
    let past = |forged| from_peer("203.0.113.9", &[("x-forwarded-for", forged)]);
    assert_eq!(status(&app, past("6.6.6.1")).await, 200);
    assert_eq!(status(&app, past("6.6.6.2, 10.0.0.1")).await, LIMITED);
}

async fn hops_say_which_address_counts(store: Store) {
    let app = app(ClientIp::hops(2), store);
    assert_eq!(status(&app, proxied("203.0.113.9, 10.0.0.2")).await, 200);
    assert_eq!(status(&app, proxied("6.6.6.6, 203.0.113.9, 10.0.0.3")).await, LIMITED);
    // Fewer than there should be: the furthest there is, and then the peer.
    assert_eq!(status(&app, proxied("203.0.113.9")).await, LIMITED);
    assert_eq!(status(&app, from_peer("203.0.113.9", &[])).await, LIMITED);
    assert_eq!(status(&app, from_peer("10.0.0.1", &[])).await, 200);
}

async fn an_unreadable_hop_shares_the_proxys_quota(store: Store) {
    let app = app(ClientIp::behind(["10.0.0.0/8"]), store);
    assert_eq!(status(&app, proxied("6.6.6.1, unknown")).await, 200);
    assert_eq!(status(&app, proxied("6.6.6.2, _hidden")).await, LIMITED);
    assert_eq!(status(&app, from_peer("10.0.0.1", &[])).await, LIMITED);
    assert_eq!(status(&app, proxied("6.6.6.2, unknown, 10.0.0.2")).await, 200);
}

async fn forwarded_is_read_where_it_was_chosen(store: Store) {
    let app = app(ClientIp::behind(["10.0.0.0/8"]).forwarded(), store);
    let forwarded =
        |value, other| from_peer("10.0.0.1", &[("forwarded", value), ("x-forwarded-for", other)]);
    let first = r#"for="[2001:db8::1]:4711";proto=https"#;
    assert_eq!(status(&app, forwarded(first, "6.6.6.1")).await, 200);
    let forged = r#"for=6.6.6.2, for="6.6.6.3, FOR="[2001:db8::2]";by="10.0.0.9", for=10.0.0.2"#;
    assert_eq!(status(&app, forwarded(forged, "6.6.6.4")).await, LIMITED);
}

async fn ipv6_rotation_inside_a_64_shares_a_quota(store: Store) {
    let app = app(ClientIp::behind(["10.0.0.0/8"]), store);
    assert_eq!(status(&app, proxied("2001:db8::1")).await, 200);
    for rotated in ["2001:db8::2", "[2001:db8:0:0:ffff::1]:80", "2001:db8::ffff:ffff:ffff:ffff"] {
        assert_eq!(status(&app, proxied(rotated)).await, LIMITED);
    }
    assert_eq!(status(&app, proxied("2001:db8:0:1::1")).await, 200);
}

async fn the_ipv6_prefix_is_a_setting(store: Store) {
    let site = app(ClientIp::hops(1).ipv6_prefix(48), store.clone());
    assert_eq!(status(&site, proxied("2001:db8:1:1::1")).await, 200);
    assert_eq!(status(&site, proxied("2001:db8:1:2::1")).await, LIMITED);
    let each = app(PeerIp.ipv6_prefix(128), store);
    assert_eq!(status(&each, from_peer("2001:db8:2::1", &[])).await, 200);
    assert_eq!(status(&each, from_peer("2001:db8:2::2", &[])).await, 200);
    assert_eq!(status(&each, from_peer("2001:db8:2::1", &[])).await, LIMITED);
}

async fn a_mapped_address_is_its_ipv4_address(store: Store) {
    let app = app(ClientIp::behind(["10.0.0.0/8"]), store);
    let from_mapped_proxy =
        |forwarded_for| from_peer("::ffff:10.0.0.1", &[("x-forwarded-for", forwarded_for)]);
    assert_eq!(status(&app, from_mapped_proxy("::ffff:203.0.113.9")).await, 200);
    assert_eq!(status(&app, proxied("[::ffff:203.0.113.9]:80")).await, LIMITED);
    assert_eq!(status(&app, from_peer("203.0.113.9", &[])).await, LIMITED);
}

/// Serves with the peers' addresses, as axum does by `into_make_service_with_connect_info`.
async fn served(app: Router) -> Served {
    Served::by(async move |listener| {
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.expect("serving");
    })
    .await
}

async fn a_client_behind_a_real_proxy_is_counted_by_its_own_address(store: Store) {
    let behind = served(app(ClientIp::behind(["127.0.0.0/8"]), store.clone())).await;
    let direct = served(app(ClientIp::behind(["192.0.2.7"]), store)).await;
    let ask = async |server: &Served, forwarded_for: &str| {
        let fields = [("x-forwarded-for", forwarded_for)];
        let request = common::request("GET", &server.uri("/"), &fields);
        common::http_client().request(request).await.expect("a response").status().as_u16()
    };
    assert_eq!(ask(&behind, "6.6.6.1, 203.0.113.9").await, 200);
    assert_eq!(ask(&behind, "6.6.6.2, 203.0.113.9").await, LIMITED);
    assert_eq!(ask(&behind, "203.0.113.10").await, 200);
    assert_eq!(ask(&direct, "203.0.113.11").await, 200);
    assert_eq!(ask(&direct, "203.0.113.12").await, LIMITED);
}

#[tokio::test]
async fn without_connect_info_the_answer_is_a_500_that_names_the_fix() {
    let app = app(ClientIp::behind(["127.0.0.0/8"]), Store::memory());
    let response = send(&app, common::request("GET", "/", &[("x-forwarded-for", "6.6.6.6")])).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let missing: MissingPeer = reason(&response);
    assert!(missing.to_string().contains("into_make_service_with_connect_info"));
    let error: KeyError = reason(&response);
    assert_eq!(error, KeyError::MissingPeer(missing));
    assert_eq!(error.to_string(), missing.to_string());

    let server = Served::by(async |listener| {
        axum::serve(listener, app).await.expect("serving");
    })
    .await;
    let response = common::http_client().request(common::get(&server.uri("/"))).await;
    assert_eq!(response.expect("a response").status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_handler_asks_for_the_clients_address() {
    let handler = async |request: Request<Body>| {
        let (head, _) = request.into_parts();
        let address = ClientIp::hops(1).address(&head)?;
        Ok::<_, KeyError>(address.to_string())
    };
    let app: Router = Router::new().fallback(handler);
    let response: Response = send(&app, proxied("6.6.6.6, 203.0.113.9")).await;
    assert_eq!(text(response).await, "203.0.113.9");
    assert_eq!(status(&app, common::get("/")).await, 500);
}

#[derive(serde::Deserialize)]
struct LogIn {
    user: String,
}

async fn log_in(session: Session, Query(form): Query<LogIn>) -> Result<(), SessionError> {
    session.insert("user", form.user).await
}

/// `/log-in?user=…` is outside of the limit; everything else is inside.
fn with_sessions(key: impl KeyExtractor, store: Store) -> Router {
    let inner = Router::new().route("/", get(|| async {})).route(
        "/me",
        get(async |session: Session| session.get::<String>("user").await.map(|_| ())),
    );
    inner
        .layer(limit(key))
        .route("/log-in", get(log_in))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store))
}

/// The cookie of a new session of this user.
async fn cookie_of(app: &Router, user: &str) -> String {
    let response = send(app, common::get(&format!("/log-in?user={user}"))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = field(response.headers(), "set-cookie");
    cookie.split(';').next().expect("the first part").to_owned()
}

fn with_cookie(uri: &str, cookie: &str) -> Request<Body> {
    common::request("GET", uri, &[("cookie", cookie)])
}

async fn two_sessions_of_one_user_share_a_quota(store: Store) {
    let app = with_sessions(SessionField::new("user"), store);
    let (phone, laptop) = (cookie_of(&app, "ada").await, cookie_of(&app, "ada").await);
    let other = cookie_of(&app, "grace").await;
    assert_ne!(phone, laptop);
    assert_eq!(status(&app, with_cookie("/", &phone)).await, 200);
    assert_eq!(status(&app, with_cookie("/", &laptop)).await, LIMITED);
    assert_eq!(status(&app, with_cookie("/", &phone)).await, LIMITED);
    assert_eq!(status(&app, with_cookie("/", &other)).await, 200);
}

async fn a_log_in_changes_the_key(store: Store) {
    let app = with_sessions(SessionField::new("user").or(Header::new("x-address")), store);
    let anonymous = || common::request("GET", "/", &[("x-address", "there")]);
    assert_eq!(status(&app, anonymous()).await, 200);
    assert_eq!(status(&app, anonymous()).await, LIMITED);
    let cookie = cookie_of(&app, "ada").await;
    assert_eq!(status(&app, with_cookie("/", &cookie)).await, 200);
    assert_eq!(status(&app, with_cookie("/", &cookie)).await, LIMITED);
    // Somebody else logs in at the same browser.
    let again = with_cookie("/log-in?user=grace", &cookie);
    assert_eq!(status(&app, again).await, 200);
    assert_eq!(status(&app, with_cookie("/", &cookie)).await, 200);
}

async fn a_limit_alone_makes_no_response_personal(store: Store) {
    let app = with_sessions((SessionField::new("user"), ByMethod, MatchedRoute), store);
    let cookie = cookie_of(&app, "ada").await;
    let response = send(&app, with_cookie("/", &cookie)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(fields(response.headers(), "vary").is_empty());
    assert!(!response.headers().contains_key("set-cookie"));
    let response = send(&app, with_cookie("/me", &cookie)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(fields(response.headers(), "vary"), ["Cookie"]);
}

#[tokio::test]
async fn who_has_no_session_or_no_such_field_has_no_key() {
    let app = with_sessions(SessionField::new("tenant"), Store::memory());
    let cookie = cookie_of(&app, "ada").await;
    for _ in 0..2 {
        assert_eq!(status(&app, common::get("/")).await, 200);
        assert_eq!(status(&app, with_cookie("/", &cookie)).await, 200);
        assert_eq!(status(&app, with_cookie("/", "__Host-session=nonsense")).await, 200);
    }
}

#[tokio::test]
async fn without_a_session_layer_the_answer_is_a_500_that_names_the_fix() {
    let app = Router::new()
        .fallback(|| async {})
        .layer(limit(SessionField::new("user")))
        .layer(StoreLayer::new(Store::memory()));
    let response: Response = send(&app, common::get("/")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let error: KeyError = reason(&response);
    assert!(error.to_string().contains("SessionLayer::new()"), "{error}");
    // Whoever does not wait is told, and does not take it for a request that has no key.
    let head = Request::new(()).into_parts().0;
    assert!(SessionField::new("user").key(&head).is_err());
}

#[tokio::test]
async fn with_redis_away_a_sessions_key_is_a_503_unless_sessions_go_on_without() {
    let signed_in = format!("__Host-session={}", "A".repeat(43));
    for (fallback, refuses) in [(Fallback::Refuse, true), (Fallback::Anonymous, false)] {
        let app = Router::new()
            .fallback(|| async {})
            .layer(limit(SessionField::new("user")))
            .layer(SessionLayer::new().fallback(fallback))
            .layer(StoreLayer::new(away().await));
        let response: Response = send(&app, with_cookie("/", &signed_in)).await;
        if refuses {
            assert_unavailable(&response);
            assert!(matches!(reason(&response), KeyError::Unavailable(_)));
        } else {
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_page_for_everybody_stays_one_when_a_limit_counts_by_session() {
    let page = async || ([("cache-control", "max-age=60")], "for everybody");
    let inner = Router::new().route("/", get(page)).layer(CacheLayer::new());
    let app = inner
        .layer(limit(SessionField::new("tenant")))
        .route("/log-in", get(log_in))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(Store::memory()));
    let cookie = cookie_of(&app, "ada").await;
    let mut last = String::new();
    for _ in 0..2 {
        let response: Response = send(&app, with_cookie("/", &cookie)).await;
        assert_eq!(response.status(), StatusCode::OK);
        last = field(response.headers(), "cache-status").to_owned();
        assert_eq!(text(response).await, "for everybody");
    }
    assert!(last.contains("hit"), "{last}");
}

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    let expires_at = SystemTime::now() + Duration::from_secs(60);
    let (subject, id) = token.split_once('.').ok_or(InvalidToken)?;
    let token = Token::new(id, expires_at);
    Ok((if subject == "nobody" { token } else { token.subject(subject) }, ()))
}

fn bearer(token: &str) -> Request<Body> {
    common::request("GET", "/", &[("authorization", &format!("Bearer {token}"))])
}

async fn tokens_of_one_subject_share_a_quota(store: Store) {
    let app = Router::new()
        .fallback(|| async {})
        .layer(limit(TokenSubject))
        .layer(RevocationLayer::new(verify).optional())
        .layer(StoreLayer::new(store));
    assert_eq!(status(&app, bearer("ada.1")).await, 200);
    assert_eq!(status(&app, bearer("ada.2")).await, LIMITED);
    assert_eq!(status(&app, bearer("grace.3")).await, 200);
    for _ in 0..2 {
        assert_eq!(status(&app, bearer("nobody.4")).await, 200, "no subject, no key");
        assert_eq!(status(&app, common::get("/")).await, 200, "no token, no key");
    }
}

async fn a_route_is_one_for_all_that_it_matches(store: Store) {
    let users = Router::new().route("/{id}", routing::any(|| async {}));
    let app = Router::new()
        .nest("/users", users)
        .route("/", get(|| async {}))
        .fallback(|| async {})
        .layer(limit(MatchedRoute))
        .layer(StoreLayer::new(store));
    assert_eq!(status(&app, common::get("/users/1")).await, 200);
    assert_eq!(status(&app, common::get("/users/2?a")).await, LIMITED);
    assert_eq!(status(&app, common::get("/")).await, 200);
    for _ in 0..2 {
        assert_eq!(status(&app, common::get("/elsewhere")).await, 200, "no route, no key");
    }
}

async fn methods_have_quotas_of_their_own(store: Store) {
    let app = app(ByMethod, store);
    let by = |method| common::request(method, "/", &[]);
    assert_eq!(status(&app, by("GET")).await, 200);
    assert_eq!(status(&app, by("HEAD")).await, LIMITED, "a GET without its body");
    assert_eq!(status(&app, by("POST")).await, 200);
    assert_eq!(status(&app, by("MADE")).await, 200);
    assert_eq!(status(&app, by("UP")).await, LIMITED, "one for all that are made up");
}

async fn tuples_count_each_combination(store: Store) {
    let app = app((Header::new("a"), Header::new("b"), ByMethod), store);
    let both = |method, a, b| common::request(method, "/", &[("a", a), ("b", b)]);
    assert_eq!(status(&app, both("GET", "x", "yz")).await, 200);
    assert_eq!(status(&app, both("GET", "x", "yz")).await, LIMITED);
    for (method, a, b) in [
        ("GET", "xy", "z"),
        ("GET", "yz", "x"),
        ("GET", "", "xyz"),
        ("GET", "x", "x"),
        ("POST", "x", "yz"),
    ] {
        assert_eq!(status(&app, both(method, a, b)).await, 200, "{method} {a} {b}");
    }
    for _ in 0..2 {
        let request = common::request("GET", "/", &[("a", "x")]);
        assert_eq!(status(&app, request).await, 200, "a part without a key");
    }
}

async fn or_counts_users_by_account_and_others_by_address(store: Store) {
    let app = app(Header::new("x-account").or(PeerIp), store);
    let account = |peer, account| from_peer(peer, &[("x-account", account)]);
    assert_eq!(status(&app, account("192.0.2.1", "ada")).await, 200);
    assert_eq!(status(&app, account("192.0.2.2", "ada")).await, LIMITED);
    assert_eq!(status(&app, from_peer("192.0.2.1", &[])).await, 200);
    assert_eq!(status(&app, from_peer("192.0.2.1", &[])).await, LIMITED);
}

/// A key that takes a moment, and how often it was asked for.
struct Later(&'static str, Arc<AtomicUsize>);

impl KeyExtractor for Later {
    fn key(&self, _: &Parts) -> Result<Option<Key>, KeyError> {
        panic!("it has to be waited for")
    }

    fn later(&self, _: &Parts) -> Option<KeyFuture> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let key = Key::named(self.0);
        Some(Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(Some(key))
        }))
    }
}

async fn what_is_waited_for_is_asked_for_once(store: Store) {
    let asked = [Arc::default(), Arc::default()];
    let everybody = |_: &Parts| Some(Key::named("everybody"));
    let [first, second] = asked.each_ref().map(Arc::clone);
    let limits = [
        Limit::new("a", Quota::per_hour(9), everybody),
        Limit::new("b", Quota::per_hour(5), Later("ada", first)),
        Limit::new("c", Quota::per_hour(7), everybody),
        Limit::new("d", Quota::per_hour(3), Later("bob", second)),
    ];
    let app = Router::new().fallback(|| async {}).layer(RateLimitLayer::all(limits));
    let response = send(&app.layer(StoreLayer::new(store.clone())), common::get("/")).await;
    let remaining = fields(response.headers(), "ratelimit");
    for (told, limit) in remaining.iter().zip(["\"a\";r=8", "\"b\";r=4", "\"c\";r=6", "\"d\";r=2"])
    {
        assert!(told.starts_with(limit), "{told} for {limit}");
    }
    assert_eq!(remaining.len(), 4);
    assert_eq!(asked.map(|asked| asked.load(Ordering::Relaxed)), [1, 1]);
    let left = store.limiter("d", Quota::per_hour(3)).peek("bob").await.unwrap();
    assert_eq!(left.remaining(), 2);
}

async fn code_names_the_key_that_a_request_has(store: Store) {
    let app = app(|head: &Parts| head.extensions.get::<Key>().copied(), store);
    let keyed = |key: Key| {
        let mut request = common::get("/");
        request.extensions_mut().insert(key);
        request
    };
    let head = |request: Request<Body>| request.into_parts().0;
    let client = head(from_peer("2001:db8:7::1", &[("x-api-key", "k")]));
    let pairs = [
        (PeerIp.key(&client), Key::address("2001:db8:7::2".parse().expect("an address"))),
        (
            PeerIp.ipv6_prefix(32).key(&client),
            Key::network("2001:db8:1::".parse().expect("an address"), 32),
        ),
        (Header::new("x-api-key").key(&client), Key::named("k")),
        (ByMethod.key(&client), Key::method(&Method::GET)),
        (
            (ByMethod, Header::new("x-api-key")).key(&client),
            Key::all([Key::method(&Method::GET), Key::named("k")]),
        ),
    ];
    for (asked, named) in pairs {
        let asked = asked.expect("no error").expect("a key");
        assert_eq!(asked, named);
        assert_eq!(status(&app, keyed(asked)).await, 200);
        assert_eq!(status(&app, keyed(named)).await, LIMITED);
    }
}

#[tokio::test]
async fn lists_tell_callers_apart() {
    let office: Addresses = "203.0.113.0/24 2001:db8::/32".parse().expect("a list");
    let office = ClientIp::behind(["10.0.0.0/8"]).is_in(office);
    let matches = |request: Request<Body>| office.matches(&request.into_parts().0);
    assert!(matches(proxied("6.6.6.6, 203.0.113.9")));
    assert!(matches(from_peer("2001:db8:ffff::1", &[])));
    assert!(!matches(proxied("203.0.113.9, 6.6.6.6")), "forged");
    assert!(!matches(common::get("/")), "nobody");
    assert!(PeerIp.is_in(["10.0.0.1"]).matches(&proxied("6.6.6.6").into_parts().0));
}

const FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("authorization"),
];

fn any_request() -> impl Strategy<Value = Request<Body>> {
    let word = prop::sample::select(vec![
        "for=",
        "1.2.3.4",
        "10.0.0.1",
        "[::1]:80",
        "::ffff:10.0.0.1",
        "\"",
        "\\",
        ",",
        ";",
        " ",
        "=",
    ]);
    let value = prop_oneof![
        prop::collection::vec(word, 0..200).prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..80),
    ];
    let fields = prop::collection::vec((prop::sample::select(FIELDS.to_vec()), value), 0..6);
    ("[A-Z]{1,9}", fields, any::<std::net::IpAddr>(), any::<bool>()).prop_map(
        |(method, fields, peer, is_proxy)| {
            let peer = if is_proxy { "10.0.0.1".to_owned() } else { peer.to_string() };
            let mut request = from_peer(&peer, &[]);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
            for (name, value) in fields {
                let value = HeaderValue::from_bytes(&value).expect("a value");
                request.headers_mut().append(name, value);
            }
            request
        },
    )
}

#[test]
fn whatever_bytes_are_sent_there_is_an_answer_and_no_5xx() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let proxies = || ClientIp::behind(["10.0.0.0/8"]);
    let many = |name, key| RateLimitLayer::new(name, Quota::per_day(1_000_000), key);
    let by_all = (proxies().forwarded(), Header::new("x-api-key"), MatchedRoute);
    let inner = Router::new()
        .route("/", routing::any(|| async {}))
        .layer(many("one", proxies()))
        .layer(RateLimitLayer::new("two", Quota::per_day(1_000_000), by_all))
        .layer(RateLimitLayer::new("three", Quota::per_day(1_000_000), (ByMethod, TokenSubject)))
        .layer(RateLimitLayer::new("four", Quota::per_day(1_000_000), ClientIp::hops(32)));
    let app = inner
        .layer(RevocationLayer::new(verify).optional())
        .layer(StoreLayer::new(Store::memory()));
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }, |(request in any_request())| {
        let status = runtime.block_on(send::<_, axum::body::Body>(&app, request)).status();
        prop_assert!(!status.is_server_error(), "{}", status);
    });
}
