//! Whatever bytes a client sends, the layers answer: no panic, no 5xx, and none of the bytes in a
//! key.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use common::{Counter, behind_all_layers, memory, redis_under, send, unique};
use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use proptest::prelude::*;
use support::RedisServer;
use tower_redis_kit::Store;
use tower_redis_kit::cache::{Cache, CacheTags};
use tower_redis_kit::session::Session;
use tower_redis_kit::token::{InvalidToken, Subject, Token};

/// Every fingerprint that the kit makes is made of what the client sent.
fn app(store: Store) -> Router {
    behind_all_layers(Router::new().fallback(handle), store, verify)
}

/// Accepts whatever has an `a` in it.
fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    let token = token.contains('a').then_some(token).ok_or(InvalidToken)?;
    let expires_at = SystemTime::now() + Duration::from_secs(60);
    Ok((Token::new(token, expires_at).subject(token), ()))
}

async fn handle(
    store: Store,
    session: Session,
    cache: Cache,
    token: Option<Extension<Token>>,
    request: Request<Body>,
) -> Result<impl IntoResponse, Response> {
    let uri = request.uri().to_string();
    if request.method().is_safe() {
        session.get::<String>(&uri).await.map_err(IntoResponse::into_response)?;
    } else {
        session.insert(&uri, &uri).await.map_err(IntoResponse::into_response)?;
        cache.purge_tag(&uri).await.map_err(IntoResponse::into_response)?;
        store.revoke(Subject::new(&uri)).await.map_err(IntoResponse::into_response)?;
        if let Some(Extension(token)) = token {
            store.revoke(token).await.map_err(IntoResponse::into_response)?;
        }
    }
    let fresh = [(CACHE_CONTROL, "public, max-age=60"), (VARY, "accept")];
    Ok((fresh, CacheTags::new([&uri]), uri))
}

/// The one 5xx that a client can ask for (RFC 9111, 5.2.1.7).
fn wants_504(request: &Parts) -> bool {
    let values = request.headers.get_all(CACHE_CONTROL);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_lowercase();
    values.iter().any(|value| text(value).contains("only-if-cached"))
}

/// Sends a request and reads the answer to its end.
async fn is_answered(app: &Router, request: Request<Body>) -> Result<(), String> {
    let (head, body) = request.into_parts();
    let may_be_504 = wants_504(&head);
    let response = send(app, Request::from_parts(head.clone(), body)).await;
    let status = response.status();
    axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a whole body");
    let fine = !status.is_server_error() || may_be_504 && status == StatusCode::GATEWAY_TIMEOUT;
    fine.then_some(()).ok_or_else(|| format!("{status} for {head:?}"))
}

/// A request of these parts, if they make one.
fn assemble(method: &str, uri: &str, fields: &[(HeaderName, Vec<u8>)]) -> Option<Request<Body>> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(uri).ok()?;
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const FIELDS: [HeaderName; 8] = [
    COOKIE,
    AUTHORIZATION,
    API_KEY,
    HOST,
    CACHE_CONTROL,
    IF_NONE_MATCH,
    HeaderName::from_static("accept"),
    HeaderName::from_static("if-modified-since"),
];

/// Part of every hostile value below that can hold it.
const MARK: &str = "HOSTILE";

