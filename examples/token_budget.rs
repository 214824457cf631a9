//! A budget of tokens of a language model: what an answer costs is known when it has been streamed.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::post;
use futures_util::{StreamExt, stream};
use http::Request;
use tower::ServiceExt;
use tower_redis_kit::rate_limit::{Charge, Finished, Header, Limit, Quota, RateLimitLayer};
use tower_redis_kit::{Store, StoreLayer};

/// The most that one answer may take: reserved until it is known.
const MOST: u32 = 400;

/// Streams an answer, and says as it goes what it has cost.
async fn complete(charge: Charge) -> impl IntoResponse {
    let words = ["The ", "answer ", "is ", "42."];
    let answer = stream::iter(words).map(move |word| {
        charge.add(25);
        Ok::<_, Infallible>(word)
    });
    Body::from_stream(answer)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::from_env().await?;
    let quota = Quota::per_calendar_day(1_000);
    let budget = Limit::new("tokens", quota, Header::new("x-api-key"))
        .cost(MOST)
        // Who hangs up in the middle pays what was reserved.
        .settle(|done: &Finished| done.charged().unwrap_or(done.reserved()));
    let app = Router::new()
        .route("/complete", post(complete))
        .layer(RateLimitLayer::all(budget))
        .layer(StoreLayer::new(store.clone()));

    // The same limit in code.
    let tokens = store.limiter("tokens", quota);
    tokens.reset("demo").await?;
    let ask = async || {
        let request = Request::post("/complete").header("x-api-key", "demo");
        let response = app.clone().oneshot(request.body(Body::empty())?).await?;
        let status = response.status().as_u16();
        let text = axum::body::to_bytes(response.into_body(), 1_000).await?;
        // On Redis what is settled takes a moment: nobody waits for it.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let left = tokens.peek("demo").await?.remaining();
        println!("{status} {} ({left} left)", String::from_utf8_lossy(&text));
        Ok::<_, Box<dyn std::error::Error>>((status, left))
    };
    assert_eq!(ask().await?, (200, 900));
    for left in [800, 700, 600, 500, 400, 300] {
        assert_eq!(ask().await?, (200, left));
    }
    // Not enough for what the next one may cost.
    assert_eq!(ask().await?.0, 429);
    Ok(())
}
