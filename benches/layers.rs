//! What each layer adds to a bare service, on memory and on Redis, next to the command it needs.
//!
//! `cargo bench`. Every case is measured in short slices that alternate with its yardstick's, and
//! the median of the slices' ratios is reported: the machine's speed changes within a minute, and
//! cancels out. Redis cases run with 1 and with 64 requests under way; their yardstick is a bare
//! service and the one command on a bare multiplexed connection, one after the other.

mod harness;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use harness::{bare_connection, compare, send};
use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use redis::Cmd;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use support::RedisServer;
use tower::{Layer, Service, ServiceExt};
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};

type Body = Full<Bytes>;

/// What a limit by GCRA runs.
const SCRIPT: &str = concat!(
    include_str!("../src/store/scripts/limit/clock.lua"),
    include_str!("../src/store/scripts/limit/gcra.lua"),
    "local look, write, number = gcra_look, gcra_write, 0\n",
    include_str!("../src/store/scripts/limit/one.lua"),
);

/// The bare service: answers at once.
#[derive(Clone)]
struct Handler;

impl Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Full::from("hello"));
        response.headers_mut().insert(CACHE_CONTROL, "public, max-age=3600".parse().unwrap());
        ready(Ok(response))
    }
}

/// Looks at its session.
#[derive(Clone)]
struct SessionHandler;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Request<Body>> for SessionHandler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let session = request.extensions().get::<Session>().cloned();
        Box::pin(async move {
            if let Some(session) = session {
                touch(&session).await.unwrap();
            }
            Ok(Response::new(Full::from("hello")))
        })
    }
}

async fn touch(session: &Session) -> Result<(), SessionError> {
    if session.get::<String>("user").await?.is_none() {
        session.insert("user", "ada").await?;
    }
    Ok(())
}

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 31);
    let now = SystemTime::now() + Duration::from_secs(60);
    Ok((Token::new(token, expires_at.min(now)).subject("ada"), ()))
}

fn request() -> Request<Body> {
    Request::get("http://localhost/").header("x-api-key", "k").body(Body::default()).unwrap()
}

/// Requests through a service, body and all.
fn through<S, B, R>(service: &S, request: R) -> impl Fn() -> Answer<()> + Clone + Send + 'static
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: std::fmt::Debug,
    R: Fn() -> Request<Body> + Clone + Send + 'static,
{
    let service = service.clone();
    move || {
        let (service, request) = (service.clone(), request());
        Box::pin(async move {
            let response = service.oneshot(request).await.unwrap();
            assert!(response.status().is_success(), "{}", response.status());
            response.into_body().collect().await.map(drop).unwrap();
        })
    }
}

/// Never used up: a burst of a thousand million.
const UNLIMITED: Quota = Quota::per_second(100).burst(1_000_000_000);

/// A request whose cookie has a session.
async fn with_session(store: &Store) -> impl Fn() -> Request<Body> + Clone + Send + 'static {
    let service = StoreLayer::new(store.clone()).layer(SessionLayer::new().layer(SessionHandler));
    let response = service.oneshot(request()).await.unwrap();
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    let cookie: http::HeaderValue = cookie.split(';').next().unwrap().parse().unwrap();
    move || {
        let mut request = request();
        request.headers_mut().insert(COOKIE, cookie.clone());
        request
    }
}

fn with_token() -> Request<Body> {
    let mut request = request();
    request.headers_mut().insert(AUTHORIZATION, "Bearer abc.def.ghi".parse().unwrap());
    request
}

async fn on_memory() {
    println!("\n## On memory, over a bare service\n");
    println!("| layer | bare, ns | with the layer, ns | added, ns | ratio |");
    println!("|---|--:|--:|--:|--:|");
    let store = Store::memory();
    let provide = StoreLayer::new(store.clone());
    let bare = Handler;

    let stored = provide.layer(Handler);
    compare("the store in extensions", 1, through(&bare, request), through(&stored, request)).await;
    let limited = provide
        .layer(RateLimitLayer::new("all", UNLIMITED, Header::new("x-api-key")).layer(Handler));
    compare("rate limit", 1, through(&bare, request), through(&limited, request)).await;
    let unused = provide.layer(SessionLayer::new().layer(Handler));
    compare("session, unused", 1, through(&bare, request), through(&unused, request)).await;
    let session = provide.layer(SessionLayer::new().layer(SessionHandler));
    let with_session = with_session(&store).await;
    compare("session, read", 1, through(&SessionHandler, request), through(&session, with_session))
        .await;
    let checked = provide.layer(RevocationLayer::new(verify).layer(Handler));
    compare("revocation", 1, through(&bare, with_token), through(&checked, with_token)).await;
    let cached = provide.layer(CacheLayer::new().layer(Handler));
    through(&cached, request)().await;
    compare("cache, hit", 1, through(&bare, request), through(&cached, request)).await;
    let all = provide.layer(
        RateLimitLayer::new("all", UNLIMITED, Header::new("x-api-key")).layer(
            SessionLayer::new()
                .layer(RevocationLayer::new(verify).layer(CacheLayer::new().layer(Handler))),
        ),
    );
    compare("all four, session unused", 1, through(&bare, with_token), through(&all, with_token))
        .await;
}

