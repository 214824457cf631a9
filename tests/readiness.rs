//! The layers keep tower's contract: who is called was ready before, and only once for each time.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use common::{field, on_every_store, request, text};
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower::layer::util::{Identity, Stack};
use tower::limit::ConcurrencyLimit;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{ConcurrencyLimitLayer, Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{SessionField, SessionLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};
use tower_test::mock::{self, Mock};

on_every_store! {
    a_layer_is_ready_when_its_inner_service_is,
    an_error_of_readiness_passes_through,
    the_service_that_was_ready_is_the_one_called,
    a_service_is_ready_again_after_each_call,
    max_in_flight_at_once_are_each_ready,
    all_layers_together_call_who_was_ready,
    a_limited_inner_service_is_never_overrun,
    a_refusal_gives_the_place_back,
    a_refusing_service_that_is_kept_holds_no_place,
}

type InnerMock = Mock<Request<Body>, Response<Body>>;

/// Runs a check with each layer.
macro_rules! with_each_layer {
    ($check:ident, $store:ident) => {
        $check("StoreLayer", StoreLayer::new($store.clone())).await;
        $check("RateLimitLayer", limit(1000).with_store($store.clone())).await;
        $check("RateLimitLayer, of a user", limit_of_users($store.clone())).await;
        let at_once = ConcurrencyLimitLayer::new("api", 1000, Header::new("x-api-key"));
        $check("ConcurrencyLimitLayer", at_once.with_store($store.clone())).await;
        $check("SessionLayer", SessionLayer::new().with_store($store.clone())).await;
        $check("RevocationLayer", RevocationLayer::new(verify).with_store($store.clone())).await;
        $check("CacheLayer", CacheLayer::new().with_store($store)).await;
    };
}

fn limit(quota: u32) -> RateLimitLayer {
    RateLimitLayer::new("api", Quota::per_hour(quota), Header::new("x-api-key"))
}

/// A limit that waits for its key.
fn limit_of_users(
    store: Store,
) -> ServiceBuilder<Stack<RateLimitLayer, Stack<SessionLayer, Identity>>> {
    let limit = RateLimitLayer::new("user", Quota::per_hour(1000), SessionField::new("user"));
    ServiceBuilder::new()
        .layer(SessionLayer::new().with_store(store.clone()))
        .layer(limit.with_store(store))
}

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    Ok((Token::new(token, SystemTime::now() + Duration::from_secs(60)), ()))
}

/// A request for which every layer asks the store.
fn asking() -> Request<Body> {
    let cookie = format!("__Host-session={}", "A".repeat(43));
    let fields = [("x-api-key", "k"), ("authorization", "Bearer t"), ("cookie", &*cookie)];
    request("GET", "/", &fields)
}

/// A layer's service in front of a mock.
trait Layered<B>: Service<Request<Body>, Response = Response<B>, Error = BoxError> {}

impl<S, B> Layered<B> for S where S: Service<Request<Body>, Response = Response<B>, Error = BoxError>
{}

async fn a_layer_is_ready_when_its_inner_service_is(store: Store) {
    async fn check<L, B>(name: &str, layer: L)
    where
        L: Layer<InnerMock, Service: Layered<B>>,
    {
        let (mut service, mut handle) = mock::spawn_layer::<_, _, L>(layer);
        handle.allow(0);
        assert!(service.poll_ready().is_pending(), "{name}");
        assert!(!service.is_woken(), "{name}");
        handle.allow(1);
        assert!(service.is_woken(), "{name}");
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))), "{name}");
    }
    with_each_layer!(check, store);
}