fn hostile_values() -> Vec<Vec<u8>> {
    let text = |value: &str| value.as_bytes().to_vec();
    let mut values: Vec<Vec<u8>> = [
        "",
        " ",
        ",",
        ";",
        "=",
        "\"",
        "\\",
        "*",
        "{}",
        "{HOSTILE}:limit:*",
        "kit:session:HOSTILE",
        "HOSTILE\\r\\nSET a b",
        "%00%0d%0a%zz%",
        "../../HOSTILE",
        "$(HOSTILE)",
        "' OR redis.call('FLUSHALL') --HOSTILE",
        "__Host-session",
        "__Host-session=",
        "__Host-session=HOSTILE",
        "__Host-session=;__Host-session=",
        ";;;=;=;__Host-session=\"",
        "Bearer",
        "Bearer ",
        "Bearer HOSTILEa",
        "Bearer {a}",
        "Bearer a..a",
        "bearer \t a",
        "Basic HOSTILE",
        "max-age=99999999999999999999999999",
        "max-age=-1, min-fresh=99999999999999999999",
        "max-age=\"",
        "only-if-cached, no-store, no-cache",
        "no-cache=\"HOSTILE",
        "W/\"HOSTILE\", \"",
        "W/W/\"",
        "Thu, 99 Foo 99999 99:99:99 GMT",
        "example.com:99999999",
        "[::1",
        "HOSTILE{}*?[a-z]",
    ]
    .map(text)
    .to_vec();
    values.extend([
        format!("__Host-session={}", "A".repeat(43)).into(),
        format!("__Host-session={}", "A".repeat(60_000)).into(),
        format!("Bearer {}", "a".repeat(60_000)).into(),
        "\"a\",".repeat(20_000).into(),
        "max-age=1,".repeat(10_000).into(),
        (0x80..=0xff).collect(),
        b"Bearer a\xffHOSTILE".to_vec(),
        b"__Host-session=\xff\xfe".to_vec(),
        "\u{1f980}HOSTILE\u{202e}".into(),
    ]);
    values
}

fn hostile_uris() -> Vec<String> {
    let mut uris: Vec<String> = [
        "/",
        "//",
        "/.",
        "/../../HOSTILE",
        "/{HOSTILE}",
        "/*",
        "/{}*[]",
        "/%00%0d%0aHOSTILE",
        "/%zz%",
        "/?",
        "/?{HOSTILE}=*&&&==",
        "/?%",
        "/;HOSTILE:limit:",
        "*",
        "http://HOSTILE.example/",
        "https://a:99999/?a",
        "http://[::1]:1/a",
        "http://user:HOSTILE@example.com/",
        "HOSTILE:80",
    ]
    .map(str::to_owned)
    .to_vec();
    uris.extend([
        format!("/{}", "HOSTILE".repeat(5_000)),
        format!("/?{}", "%ff".repeat(10_000)),
        format!("/{}", "../".repeat(10_000)),
        "/\u{fc}".to_owned(),
    ]);
    uris
}

async fn assert_hand_picked_requests_are_answered_on(store: Store) {
    let app = app(store);
    let sent = Counter::default();
    let check = async |method: &str, uri: &str, fields: &[(HeaderName, Vec<u8>)]| {
        if let Some(request) = assemble(method, uri, fields) {
            sent.add();
            is_answered(&app, request).await.expect("an answer");
        }
    };
    for method in ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "HOSTILE", "G*T"] {
        for uri in hostile_uris() {
            check(method, &uri, &[]).await;
        }
    }
    for value in hostile_values() {
        for name in FIELDS {
            for method in ["GET", "POST"] {
                check(method, "/HOSTILE", &[(name.clone(), value.clone())]).await;
                let twice = [(name.clone(), value.clone()), (name.clone(), value.clone())];
                check(method, "/HOSTILE", &twice).await;
            }
        }
        let everywhere: Vec<_> = FIELDS.into_iter().map(|name| (name, value.clone())).collect();
        check("GET", "/HOSTILE?HOSTILE", &everywhere).await;
    }
    assert!(sent.get() > 1_000, "only {} could be made", sent.get());
}

/// Any bytes that a header can hold.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), 0x20u8..0x7f, 0x80u8..=0xff];
    let telling = prop_oneof![
        Just(""),
        Just("__Host-session="),
        Just("Bearer "),
        Just("max-age="),
        Just("no-cache=\""),
        Just("W/\""),
    ];
    (telling, prop::collection::vec(byte, 0..80))
        .prop_map(|(telling, bytes)| [telling.as_bytes(), &bytes].concat())
}

