//! What changes shows in every open browser: publish, subscribe, and server-sent events.
//!
//! `cargo run --example live_events`, then open the page that it prints in two windows. With
//! `REDIS_URL` in the environment, several of these programs hear each other; `PORT` chooses
//! another port than 3000.

use std::net::Ipv4Addr;

use axum::response::Html;
use axum::routing::get;
use axum::{Form, Router};
use serde::{Deserialize, Serialize};
use tower_redis_kit::toolbox::Sse;
use tower_redis_kit::{Store, StoreError, StoreLayer};

#[derive(Serialize, Deserialize)]
struct Order {
    what: String,
}

const PAGE: &str = r#"<!doctype html>
<title>orders</title>
<form onsubmit="fetch('/orders', { method: 'POST', body: new URLSearchParams(new FormData(this)) }); return false">
  <input name="what" value="coffee"> <button>order</button>
</form>
<ul id="list"></ul>
<script>
  const show = text => list.append(Object.assign(document.createElement("li"), { textContent: text }));
  const events = new EventSource("/orders");
  events.onmessage = event => show(JSON.parse(event.data).what);
  // Something may have been missed: here a real page would ask for all orders again.
  events.addEventListener("gap", () => show("(…)"));
</script>
"#;

/// Every order from now on, to one browser.
async fn listen(store: Store) -> Result<Sse, StoreError> {
    Ok(store.subscribe::<Order>("orders").await?.into_sse())
}

/// A real service keeps the order first: a message is delivered at most once.
async fn order(store: Store, Form(order): Form<Order>) -> Result<(), StoreError> {
    store.publish("orders", &order).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let store = Store::from_env().await?;
    let app = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/orders", get(listen).post(order))
        .layer(StoreLayer::new(store.clone()));

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "listening on {url}: open it in two windows, or try

  curl -N {url}/orders &
  curl -d what=tea {url}/orders
"
    );
    let shutdown = async move {
        let _ = tokio::signal::ctrl_c().await;
        // Or the server would wait for every browser to leave.
        store.end_subscriptions();
    };
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    Ok(())
}
