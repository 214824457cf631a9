//! Revoke one token, or every token of a user: "log out everywhere".

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Request};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;
use tower_redis_kit::token::{Claims, Jwt, RevocationLayer, Subject, Token, Verifier};
use tower_redis_kit::{Store, StoreLayer};

const SECRET: &[u8] = b"for this example only: a real one is random and secret";

#[derive(Clone, Serialize, Deserialize)]
struct User {
    jti: String,
    sub: String,
    iat: u64,
    exp: u64,
}

fn issue(jti: &str, age: Duration) -> Result<String, Box<dyn std::error::Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let (iat, exp) = ((now - age).as_secs(), now.as_secs() + 3600);
    let user = User { jti: jti.to_owned(), sub: "ada".to_owned(), iat, exp };
    Ok(encode(&Header::default(), &user, &EncodingKey::from_secret(SECRET))?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::from_env().await?;
    let jwt = || Jwt::<User>::hs256(SECRET);
    let app = Router::new()
        .route("/me", get(|Claims(user): Claims<User>| async move { user.sub }))
        .layer(RevocationLayer::new(jwt()).realm("example"))
        .layer(StoreLayer::new(store.clone()));

    let phone = issue("phone", Duration::from_secs(60))?;
    let laptop = issue("laptop", Duration::from_secs(60))?;
    let ask = |when: &'static str| {
        let (app, tokens) = (app.clone(), [("phone", phone.clone()), ("laptop", laptop.clone())]);
        async move {
            println!("{when}:");
            for (device, token) in tokens {
                let request =
                    Request::get("/me").header("authorization", format!("Bearer {token}"));
                let response = app.clone().oneshot(request.body(Body::empty())?).await?;
                let challenge = response.headers().get(WWW_AUTHENTICATE);
                let challenge = challenge.map_or(Ok(""), HeaderValue::to_str)?;
                println!("  {device}: {} {challenge}", response.status());
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        }
    };

    ask("at first").await?;
    // In a handler, `Token` is an extractor; anywhere else, the verifier tells which token it is.
    let (token, _): (Token, User) = jwt().verify(&phone)?;
    store.revoke(token).await?;
    ask("the phone's token revoked").await?;
    store.revoke(Subject::new("ada")).await?;
    ask("logged out everywhere").await?;
    Ok(())
}
