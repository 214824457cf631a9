//! Answer from the cache until what the answer was made of changes.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use http::Request;
use http::header::CACHE_CONTROL;
use tower::ServiceExt;
use tower_redis_kit::cache::{Cache, CacheLayer, CacheTags};
use tower_redis_kit::{Store, StoreLayer};

static RUNS: AtomicU32 = AtomicU32::new(0);

async fn product(Path(id): Path<u32>) -> impl IntoResponse {
    let run = RUNS.fetch_add(1, Ordering::Relaxed) + 1;
    let tags = CacheTags::new(["products".to_owned(), format!("product-{id}")]);
    ([(CACHE_CONTROL, "max-age=3600")], tags, format!("product {id}, made by run {run}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::from_env().await?;
    let cache = Cache::new(store.clone());
    let app = Router::new()
        .route("/products/{id}", get(product))
        .layer(CacheLayer::new())
        .layer(StoreLayer::new(store));
    let look = |when: &'static str| {
        let app = app.clone();
        async move {
            println!("{when}:");
            for path in ["/products/1", "/products/2"] {
                let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
                let status = response.headers()["cache-status"].to_str()?.to_owned();
                let text = axum::body::to_bytes(response.into_body(), 1_000).await?;
                println!("  {path}: {} ({status})", String::from_utf8_lossy(&text));
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        }
    };

    cache.purge_tag("products").await?;
    look("at first").await?;
    look("again").await?;
    println!("product 1 changes: {} dropped", cache.purge_tag("product-1").await?);
    look("after that").await?;
    println!("all change: {} dropped", cache.purge_tag("products").await?);
    look("after that").await?;
    Ok(())
}
