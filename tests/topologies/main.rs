//! Every topology, on real servers: what connecting says, that all layers and tools work, what
//! faults cost, and that no password, name or payload is ever shown.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]

#[path = "../common/mod.rs"]
mod common;

#[path = "../faults/columns.rs"]
#[allow(dead_code, reason = "what the page of faults says of them is not needed here")]
mod columns;
#[path = "../faults/permits.rs"]
mod permits;
#[path = "../faults/report.rs"]
#[allow(dead_code, reason = "here each fault is one test, and not one for each column")]
mod report;
#[path = "../faults/stands.rs"]
mod stands;

mod cluster;
mod connect;
mod credentials;
mod environment;
mod everywhere;
mod policies;
mod purge;
mod sentinel;
mod servers;
mod shown;
mod slots;
mod tls;

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use common::{field, fields, request, send, text};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Response, StatusCode};
use tower_redis_kit::cache::{CacheLayer, CacheTags};
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};

/// How soon service is whole again after the servers are.
const RECOVERY: Duration = Duration::from_secs(3);

/// What a call takes at most, at the median, once it is known that its node is away.
const AT_ONCE: Duration = Duration::from_millis(1);

const MINUTE: Duration = Duration::from_secs(60);

/// Some of what must not be shown: see `shown`.
const PAYLOAD: &str = "xyzzy-payload";

/// A route behind each layer. `limit` is how many requests a name has in an hour.
fn app(store: &Store, limit: u32) -> Router {
    let limit = RateLimitLayer::new("api", Quota::per_hour(limit), Header::new("x-api-key"));
    let count = async |session: Session| {
        let visits = session.get::<u32>("visits").await?.unwrap_or(0) + 1;
        session.insert("visits", visits).await?;
        session.insert("text", PAYLOAD).await?;
        Ok::<_, SessionError>(visits.to_string())
    };
    let rotate = async |session: Session| session.rotate().await;
    let fresh = async || {
        let tags = CacheTags::new(["articles"]);
        (tags, [(CACHE_CONTROL, "public, max-age=60")], PAYLOAD)
    };
    Router::new()
        .route("/limited", get(async || {}).layer(limit))
        .route("/session", get(count).layer(SessionLayer::new()))
        .route("/rotate", get(rotate).layer(SessionLayer::new()))
        .route("/token", get(async || {}).layer(RevocationLayer::new(verify)))
        .route("/cached/{n}", get(fresh).layer(CacheLayer::new()))
        .layer(StoreLayer::new(store.clone()))
}

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    Ok((token_of(token), ()))
}

fn token_of(token: &str) -> Token {
    Token::new(token, SystemTime::now() + MINUTE).subject("xyzzy-subject")
}

async fn limited(app: &Router, name: &str) -> Response<Body> {
    send(app, request("GET", "/limited", &[("x-api-key", name)])).await
}

async fn with_token(app: &Router, token: &str) -> Response<Body> {
    let bearer = format!("Bearer {token}");
    send(app, request("GET", "/token", &[("authorization", &bearer)])).await
}

async fn with_cookie(app: &Router, path: &str, cookie: &str) -> Response<Body> {
    let fields: &[_] = if cookie.is_empty() { &[] } else { &[("cookie", cookie)] };
    send(app, request("GET", path, fields)).await
}

/// The cookie to send with the next request.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let set = fields(headers, "set-cookie");
    Some(set.first()?.split(';').next()?.to_owned())
}

fn is_hit(response: &Response<Body>) -> bool {
    field(response.headers(), "cache-status").contains("hit")
}

