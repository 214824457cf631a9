//! `load <mode>` serves on `127.0.0.1:$PORT`: `GET /` through one layer, by default settings. With
//! a `$REDIS_URL` it is on Redis, unless the mode says `memory`.
//!
//! Who asks is the client behind one proxy. A limit gives one request back each `$RL_EMIT_MS`
//! milliseconds (1,000), after a burst of `$RL_BURST` (a million). With `$RL_FIELDS=none` answers
//! do not say so.

mod bare;
mod floor;
mod personal;

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tower_redis_kit::Store;
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{ClientIp, Fields, Limit, Quota, RateLimitLayer};

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(crate) fn redis_url() -> String {
    env::var("REDIS_URL").expect("REDIS_URL")
}

pub(crate) fn quota() -> Quota {
    let burst = u32::try_from(number("RL_BURST", 1_000_000)).unwrap_or(u32::MAX);
    Quota::new(1, Duration::from_millis(number("RL_EMIT_MS", 1_000))).burst(burst)
}

fn limit() -> Limit {
    Limit::new("load", quota(), ClientIp::hops(1))
}

fn ok() -> Router {
    Router::new().route("/", get(|| async { "ok" }))
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static BODY: [u8; 65_536] = [b'x'; 65_536];

/// What is worth caching: it takes `$COST_MS` milliseconds (2).
async fn costly(length: usize) -> impl IntoResponse {
    CALLS.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(number("COST_MS", 2))).await;
    let fields = [("content-type", "application/json"), ("cache-control", "public, max-age=3600")];
    (fields, &BODY[..length])
}

fn cached(store: Store) -> Router {
    Router::new()
        .route("/c1k/{id}", get(|| costly(1_024)))
        .route("/c64k/{id}", get(|| costly(65_536)))
        .layer(CacheLayer::new().with_store(store))
        .route("/calls", get(|| async { CALLS.load(Ordering::Relaxed).to_string() }))
}

fn kit(layer: &str, store: Store) -> Router {
    // A single layer has its store by itself, as the ones that it is compared with.
    let fields = match env::var("RL_FIELDS").as_deref() {
        Ok("none") => Fields::None,
        _ => Fields::default(),
    };
    let limited =
        |limit| ok().layer(RateLimitLayer::all(limit).fields(fields).with_store(store.clone()));
    match layer {
        "limit" => limited(limit()),
        "limit_lease" => limited(limit().lease(100)),
        "limit_deny" => limited(limit().deny_cache(true)),
        "session" => personal::sessions(store),
        "token" => personal::tokens(store),
        "cache" => cached(store),
        "all" => personal::all(limit(), store),
        _ => panic!("the mode {layer:?} is none: see targets.toml"),
    }
}

#[tokio::main]
async fn main() {
    let mode = env::args().nth(1).unwrap_or_default();
    let (layer, is_memory) = match mode.strip_suffix("_memory") {
        Some(layer) => (layer, true),
        None => (&*mode, false),
    };
    let app = match layer {
        "bare" => ok(),
        "layer" => floor::layer(),
        "fields" => floor::fields(),
        "refusal" => floor::refusal(),
        "script" => bare::app().await,
        _ => kit(layer, if is_memory { Store::memory() } else { Store::from_env().await.unwrap() }),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], number("PORT", 3_000) as u16));
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    // Every request has passed a proxy, which says where it comes from.
    axum::serve(listener, app).await.unwrap();
}
