//! What a caller may do depends on the plan that was paid for. Plans change while the service runs.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use http::request::Parts;
use tower::ServiceExt;
use tower_redis_kit::rate_limit::{
    ChooseLimits, Header, Limit, Limits, LiveLimits, Quota, RateLimitLayer,
};
use tower_redis_kit::{Store, StoreLayer};

fn by_key(name: &str, quota: Quota) -> Limit {
    Limit::new(name, quota, Header::new("x-api-key"))
}

/// Each plan is limited by the second and by the month, in one decision.
fn plan(name: &str, per_second: u32, per_month: u32) -> Limits {
    [
        by_key(&format!("{name}.second"), Quota::per_second(per_second)),
        by_key(&format!("{name}.month"), Quota::per_calendar_month(per_month)),
    ]
    .into()
}

/// Where a service would look into its own accounts: an earlier layer may have left them in the
/// request's extensions.
fn has_paid(head: &Parts) -> bool {
    head.headers.get("x-api-key").is_some_and(|key| key.as_bytes().starts_with(b"paid-"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let free = LiveLimits::new(plan("free", 1, 1_000));
    let paid = LiveLimits::new(plan("paid", 50, 1_000_000));
    let choose = {
        let (free, paid) = (free.clone(), paid.clone());
        move |head: &Parts| if has_paid(head) { paid.choose(head) } else { free.choose(head) }
    };
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(RateLimitLayer::by(choose))
        .layer(StoreLayer::new(Store::from_env().await?));

    let ask = async |key: &str| {
        let request = Request::get("/").header("x-api-key", key).body(Body::empty())?;
        let response = app.clone().oneshot(request).await?;
        let policies = response.headers().get_all("ratelimit-policy").iter();
        let policies: Result<Vec<_>, _> = policies.map(http::HeaderValue::to_str).collect();
        println!("{key}: {} {:?}", response.status(), policies?);
        Ok::<_, Box<dyn std::error::Error>>(response.status())
    };
    assert_eq!(ask("free-1").await?, 200);
    assert_eq!(ask("free-1").await?, 429);
    for _ in 0..3 {
        assert_eq!(ask("paid-1").await?, 200);
    }
    // A generous day: what was counted stays counted.
    free.replace(plan("free", 10, 1_000));
    assert_eq!(ask("free-2").await?, 200);
    assert_eq!(ask("free-2").await?, 200);
    Ok(())
}