fn any_request() -> impl Strategy<Value = Request<Body>> {
    let method = prop_oneof![
        3 => Just("GET".to_owned()),
        1 => Just("HEAD".to_owned()),
        2 => Just("POST".to_owned()),
        1 => "[!#-'*+.0-9A-Za-z^_`|~-]{1,12}",
    ];
    // What the crate `http` takes for a URI, and a little more.
    let uri = prop_oneof![
        4 => "/[!$-;=?-~]{0,40}",
        1 => "/[a-z]{0,3}\\?[!$-;=?-~]{0,40}",
        1 => "https?://[a-z0-9.-]{1,10}(:[0-9]{1,5})?/[!-~]{0,10}",
        1 => Just("*".to_owned()),
    ];
    let field = (prop::sample::select(FIELDS.to_vec()), any_value());
    (method, uri, prop::collection::vec(field, 0..5))
        .prop_filter_map("no request", |(method, uri, fields)| assemble(&method, &uri, &fields))
}

fn assert_any_request_is_answered_on(store: impl Future<Output = Store>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let app = app(runtime.block_on(store));
    // Each twice: the second may be a hit.
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }, |(requests in prop::collection::vec(any_request(), 1..4))| {
        for request in requests {
            let (head, _) = request.into_parts();
            for _ in 0..2 {
                let request = Request::from_parts(head.clone(), Body::empty());
                let answered = runtime.block_on(is_answered(&app, request));
                prop_assert_eq!(answered, Ok(()));
            }
        }
    });
}

/// Whether a key is spelled as the kit spells keys: `PREFIX:NOUN…`, of characters that mean nothing
/// to Redis but for one pair of braces around letters, which choose a cluster's slot.
fn is_plain(prefix: &str, key: &str) -> bool {
    const NOUNS: [&str; 8] =
        ["limit", "session", "revoked", "response", "tagged", "dropping", "purged", "probe"];
    let Some(rest) = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':')) else {
        return false;
    };
    let (noun, rest) = rest.split_once(':').unwrap_or((rest, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let braced = |rest: &str| {
        let (tag, rest) = rest.strip_prefix('{')?.split_once('}')?;
        (!tag.is_empty()).then(|| format!("{tag}{rest}"))
    };
    let rest = braced(rest).unwrap_or_else(|| rest.to_owned());
    NOUNS.contains(&noun) && rest.bytes().all(plain) && key.len() < 100
}

/// The keys under a prefix, which are all plain, and by whose nouns every layer has written some.
fn assert_plain_keys(prefix: &str) {
    let keys = RedisServer::shared().keys();
    let own: Vec<_> = keys.iter().filter(|key| key.starts_with(&format!("{prefix}:"))).collect();
    let mut nouns = BTreeSet::new();
    for key in own {
        assert!(is_plain(prefix, key) && !key.contains(MARK), "{key}");
        nouns.extend(key.split(':').nth(1));
    }
    for noun in ["limit", "session", "revoked", "response", "tagged", "purged"] {
        assert!(nouns.contains(noun), "{noun} is not among {nouns:?}");
    }
}

#[test]
fn any_request_is_answered_in_process() {
    assert_any_request_is_answered_on(memory());
}

#[test]
fn any_request_is_answered_on_redis_and_no_key_holds_its_bytes() {
    let prefix = unique("any");
    assert_any_request_is_answered_on(redis_under(&prefix));
    assert_plain_keys(&prefix);
}

#[tokio::test]
async fn hand_picked_requests_are_answered_in_process() {
    assert_hand_picked_requests_are_answered_on(memory().await).await;
}

#[tokio::test]
async fn hand_picked_requests_are_answered_on_redis_and_no_key_holds_their_bytes() {
    let prefix = unique("picked");
    assert_hand_picked_requests_are_answered_on(redis_under(&prefix).await).await;
    assert_plain_keys(&prefix);
}
