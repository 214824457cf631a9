//! All layers in front of a plain hyper service, without axum.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use bytes::{Buf, Bytes};
use common::{Counter, HttpClient, Served, field, http_client, on_every_store, request, text};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_redis_kit::cache::{Cache, CacheLayer, CacheTags};
use tower_redis_kit::rate_limit::{Limited, PeerAddr, PeerIp, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionLayer};
use tower_redis_kit::token::{Claims, InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreError, StoreLayer};

on_every_store! {
    a_service_has_claims_and_a_session,
    a_revoked_token_is_refused,
    a_peer_is_limited,
    a_second_request_on_one_connection_is_a_hit,
    a_hit_for_head_keeps_the_connection_in_step,
    a_handler_purges_by_its_cache,
    a_body_of_a_type_of_its_own_passes_and_is_stored,
    a_body_of_a_type_of_its_own_passes_without_a_cache,
    the_handlers_error_stays_its_own,
}

/// How a handler fails.
#[derive(Debug, PartialEq)]
enum Failure {
    Store(StoreError),
    OnPurpose,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Failure {}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

type Answer<B> = Result<Response<B>, Failure>;

/// Accepts `NAME` as a token of its own name.
fn verify(token: &str) -> Result<(Token, String), InvalidToken> {
    Ok((Token::new(token, SystemTime::now() + Duration::from_secs(60)), token.to_owned()))
}

const QUOTA: u32 = 12;

/// All four layers in front of `handler`. Being of this type, the stack takes hyper's bodies, can
/// be served by hyper, and fails in no other way than its handler.
fn stack<B, H, ReqBody>(
    store: Store,
    peer: SocketAddr,
    handler: H,
) -> impl Service<
    Request<ReqBody>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = B::Error> + Send + 'static>,
    Error = Failure,
    Future: Send,
> + Clone
+ Send
+ 'static
where
    ReqBody: http_body::Body,
    B: http_body::Body<Data: Send, Error: Send> + Default + Send + 'static,
    H: Service<Request<ReqBody>, Response = Response<B>, Error = Failure, Future: Send>
        + Clone
        + Send
        + 'static,
    ReqBody: Send + 'static,
{
    ServiceBuilder::new()
        .map_request(move |mut request: Request<ReqBody>| {
            request.extensions_mut().insert(PeerAddr(peer));
            request
        })
        .layer(StoreLayer::new(store))
        .layer(RateLimitLayer::new("ip", Quota::per_hour(QUOTA), PeerIp))
        .layer(RevocationLayer::new(verify).optional())
        .layer(SessionLayer::new())
        .layer(CacheLayer::new())
        .service(handler)
}

/// Serves what `service` makes for each connection.
async fn serve<S, B>(service: impl Fn(SocketAddr) -> S + Send + 'static) -> Served
where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error: std::error::Error + Send + Sync,
            Future: Send,
        > + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    Served::by(async move |listener| {
        let mut connections = JoinSet::new();
        while let Ok((stream, peer)) = listener.accept().await {
            let service = TowerToHyperService::new(service(peer));
            connections.spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    })
    .await
}

/// Serves the handler below behind all layers.
async fn served(store: Store) -> Served {
    let calls = Counter::default();
    serve(move |peer| {
        let calls = calls.clone();
        stack(store.clone(), peer, service_fn(move |request| handle(request, calls.clone())))
    })
    .await
}

/// Knows nothing of axum: what the layers have for it is in the request's extensions.
async fn handle(request: Request<Incoming>, calls: Counter) -> Answer<Full<Bytes>> {
    calls.add();
    let extensions = request.extensions();
    let session = extensions.get::<Session>().expect("a session");
    let store = extensions.get::<Store>().expect("a store");
    let mut response = Response::new(Full::default());
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/me") => {
            let name = extensions.get::<Claims<String>>().map(|Claims(name)| name.clone());
            name.unwrap_or_else(|| "nobody".to_owned())
        }
        (&Method::POST, "/log-out") => {
            store.revoke(*extensions.get::<Token>().expect("a token")).await?;
            "goodbye".to_owned()
        }
        (&Method::POST, "/visit") => {
            let visits = session.get::<u32>("visits").await.expect("a session").unwrap_or(0) + 1;
            session.insert("visits", visits).await.expect("a change");
            visits.to_string()
        }
        (_, "/fresh") => {
            let fresh = HeaderValue::from_static("max-age=60");
            response.headers_mut().insert(CACHE_CONTROL, fresh);
            response.extensions_mut().insert(CacheTags::new(["tag"]));
            format!("call {}", calls.get())
        }
        (&Method::POST, "/purge") => {
            let cache = extensions.get::<Cache>().cloned().unwrap_or(Cache::new(store.clone()));
            cache.purge_tag("tag").await?.to_string()
        }
        _ => return Err(Failure::OnPurpose),
    };
    *response.body_mut() = Full::from(body);
    Ok(response)
}