/// Whether a response was stored; it is from now on.
async fn is_found(app: &Router, path: &str) -> bool {
    let response = send(app, common::get(path)).await;
    let hit = is_hit(&response);
    assert_eq!(text(response).await, PAYLOAD);
    hit
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

/// Has every layer do what it does.
async fn assert_layers_work(app: &Router) {
    let name = common::unique("xyzzy-name");
    for expected in [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(limited(app, &name).await.status(), expected);
    }

    let mut jar = String::new();
    for visit in 1..=3 {
        let response = with_cookie(app, "/session", &jar).await;
        let error = response.extensions().get::<tower_redis_kit::StoreError>();
        assert_eq!(response.status(), StatusCode::OK, "{response:?} {error:?}");
        jar = cookie(response.headers()).unwrap_or(jar);
        assert_eq!(text(response).await, visit.to_string());
    }
    let response = with_cookie(app, "/rotate", &jar).await;
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    let rotated = cookie(response.headers()).expect("another cookie");
    assert_ne!(rotated, jar);
    assert_eq!(text(with_cookie(app, "/session", &rotated).await).await, "4");

    let path = format!("/cached/{}", common::unique("n"));
    assert!(!is_found(app, &path).await);
    // From a replica it comes a little later.
    common::eventually("a hit", async || is_found(app, &path).await).await;
}

/// Has every tool do what it does, and revokes a token and purges a tag on the way.
async fn assert_tools_work(app: &Router, store: &Store) {
    let token = common::unique("xyzzy-token");
    assert_eq!(with_token(app, &token).await.status(), StatusCode::OK);
    store.revoke(token_of(&token)).await.expect("revoked");
    assert_eq!(with_token(app, &token).await.status(), StatusCode::UNAUTHORIZED);

    let path = format!("/cached/{}", common::unique("n"));
    common::eventually("a hit", async || is_found(app, &path).await).await;
    let cache = tower_redis_kit::cache::Cache::new(store.clone());
    assert!(cache.purge_tag("articles").await.expect("purged") >= 1);
    // A replica hears of it a little later.
    common::eventually("a miss", async || !is_found(app, &path).await).await;

    let (a, b) = (common::unique("xyzzy-key"), common::unique("xyzzy-key"));
    let values = store.values("tools");
    values.set(&a, PAYLOAD, MINUTE).await.expect("kept");
    assert_eq!(values.get(&a).await, Ok(Some(PAYLOAD.to_owned())));
    assert!(!values.set_if_absent(&a, "other", MINUTE).await.expect("an answer"));
    assert!(values.expire(&a, 2 * MINUTE).await.expect("an answer"));
    assert!(values.time_to_live(&a).await.expect("an answer").is_some_and(|left| left > MINUTE));
    assert_eq!(values.get_many(&[&a, &b]).await, Ok(vec![Some(PAYLOAD.to_owned()), None]));
    assert_eq!(values.take(&a).await, Ok(Some(PAYLOAD.to_owned())));
    for number in 1..=3 {
        assert_eq!(values.increment(&b, 1, MINUTE).await, Ok(number));
    }
    let group = values.grouped(&a);
    group.set_many([("x", 1), ("y", 2)], MINUTE).await.expect("kept");
    assert_eq!(group.get_many(&["y", "x"]).await, Ok(vec![Some(2), Some(1)]));
    let computed = values.get_or_compute(&a, MINUTE, async || Ok::<_, std::io::Error>(7));
    assert_eq!(computed.await.expect("computed"), 7);

    let lock = store.lock(&a);
    let lease = lock.try_acquire().await.expect("an answer").expect("it is free");
    assert!(lock.try_acquire().await.expect("an answer").is_none());
    assert_eq!(lease.release().await, Ok(true));

    let info = store.info().await.expect("an answer");
    assert!(!info.is_withheld);
    let pong: String = store.raw(tower_redis_kit::redis::cmd("PING")).await.expect("an answer");
    assert_eq!(pong, "PONG");
}

async fn assert_everything_works(store: &Store) {
    let app = app(store, 2);
    assert_layers_work(&app).await;
    assert_tools_work(&app, store).await;
    shown::assert_nothing_secret(&format!("{store:?} {store:#?} {:?}", store.health()));
}
