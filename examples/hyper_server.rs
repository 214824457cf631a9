//! The same four layers in front of a plain hyper service, without axum.
//!
//! `cargo run --example hyper_server`, then `curl -i http://127.0.0.1:3000/`.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tower::{ServiceBuilder, service_fn};
use tower_redis_kit::cache::{CacheLayer, CacheTags};
use tower_redis_kit::rate_limit::{PeerAddr, PeerIp, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionLayer};
use tower_redis_kit::token::{Claims, InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};

/// Whoever sends `Authorization: Bearer NAME` is NAME: a real service checks a signature.
fn verify(token: &str) -> Result<(Token, String), InvalidToken> {
    let hour = SystemTime::now() + Duration::from_secs(60 * 60);
    Ok((Token::new(token, hour).subject(token), token.to_owned()))
}

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    // What the layers leave for handlers is in the request's extensions.
    let extensions = request.extensions();
    Ok(match request.uri().path() {
        "/" => {
            let mut response = answer(StatusCode::OK, "the same for a minute\n".to_owned());
            response.headers_mut().insert(CACHE_CONTROL, "max-age=60".parse().expect("a value"));
            response.extensions_mut().insert(CacheTags::new(["front"]));
            response
        }
        "/visits" => {
            let session = extensions.get::<Session>().expect("the session layer is there").clone();
            let visits = session.get::<u32>("visits").await.unwrap_or_default().unwrap_or(0) + 1;
            match session.insert("visits", visits).await {
                Ok(()) => answer(StatusCode::OK, format!("visit {visits}\n")),
                Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            }
        }
        "/me" => match extensions.get::<Claims<String>>() {
            Some(Claims(name)) => answer(StatusCode::OK, format!("hello {name}\n")),
            None => answer(StatusCode::UNAUTHORIZED, "who is asking?\n".to_owned()),
        },
        _ => answer(StatusCode::NOT_FOUND, "not here\n".to_owned()),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing_subscriber::fmt::init();
    let store = Store::from_env().await?;
    let service = ServiceBuilder::new()
        .layer(StoreLayer::new(store))
        .layer(RateLimitLayer::new("all", Quota::per_second(5), PeerIp))
        .layer(SessionLayer::new())
        .layer(RevocationLayer::new(verify).optional())
        .layer(CacheLayer::new())
        .service(service_fn(handle));

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (socket, peer) = listener.accept().await?;
        // hyper has no place for the peer's address, so the request is told.
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .service(service.clone());
        tokio::spawn(async move {
            let connection = Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            if let Err(error) = connection.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(%error, "connection");
            }
        });
    }
}
