//! Whole requests through all four layers, on a store in process: the method, the URI and each field
//! on a line of its own. Each is sent twice, as the second may be answered by the cache.

#![no_main]

use std::cell::LazyCell;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use http::header::{CACHE_CONTROL, VARY};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};

fn app() -> Router {
    let by_query = |head: &Parts| head.uri.query().map(str::to_owned);
    let handle = async |session: Session, uri: Uri| {
        session.insert("uri", uri.to_string()).await?;
        Ok::<_, SessionError>([(CACHE_CONTROL, "public, max-age=60"), (VARY, "accept")])
    };
    let verify = |token: &str| {
        let expires_at = SystemTime::now() + Duration::from_secs(60);
        let token = token.contains('a').then(|| Token::new(token, expires_at).subject(token));
        token.map(|token| (token, ())).ok_or(InvalidToken)
    };
    Router::new()
        .route("/static", axum::routing::get(async || [(CACHE_CONTROL, "max-age=60")]))
        .fallback(handle)
        .layer(CacheLayer::new())
        .layer(SessionLayer::new())
        .layer(RevocationLayer::new(verify).optional())
        .layer(RateLimitLayer::new("query", Quota::per_day(10_000), by_query))
        .layer(RateLimitLayer::new("key", Quota::per_day(10_000), Header::new("x-api-key")))
        .layer(StoreLayer::new(Store::memory()))
}

fn request(data: &[u8]) -> Option<Request<Body>> {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(lines.next()?).ok()?;
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| Builder::new_current_thread().build().expect("a runtime"));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Anew each time: sessions of other runs would fill the store.
    let app = app();
    for request in [request(data), request(data)].into_iter().flatten() {
        let answer = RUNTIME.with(|runtime| runtime.block_on(app.clone().oneshot(request)));
        let Ok::<_, Infallible>(answer) = answer;
        let status = answer.status();
        // The one 5xx that a client can ask for (RFC 9111, 5.2.1.7).
        assert!(!status.is_server_error() || status == StatusCode::GATEWAY_TIMEOUT, "{status}");
    }
});