/// A bare service and then the bare command: what a layer is measured against.
fn bare(
    connection: &MultiplexedConnection,
    cmd: &Cmd,
    request: impl Fn() -> Request<Body> + Clone + Send + 'static,
) -> impl Fn() -> Answer<()> + Clone + Send + 'static {
    let (service, connection, cmd) = (through(&Handler, request), connection.clone(), cmd.clone());
    move || {
        let (service, command) = (service(), send(&connection, &cmd));
        Box::pin(async move {
            command.await;
            service.await;
        })
    }
}

async fn on_redis(tasks: usize) {
    let server = RedisServer::start();
    let builder = Store::builder().deadline(Duration::from_secs(5));
    let store = builder.connect(&server.url()).await.unwrap();
    let connection = bare_connection(&server).await;
    let provide = StoreLayer::new(store.clone());
    let key = |noun: &str| server.keys().into_iter().find(|key| key.contains(noun)).unwrap();
    println!("\n## On Redis, {tasks} under way, over the command each needs\n");
    println!(
        "| layer | a bare service, then the command, ns | the layer, ns | added, ns | ratio |"
    );
    println!("|---|--:|--:|--:|--:|");

    let mut get = redis::cmd("GET");
    get.arg("kit:bench");
    let mut load = redis::cmd("SCRIPT");
    load.arg("LOAD").arg(SCRIPT);
    let sha: String = load.query_async(&mut connection.clone()).await.unwrap();
    let mut take = redis::cmd("EVALSHA");
    take.arg(sha).arg(1).arg("kit:limit:bench:AAAAAAAAAAAAAAAAAAAAAA");
    take.arg(100).arg(10_000).arg(0).arg(10_000_000_000_000u64).arg(0);
    let (a_get, a_take) = (bare(&connection, &get, request), bare(&connection, &take, request));
    compare("(no layer: the limit's script, over a GET)", tasks, a_get, a_take.clone()).await;

    let limit = RateLimitLayer::new("all", UNLIMITED, Header::new("x-api-key"));
    let limited = provide.layer(limit.layer(Handler));
    compare("rate limit", tasks, a_take, through(&limited, request)).await;

    let session = provide.layer(SessionLayer::new().layer(SessionHandler));
    let with_session = with_session(&store).await;
    let mut read = redis::pipe();
    read.cmd("GETRANGE").arg(key(":session:")).arg(0).arg(65_549);
    read.cmd("PEXPIRE").arg(key(":session:")).arg(1_800_000);
    let (service, bare_connection) = (through(&Handler, with_session.clone()), connection.clone());
    let a_read = move || {
        let (mut connection, read, service) = (bare_connection.clone(), read.clone(), service());
        async move {
            connection.req_packed_commands(&read, 0, 2).await.map(drop).unwrap();
            service.await;
        }
    };
    compare("session, read", tasks, a_read, through(&session, with_session)).await;

    let checked = provide.layer(RevocationLayer::new(verify).layer(Handler));
    let mut mget = redis::cmd("MGET");
    mget.arg("kit:revoked:token:AAAAAAAAAAAAAAAAAAAAAA");
    mget.arg("kit:revoked:subject:AAAAAAAAAAAAAAAAAAAAAA");
    let an_mget = bare(&connection, &mget, with_token);
    compare("revocation", tasks, an_mget, through(&checked, with_token)).await;

    let cached = provide.layer(CacheLayer::new().layer(Handler));
    through(&cached, request)().await;
    let mut mget = redis::cmd("MGET");
    mget.arg(key(":response:")).arg("kit:purged");
    let an_mget = bare(&connection, &mget, request);
    compare("cache, hit", tasks, an_mget, through(&cached, request)).await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        on_memory().await;
        on_redis(1).await;
        on_redis(64).await;
    });
}
