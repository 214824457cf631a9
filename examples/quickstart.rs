//! All four layers on one axum router.
//!
//! `cargo run --example quickstart`, then try the commands it prints. With `REDIS_URL` in the
//! environment everything is on Redis; `PORT` chooses another port than 3000.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::CACHE_CONTROL;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use tower_redis_kit::cache::{Cache, CacheLayer, CacheTags};
use tower_redis_kit::rate_limit::{PeerIp, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{Claims, Jwt, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreError, StoreLayer};

const SECRET: &[u8] = b"for this example only: a real one is random and secret";

#[derive(Clone, Serialize, Deserialize)]
struct User {
    sub: String,
    exp: u64,
}

/// Session: one command when the handler looks, one more when it has changed something.
async fn visits(session: Session) -> Result<String, SessionError> {
    let visits = session.get::<u32>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    Ok(format!("visit {visits}\n"))
}

/// Cache: the handler runs once a minute, or when its tag is purged.
async fn news() -> impl IntoResponse {
    tokio::time::sleep(Duration::from_millis(500)).await;
    ([(CACHE_CONTROL, "max-age=60")], CacheTags::new(["news"]), "slow news\n")
}

async fn publish(cache: Cache) -> Result<String, StoreError> {
    Ok(format!("{} dropped\n", cache.purge_tag("news").await?))
}

async fn log_in() -> String {
    let hour = SystemTime::now() + Duration::from_secs(60 * 60);
    let exp = hour.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let user = User { sub: "ada".to_owned(), exp };
    encode(&Header::default(), &user, &EncodingKey::from_secret(SECRET)).expect("claims are JSON")
}

/// Token: verified, and not revoked.
async fn me(Claims(user): Claims<User>) -> String {
    format!("hello {}\n", user.sub)
}

async fn log_out(token: Token, store: Store) -> Result<&'static str, StoreError> {
    store.revoke(token).await?;
    Ok("goodbye\n")
}

async fn health(store: Store) -> Json<bool> {
    Json(store.health().is_up())
}

fn app(store: Store) -> Router {
    let with_token = Router::new()
        .route("/me", get(me))
        .route("/log-out", post(log_out))
        .layer(RevocationLayer::new(Jwt::<User>::hs256(SECRET)));
    Router::new()
        .route("/news", get(news).layer(CacheLayer::new()))
        .route("/publish", post(publish))
        .route("/visits", get(visits))
        .route("/log-in", post(log_in))
        .merge(with_token)
        .layer(SessionLayer::new())
        .layer(RateLimitLayer::new("all", Quota::per_minute(30), PeerIp))
        .route("/health", get(health))
        .layer(StoreLayer::new(store))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let store = Store::from_env().await?;
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "listening on {url}; try:

  curl -i -c jar -b jar {url}/visits       # twice: a session, and what is left of the limit
  curl -i {url}/news                       # twice: slow, then from the cache
  curl -X POST {url}/publish               # the next one is slow again
  token=$(curl -s -X POST {url}/log-in)
  curl -H \"authorization: Bearer $token\" {url}/me
  curl -H \"authorization: Bearer $token\" -X POST {url}/log-out
  curl -i -H \"authorization: Bearer $token\" {url}/me      # 401: revoked
"
    );
    let app = app(store).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