async fn ask(
    client: &HttpClient,
    served: &Served,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Response<Incoming> {
    let request = request(method, &served.uri(path), fields);
    client.request(request).await.expect("a response")
}

async fn a_service_has_claims_and_a_session(store: Store) {
    let (served, client) = (served(store).await, http_client());
    let as_ada = [("authorization", "Bearer ada")];
    assert_eq!(text(ask(&client, &served, "GET", "/me", &as_ada).await).await, "ada");
    assert_eq!(text(ask(&client, &served, "GET", "/me", &[]).await).await, "nobody");

    let first = ask(&client, &served, "POST", "/visit", &[]).await;
    let cookie = field(first.headers(), "set-cookie").split(';').next().expect("a pair").to_owned();
    assert_eq!(field(first.headers(), "vary"), "Cookie");
    assert_eq!(text(first).await, "1");
    let again = ask(&client, &served, "POST", "/visit", &[("cookie", &cookie)]).await;
    assert_eq!(text(again).await, "2");
}

async fn a_revoked_token_is_refused(store: Store) {
    let (served, client) = (served(store).await, http_client());
    let as_ada = [("authorization", "Bearer ada")];
    assert_eq!(text(ask(&client, &served, "POST", "/log-out", &as_ada).await).await, "goodbye");
    let refused = ask(&client, &served, "GET", "/me", &as_ada).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(field(refused.headers(), "www-authenticate").contains("invalid_token"));
    assert_eq!(text(refused).await, "");
    let as_grace = [("authorization", "Bearer grace")];
    assert_eq!(text(ask(&client, &served, "GET", "/me", &as_grace).await).await, "grace");
}

async fn a_peer_is_limited(store: Store) {
    let served = served(store).await;
    for number in 1..=QUOTA + 2 {
        // A connection of its own each time.
        let response = ask(&http_client(), &served, "GET", "/me", &[]).await;
        let expected = if number <= QUOTA { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(response.status(), expected, "{number}");
        assert_eq!(field(response.headers(), "ratelimit-policy"), r#""ip";q=12;w=3600"#);
    }
}

async fn a_second_request_on_one_connection_is_a_hit(store: Store) {
    let (served, client) = (served(store).await, http_client());
    for (status, ttl) in [("fwd=uri-miss; stored", None), ("hit; ttl=60", Some("0"))] {
        let response = ask(&client, &served, "GET", "/fresh", &[]).await;
        let expected = format!("tower-redis-kit; {status}");
        assert_eq!(field(response.headers(), "cache-status"), expected);
        assert_eq!(
            response.headers().get("age").map(HeaderValue::as_bytes),
            ttl.map(str::as_bytes)
        );
        assert_eq!(field(response.headers(), "content-length"), "6");
        assert_eq!(text(response).await, "call 1");
    }
}

async fn a_hit_for_head_keeps_the_connection_in_step(store: Store) {
    let (served, client) = (served(store).await, http_client());
    text(ask(&client, &served, "GET", "/fresh", &[]).await).await;
    for _ in 0..2 {
        let head = ask(&client, &served, "HEAD", "/fresh", &[]).await;
        assert!(field(head.headers(), "cache-status").contains("hit"));
        assert_eq!(field(head.headers(), "content-length"), "6");
        assert_eq!(text(head).await, "");
        let whole = ask(&client, &served, "GET", "/fresh", &[]).await;
        assert_eq!(text(whole).await, "call 1");
    }
}

async fn a_handler_purges_by_its_cache(store: Store) {
    let (served, client) = (served(store).await, http_client());
    text(ask(&client, &served, "GET", "/fresh", &[]).await).await;
    assert_eq!(text(ask(&client, &served, "POST", "/purge", &[]).await).await, "1");
    let anew = ask(&client, &served, "GET", "/fresh", &[]).await;
    assert_eq!(text(anew).await, "call 3");
}

/// A body in pieces that are no `Bytes`, one of which is each poll's.
struct Pieces(VecDeque<Piece>);

/// What nobody else has made is not empty.
impl Default for Pieces {
    fn default() -> Pieces {
        Pieces(VecDeque::from([Piece("refused")]))
    }
}

struct Piece(&'static str);

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        // A byte at a time: whoever reads only the first chunk does not have it all.
        &self.0.as_bytes()[..self.0.len().min(1)]
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices[0] = IoSlice::new(self.0.as_bytes());
        1
    }

    fn advance(&mut self, count: usize) {
        self.0 = &self.0[count..];
    }
}

impl http_body::Body for Pieces {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        match self.0.pop_front() {
            // Comes later, as from a network.
            Some(Piece("")) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }
}

async fn in_pieces<ReqBody>(_: Request<ReqBody>) -> Answer<Pieces> {
    let mut response = Response::new(Pieces(["one ", "", "two ", "", "three"].map(Piece).into()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    Ok(response)
}

async fn a_body_of_a_type_of_its_own_passes_and_is_stored(store: Store) {
    let served = serve(move |peer| {
        stack::<Pieces, _, _>(store.clone(), peer, service_fn(in_pieces::<Incoming>))
    })
    .await;
    let client = http_client();
    for number in 0..QUOTA {
        let response = ask(&client, &served, "GET", "/", &[]).await;
        let status = field(response.headers(), "cache-status").to_owned();
        assert_eq!(status.contains("hit"), number > 0, "{status}");
        assert_eq!(text(response).await, "one two three");
    }
    let limited = ask(&client, &served, "GET", "/", &[]).await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(text(limited).await.contains("quota-exceeded"));
}

async fn a_body_of_a_type_of_its_own_passes_without_a_cache(store: Store) {
    let served = serve(move |peer| {
        ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .layer(RateLimitLayer::new("ip", Quota::per_hour(1), PeerIp).with_store(store.clone()))
            .layer(SessionLayer::new().with_store(store.clone()))
            .service(service_fn(in_pieces::<Incoming>))
    })
    .await;
    let client = http_client();
    assert_eq!(text(ask(&client, &served, "GET", "/", &[]).await).await, "one two three");
    let limited = ask(&client, &served, "GET", "/", &[]).await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(text(limited).await.contains("quota-exceeded"), "whatever the handler's body is");
}

async fn the_handlers_error_stays_its_own(store: Store) {
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let failing =
        service_fn(async |_: Request<Body>| Answer::<Full<Bytes>>::Err(Failure::OnPurpose));
    let stack = stack(store, peer, failing);
    for _ in 0..QUOTA {
        let error = stack.clone().oneshot(common::get("/")).await.err().expect("it fails");
        assert_eq!(error, Failure::OnPurpose);
    }
    // The layers' own answers are responses, never errors.
    let limited = stack.oneshot(common::get("/")).await.expect("a response");
    assert!(limited.extensions().get::<Limited>().is_some());

    // Hyper ends a connection whose service fails, and the server goes on.
    let (served, client) = (served(Store::memory()).await, http_client());
    assert!(client.request(common::get(&served.uri("/no-such"))).await.is_err());
    assert_eq!(text(ask(&client, &served, "GET", "/me", &[]).await).await, "nobody");
}
