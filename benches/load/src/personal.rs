//! Sessions and tokens, and all four layers together.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Limit, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{Claims, Jwt, RevocationLayer};
use tower_redis_kit::{Store, StoreLayer};

const SECRET: &[u8] = b"no secret: whoever runs a load test may know it";

#[derive(Clone, Serialize, Deserialize)]
struct User {
    jti: String,
    sub: String,
    iat: u64,
    exp: u64,
}

async fn log_in(session: Session, Path(id): Path<String>) -> Result<&'static str, SessionError> {
    session.insert("user_id", format!("user-{id}")).await?;
    session.insert("name", "Ada Lovelace").await?;
    session.insert("roles", "reader,writer,billing").await?;
    Ok("ok")
}

async fn user(session: Session) -> Result<(StatusCode, &'static str), SessionError> {
    Ok(match session.get::<String>("user_id").await? {
        Some(_) => (StatusCode::OK, "ok"),
        None => (StatusCode::UNAUTHORIZED, ""),
    })
}

async fn issue(Path(id): Path<String>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let user = User { jti: format!("t{id}"), sub: id, iat: now, exp: now + 3_600 };
    let token = encode(&Header::default(), &user, &EncodingKey::from_secret(SECRET));
    format!("Bearer {}", token.expect("a token"))
}

fn revocation() -> RevocationLayer<Jwt<User>> {
    RevocationLayer::new(Jwt::<User>::hs256(SECRET))
}

pub(crate) fn sessions(store: Store) -> Router {
    Router::new()
        .route("/", get(user))
        .route("/login/{id}", post(log_in))
        .layer(SessionLayer::new().with_store(store))
}

pub(crate) fn tokens(store: Store) -> Router {
    Router::new()
        .route("/", get(|_: Claims<User>| async { "ok" }))
        .layer(revocation().with_store(store))
        .route("/token/{id}", get(issue))
}

/// A page of 1 KiB for everybody who is signed in, out of the cache.
pub(crate) fn all(limit: Limit, store: Store) -> Router {
    let page = async || {
        let fields = [("cache-control", HeaderValue::from_static("public, max-age=3600"))];
        (fields, &super::BODY[..1_024])
    };
    Router::new()
        .route("/", get(page))
        .layer(CacheLayer::new())
        .layer(revocation())
        .layer(SessionLayer::new())
        .layer(RateLimitLayer::all(limit))
        .layer(StoreLayer::new(store))
        .route("/token/{id}", get(issue))
}
