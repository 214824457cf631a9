//! Log in, stay logged in, log out: a session by cookie.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, StatusCode};
use tower::ServiceExt;
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::{Store, StoreLayer};

async fn log_in(session: Session) -> Result<&'static str, SessionError> {
    // An id that was planted in the browser before is worth nothing after this.
    session.rotate().await?;
    session.insert("user", "ada").await?;
    Ok("welcome")
}

async fn me(session: Session) -> Result<String, (StatusCode, String)> {
    let user = session.get::<String>("user").await.map_err(|error| {
        // What the error answers by itself: 503 where the store is away.
        (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    })?;
    user.ok_or((StatusCode::UNAUTHORIZED, "log in first".to_owned()))
}

async fn log_out(session: Session) -> Result<&'static str, SessionError> {
    session.destroy().await?;
    Ok("goodbye")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new()
        .route("/me", get(me))
        .route("/log-in", post(log_in))
        .route("/log-out", post(log_out))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(Store::from_env().await?));

    let mut cookie = String::new();
    for (method, path) in
        [("GET", "/me"), ("POST", "/log-in"), ("GET", "/me"), ("POST", "/log-out"), ("GET", "/me")]
    {
        let request = Request::builder().method(method).uri(path).header(COOKIE, &cookie);
        let response = app.clone().oneshot(request.body(Body::empty())?).await?;
        if let Some(set) = response.headers().get(SET_COOKIE) {
            // What a browser keeps and sends back: the part before the attributes.
            cookie = set.to_str()?.split(';').next().unwrap_or_default().to_owned();
        }
        let status = response.status();
        let text = axum::body::to_bytes(response.into_body(), 1_000).await?;
        println!("{method} {path}: {status} {}", String::from_utf8_lossy(&text));
    }
    Ok(())
}
