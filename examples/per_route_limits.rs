//! A limit for the whole service, and a tighter one for a route that costs more.

use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use axum::routing::{get, post};
use http::{Request, Response};
use tower::ServiceExt;
use tower_redis_kit::rate_limit::{Header, Limited, Quota, RateLimitLayer};
use tower_redis_kit::{Store, StoreLayer};

fn app(store: Store) -> Router {
    let key = || Header::new("x-api-key");
    Router::new()
        .route("/", get(|| async { "cheap" }))
        .route(
            "/report",
            post(|| async { "dear" }).layer(RateLimitLayer::new(
                "report",
                Quota::per_hour(2),
                key(),
            )),
        )
        .layer(RateLimitLayer::new("all", Quota::per_second(5).burst(10), key()))
        .layer(map_response(explain))
        .layer(StoreLayer::new(store))
}

/// Words the refusal: its reason is in the response's extensions.
async fn explain(response: Response<Body>) -> Response<Body> {
    let Some(limited) = response.extensions().get::<Limited>() else { return response };
    let text = format!("{limited}; wait {:.0?}", limited.retry_after().unwrap_or_default());
    response.map(|_| Body::from(text))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = app(Store::from_env().await?);
    for (method, path) in
        [("GET", "/"), ("POST", "/report"), ("POST", "/report"), ("POST", "/report")]
    {
        let request = Request::builder().method(method).uri(path).header("x-api-key", "demo");
        let response = app.clone().oneshot(request.body(Body::empty())?).await?;
        let limits = response.headers().get_all("ratelimit").iter();
        let limits: Vec<_> = limits.filter_map(|limit| limit.to_str().ok()).collect();
        println!("{method} {path}: {} {limits:?}", response.status());
        let text = axum::body::to_bytes(response.into_body(), 1_000).await?;
        println!("  {}", String::from_utf8_lossy(&text));
    }
    Ok(())
}
