//! Pages for monitoring: is it alive, is it ready, how is its store doing.
//!
//! `cargo run --example health_pages`; with `REDIS_URL` in the environment the last page is about
//! that server.

use axum::Router;
use axum::body::Body;
use http::Request;
use serde_json::Value;
use tower::ServiceExt;
use tower_redis_kit::Store;
use tower_redis_kit::health::{Contents, Details, Liveness, Readiness};

fn app(store: &Store, cache_store: &Store) -> Router {
    let ready = Readiness::new()
        // Without it no request can be answered.
        .needs("sessions", store.clone())
        // Without it answers are only slower.
        .uses("cache", cache_store.clone());
    Router::new()
        .route_service("/live", Liveness::new())
        .route_service("/ready", ready)
        // Shows more than the world should see: serve it on a port of its own.
        .route_service("/health", Details::new(store.clone()))
        .route_service(
            "/health/cache",
            Details::new(cache_store.clone()).contents(Contents::Disposable),
        )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::from_env().await?;
    // Nothing listens there: that is told, and the service is ready all the same.
    let cache_store = Store::connect_lazy("redis://127.0.0.1:1")?;
    // For an alarm of one's own: waits until something changes.
    let health = cache_store.watch_health().changed().await;
    println!("the cache's store: {}", health.error().map_or("up".to_owned(), ToString::to_string));

    let app = app(&store, &cache_store);
    for path in ["/live", "/ready", "/health/cache", "/health"] {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
        println!("GET {path}: {}", response.status());
        let page = axum::body::to_bytes(response.into_body(), 100_000).await?;
        let page: Value = serde_json::from_slice(&page)?;
        println!("{page:#}");
    }

    // The same as values, for a page of one's own.
    let info = store.info().await?;
    for finding in info.findings(Contents::Lasting) {
        println!("{:?}: {finding}", finding.severity());
    }
    Ok(())
}
