//! What the integration tests share: stores to run a scenario on, requests, and ways to read what
//! came back.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its own share")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use support::RedisServer;
use tokio::task::JoinHandle;
use tower::{Service, ServiceExt};
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::SessionLayer;
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};

/// Makes a test of each scenario, an `async fn(Store)`, on every kind of store.
macro_rules! on_every_store {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            $crate::common::on_store!($scenario, memory);
            $crate::common::on_store!($scenario, redis);
        }
    )+ };
}
pub(crate) use on_every_store;

macro_rules! on_store {
    ($scenario:ident, $store:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $store() {
            super::$scenario($crate::common::$store().await).await;
        }
    };
}
pub(crate) use on_store;

/// A store in this process.
pub(crate) async fn memory() -> Store {
    Store::memory()
}

/// A store on the test process's Redis, under a prefix that no other store has.
pub(crate) async fn redis() -> Store {
    redis_under(&unique("test")).await
}

/// A store on the test process's Redis, under this prefix.
pub(crate) async fn redis_under(prefix: &str) -> Store {
    // What is tested is not how fast the machine is.
    let patient = Store::builder().prefix(prefix).deadline(Duration::from_secs(5));
    patient.connect(&RedisServer::shared().url()).await.expect("a store on Redis")
}

/// A store on `server`, with the settings that a user gets.
pub(crate) async fn store_on(server: &RedisServer) -> Store {
    Store::connect(&server.url()).await.expect("a store on Redis")
}

/// A store whose Redis has stopped.
pub(crate) async fn away() -> Store {
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    server.stop();
    store
}

/// A word in lower case that begins with `name`, and that this process has not made before.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (mut number, mut word) = (NEXT.fetch_add(1, Ordering::Relaxed), format!("{name}-"));
    loop {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return word;
        }
    }
}

/// Asks until the answer is yes, for ten seconds at most.
#[track_caller]
pub(crate) fn eventually(what: &str, yes: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    within(Duration::from_secs(10), what, yes)
}

/// Asks until the answer is yes.
///
/// # Panics
/// When it is still no after `limit`.
#[track_caller]
pub(crate) fn within(
    limit: Duration,
    what: &str,
    yes: impl AsyncFn() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let asking = async {
            while !yes().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let asked = tokio::time::timeout(limit, asking).await;
        assert!(asked.is_ok(), "not within {limit:?}: {what} ({caller})");
    }
}

/// How often something happened. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A `GET` without a field.
pub(crate) fn get(uri: &str) -> Request<Body> {
    request("GET", uri, &[])
}

pub(crate) fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

/// All four layers around these routes, each of which makes keys of what the client sent: a limit of
/// the query and one of `x-api-key`.
pub(crate) fn behind_all_layers(
    routes: Router,
    store: Store,
    verify: fn(&str) -> Result<(Token, ()), InvalidToken>,
) -> Router {
    let by_query = |head: &Parts| head.uri.query().map(str::to_owned);
    routes
        .layer(CacheLayer::new())
        .layer(SessionLayer::new())
        .layer(RevocationLayer::new(verify).optional())
        .layer(RateLimitLayer::new("query", Quota::per_day(10_000), by_query))
        .layer(RateLimitLayer::new("key", Quota::per_day(10_000), Header::new("x-api-key")))
        .layer(StoreLayer::new(store))
}

/// Sends one request to a service that cannot fail.
pub(crate) async fn send<S, ResBody>(service: &S, request: Request<Body>) -> http::Response<ResBody>
where
    S: Service<Request<Body>, Response = http::Response<ResBody>, Error = Infallible> + Clone,
{
    match service.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The values of a field, in order.
pub(crate) fn fields<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let text = |value: &'a http::HeaderValue| value.to_str().expect("a value in ASCII");
    headers.get_all(name).iter().map(text).collect()
}

/// The only value of a field.
///
/// # Panics
/// When it has none or several.
#[track_caller]
pub(crate) fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    match fields(headers, name)[..] {
        [value] => value,
        ref values => panic!("{name} has {} values: {values:?}", values.len()),
    }
}

/// The whole body as text.
pub(crate) async fn text<B>(response: http::Response<B>) -> String
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    use http_body_util::BodyExt;
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.into()).expect("a body in UTF-8")
}

/// The reason that a refusal carries.
#[track_caller]
pub(crate) fn reason<T: Clone + Send + Sync + 'static, B>(response: &http::Response<B>) -> T {
    match response.extensions().get::<T>() {
        Some(reason) => reason.clone(),
        None => panic!("a {} without a {}", response.status(), std::any::type_name::<T>()),
    }
}

/// The outcome of a layer whose store cannot answer: 503, and when to come back.
#[track_caller]
pub(crate) fn assert_unavailable<B>(response: &http::Response<B>) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(response.headers(), "retry-after"), "1");
    let _: tower_redis_kit::StoreError = reason(response);
}

/// A server on a free port, until it is dropped.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// Runs what `serve` makes of a listener.
    #[expect(clippy::disallowed_methods, reason = "a server runs beside its test")]
    pub(crate) async fn by<F>(serve: impl FnOnce(tokio::net::TcpListener) -> F) -> Served
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        Served { addr, task: tokio::spawn(serve(listener)) }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP client that keeps its connections.
pub(crate) type HttpClient =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Body>;

pub(crate) fn http_client() -> HttpClient {
    let executor = hyper_util::rt::TokioExecutor::new();
    hyper_util::client::legacy::Client::builder(executor).build_http()
}
