//! Limits for the whole service, and tighter ones for routes that cost more, in one table.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::ServiceExt;
use tower_redis_kit::rate_limit::{Header, Limit, Limited, Quota, RateLimitLayer, RouteLimits};
use tower_redis_kit::{Store, StoreLayer};

fn by_key(name: &str, quota: Quota) -> Limit {
    Limit::new(name, quota, Header::new("x-api-key"))
}

fn app(store: Store) -> Router {
    let all = by_key("all", Quota::per_second(5).burst(10));
    let table = RouteLimits::new()
        // Both in one decision: what the report's limit refuses, the other does not count.
        .route("POST /report", [all.clone(), by_key("report", Quota::per_hour(2))])
        .otherwise(all);
    let export = RateLimitLayer::new("export", Quota::per_day(1), Header::new("x-api-key"));
    Router::new()
        .route("/", get(|| async { "cheap" }))
        .route("/report", post(|| async { "dear" }))
        // Or by a layer of the route's own.
        .route("/export", get(|| async { "dearest" }).layer(export))
        .layer(RateLimitLayer::by(table).refuse_with(explain))
        .layer(StoreLayer::new(store))
}

/// In the place of the problem document.
fn explain(limited: &Limited, head: &Parts) -> Response<Bytes> {
    let wait = limited.retry_after().unwrap_or_default();
    let text = format!("{}: {limited}; wait {wait:.0?}", head.uri.path());
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::from_env().await?;
    for name in ["report", "export"] {
        // So that the example can be run again.
        let _ = store.limiter(name, Quota::per_hour(2)).reset("demo").await?;
    }
    let app = app(store);
    let requests = [
        ("GET", "/", 200),
        ("POST", "/report", 200),
        ("POST", "/report", 200),
        ("POST", "/report", 429),
        ("GET", "/export", 200),
        ("GET", "/export", 429),
        ("GET", "/", 200),
    ];
    for (method, path, expected) in requests {
        let request = Request::builder().method(method).uri(path).header("x-api-key", "demo");
        let response = app.clone().oneshot(request.body(Body::empty())?).await?;
        let status = response.status().as_u16();
        let limits = response.headers().get_all("ratelimit").iter();
        let limits: Result<Vec<_>, _> = limits.map(HeaderValue::to_str).collect();
        println!("{method} {path}: {status} {:?}", limits?);
        let text = axum::body::to_bytes(response.into_body(), 1_000).await?;
        println!("  {}", String::from_utf8_lossy(&text));
        assert_eq!(status, expected);
    }
    Ok(())
}