async fn an_error_of_readiness_passes_through(store: Store) {
    async fn check<L, B>(name: &str, layer: L)
    where
        L: Layer<InnerMock, Service: Layered<B>>,
    {
        let (mut service, mut handle) = mock::spawn_layer::<_, _, L>(layer);
        handle.send_error("it is broken");
        match service.poll_ready() {
            Poll::Ready(Err(error)) => assert_eq!(error.to_string(), "it is broken", "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    with_each_layer!(check, store);
}

/// Answers one request that reaches the mock.
async fn answer(handle: &mut mock::Handle<Request<Body>, Response<Body>>) {
    let (_, respond) = handle.next_request().await.expect("a request");
    respond.send_response(Response::new(Body::from("answer")));
}

async fn the_service_that_was_ready_is_the_one_called(store: Store) {
    async fn check<L, B>(name: &str, layer: L)
    where
        L: Layer<InnerMock, Service: Layered<B>>,
        B: http_body::Body<Error: Debug>,
    {
        let (mut service, mut handle) = mock::spawn_layer::<_, _, L>(layer);
        handle.allow(1);
        assert!(service.poll_ready().is_ready(), "{name}");
        // The mock panics when it is called without having been ready, or as a clone of one that
        // was.
        let (response, ()) = tokio::join!(service.call(asking()), answer(&mut handle));
        assert_eq!(text(response.expect("a response")).await, "answer", "{name}");
        assert!(service.poll_ready().is_pending(), "{name}: one was allowed, and it is used up");
    }
    with_each_layer!(check, store);
}

async fn a_service_is_ready_again_after_each_call(store: Store) {
    async fn check<L, B>(name: &str, layer: L)
    where
        L: Layer<InnerMock, Service: Layered<B>>,
        B: http_body::Body<Error: Debug>,
    {
        let (mut service, mut handle) = mock::spawn_layer::<_, _, L>(layer);
        for _ in 0..3 {
            assert!(service.poll_ready().is_ready(), "{name}");
            let (response, ()) = tokio::join!(service.call(asking()), answer(&mut handle));
            drop(response.expect("a response"));
        }
    }
    with_each_layer!(check, store);
}

async fn max_in_flight_at_once_are_each_ready(store: Store) {
    async fn check<L, B>(name: &str, layer: L)
    where
        L: Layer<InnerMock, Service: Layered<B>>,
    {
        let (mut service, mut handle) = mock::spawn_layer::<_, _, L>(layer);
        assert!(service.poll_ready().is_ready(), "{name}");
        let first = service.call(asking());
        assert!(service.poll_ready().is_ready(), "{name}");
        let second = service.call(asking());
        let answers = async {
            answer(&mut handle).await;
            answer(&mut handle).await;
        };
        let (first, second, ()) = tokio::join!(first, second, answers);
        assert!(first.is_ok() && second.is_ok(), "{name}");
    }
    with_each_layer!(check, store);
}

async fn all_layers_together_call_who_was_ready(store: Store) {
    let layers = ServiceBuilder::new()
        .layer(StoreLayer::new(store))
        .layer(limit(1000))
        .layer(RevocationLayer::new(verify))
        .layer(SessionLayer::new())
        .layer(CacheLayer::new());
    let (mut service, mut handle) = mock::spawn_layer::<_, _, _>(layers);
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let (response, ()) = tokio::join!(service.call(asking()), answer(&mut handle));
    assert_eq!(text(response.expect("a response")).await, "answer");
}

/// An inner service that panics when more calls are under way than it was ready for: each clone has
/// to be ready by itself.
#[derive(Clone)]
struct OneByOne {
    inside: Arc<AtomicUsize>,
}

impl OneByOne {
    fn new() -> ConcurrencyLimit<OneByOne> {
        ConcurrencyLimit::new(OneByOne { inside: Arc::default() }, 1)
    }
}

impl Service<Request<Body>> for OneByOne {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send + 'static>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let inside = self.inside.clone();
        Box::pin(async move {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "another call is under way");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(Response::new(Body::empty()))
        })
    }
}

async fn a_limited_inner_service_is_never_overrun(store: Store) {
    async fn check<L, S, B>(name: &str, layer: L)
    where
        L: Layer<ConcurrencyLimit<OneByOne>, Service = S>,
        S: Layered<B> + Clone + Send + 'static,
        S::Future: Send,
        B: Send + 'static,
    {
        let service = layer.layer(OneByOne::new());
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            calls.spawn(service.clone().oneshot(asking()));
        }
        for response in calls.join_all().await {
            assert_eq!(response.expect("a response").status(), StatusCode::OK, "{name}");
        }
    }
    with_each_layer!(check, store);
}

async fn a_refusal_gives_the_place_back(store: Store) {
    // The limit answers by itself every time but the first, the cache every time but the first.
    let limited = limit(1).with_store(store.clone()).layer(OneByOne::new());
    let fresh = ServiceBuilder::new()
        .layer(CacheLayer::new().with_store(store))
        .map_response(|mut response: Response<Body>| {
            let fresh = http::HeaderValue::from_static("public, max-age=60");
            response.headers_mut().insert("cache-control", fresh);
            response
        })
        .service(OneByOne::new());
    for status in [200, 429, 429] {
        let response = limited.clone().oneshot(asking()).await.expect("a response");
        assert_eq!(response.status(), status);
    }
    for (number, hit) in [(1, false), (2, true), (3, true)] {
        let response = fresh.clone().oneshot(asking()).await.expect("a response");
        let status = field(response.headers(), "cache-status").to_owned();
        assert_eq!(status.contains("hit"), hit, "{number}: {status}");
    }
}

async fn a_refusing_service_that_is_kept_holds_no_place(store: Store) {
    let limited = ConcurrencyLimit::new(OneByOne::new(), 1);
    let mut kept = RevocationLayer::new(verify).with_store(store).layer(limited.clone());
    let kept = kept.ready().await.expect("ready");
    let response = kept.call(request("GET", "/", &[])).await.expect("a response");
    assert_eq!(response.status(), 401);
    let mut other = limited;
    let other = tokio::time::timeout(Duration::from_secs(2), other.ready()).await;
    other.expect("a place").expect("ready");
}

/// What the tests above rest on.
#[tokio::test]
#[should_panic(expected = "service not ready; poll_ready must be called first")]
async fn the_mock_panics_when_a_clone_of_a_ready_service_is_called() {
    let (mut service, _handle) = mock::spawn_with(|inner: InnerMock| {
        let calling = service_fn(move |request| inner.clone().call(request));
        calling.map_err(BoxError::from)
    });
    assert!(service.poll_ready().is_ready());
    let _ = service.call(asking()).await;
}

#[tokio::test]
#[should_panic(expected = "poll_ready must be called first")]
async fn the_limited_service_panics_when_a_clone_of_a_ready_service_is_called() {
    let mut service = OneByOne::new();
    service.ready().await.expect("it is ready");
    let _ = service.clone().call(asking()).await;
}
