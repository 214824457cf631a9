//! Three wrong passwords lock an account for a minute, then for five, then for half an hour. The
//! right one costs nothing.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::{Request, StatusCode};
use serde::Deserialize;
use tower::ServiceExt;
use tower_redis_kit::Store;
use tower_redis_kit::rate_limit::{Key, Limiter, Quota};

#[derive(Clone)]
struct LogIns {
    by_account: Limiter,
    by_address: Limiter,
}

#[derive(Deserialize)]
struct LogIn {
    user: String,
    password: String,
}

async fn log_in(
    State(limits): State<LogIns>,
    // Behind proxies, what `ClientIp` finds.
    Extension(address): Extension<IpAddr>,
    Form(form): Form<LogIn>,
) -> Result<&'static str, Response> {
    // Each guess is taken before it is looked at: a thousand at once are a thousand takes. An
    // address that has none left takes none from an account: it could lock out all of them.
    for (limit, key) in [
        (&limits.by_address, Key::from(address)),
        (&limits.by_account, Key::from(form.user.as_str())),
    ] {
        let allowance = limit.take(key).await.map_err(IntoResponse::into_response)?;
        allowance.or_limited().map_err(IntoResponse::into_response)?;
    }
    // A service compares a hash that is slow to compute.
    if form.password != "correct horse" {
        return Err((StatusCode::UNAUTHORIZED, "wrong name or password").into_response());
    }
    // Whoever knows the password has not guessed.
    limits.by_account.reset(form.user.as_str()).await.map_err(IntoResponse::into_response)?;
    Ok("welcome")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::from_env().await?;
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let lockout = Quota::per_hour(3).lockout([minutes(1), minutes(5), minutes(30)]);
    let limits = LogIns {
        by_account: store.limiter("log-in.account", lockout),
        by_address: store.limiter("log-in.address", Quota::per_hour(100).burst(20)),
    };
    let app = Router::new()
        .route("/log-in", post(log_in))
        .layer(Extension(IpAddr::from([192, 0, 2, 1])))
        .with_state(limits.clone());

    let guess = async |password: &str| {
        let request = Request::post("/log-in")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("user=ada&password={password}")))?;
        let response = app.clone().oneshot(request).await?;
        println!("{password:?}: {} {:?}", response.status(), response.headers().get("retry-after"));
        Ok::<_, Box<dyn std::error::Error>>(response.status().as_u16())
    };
    limits.by_account.reset("ada").await?;
    assert_eq!(guess("123456").await?, 401);
    assert_eq!(guess("correct horse").await?, 200);
    for _ in 0..3 {
        assert_eq!(guess("letmein").await?, 401);
    }
    // More guesses do not make it longer, and the right password does not help.
    assert_eq!(guess("qwerty").await?, 429);
    assert_eq!(guess("correct horse").await?, 429);

    // An administrator opens it. Next time it will be five minutes.
    assert!(limits.by_account.unblock("ada").await?);
    assert_eq!(guess("correct horse").await?, 200);
    Ok(())
}
