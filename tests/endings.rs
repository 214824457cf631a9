//! What ends where nobody expects it: on a thread without a runtime, in a runtime that is not the
//! store's or has ended, and while a panic unwinds.

mod common;

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use common::{Served, eventually, http_client, on_every_store, redis, request, send, text, unique};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use support::{Proxy, RedisServer};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tower_redis_kit::rate_limit::{
    ConcurrencyLimitLayer, Finished, Header, Limit, Quota, RateLimitLayer,
};
use tower_redis_kit::{Store, StoreLayer};

on_every_store! {
    what_is_dropped_on_another_thread_is_settled_and_given_back,
    one_caller_after_the_other_is_never_too_many,
}

const OK: StatusCode = StatusCode::OK;

fn quota() -> Quota {
    Quota::per_day(100).fixed_window()
}

/// Reserves 30 and turns out to have cost 1, and one at a time.
fn app(store: &Store, lease: Duration) -> Router {
    let limit = Limit::new("settled", quota(), Header::new("x-api-key")).cost(30).settle(|_| 1);
    let one = ConcurrencyLimitLayer::new("one", 1, Header::new("x-api-key")).lease(lease);
    let endless = async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    Router::new()
        .route("/", get(async || "done"))
        .route("/endless", get(endless))
        .layer(RateLimitLayer::all(limit))
        .layer(one)
        .layer(StoreLayer::new(store.clone()))
}

async fn ask(app: &Router, path: &str, key: &str) -> Response<Body> {
    send(app, request("GET", path, &[("x-api-key", key)])).await
}

/// So long that a permit which is not given back is not free in a test's time.
const LONG: Duration = Duration::from_secs(600);

async fn left(store: &Store) -> u64 {
    store.limiter("settled", quota()).peek("k").await.unwrap().remaining()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A body that needs no runtime is read to its end.
fn read_without_tokio(response: Response<Body>) {
    let body = futures_util::FutureExt::now_or_never(response.into_body().collect());
    body.expect("it is all there").unwrap();
}

async fn what_is_dropped_on_another_thread_is_settled_and_given_back(store: Store) {
    let app = app(&store, LONG);
    let response = ask(&app, "/", "k").await;
    assert_eq!((response.status(), left(&store).await), (OK, 70));
    thread::spawn(move || read_without_tokio(response)).join().unwrap();
    eventually("it is settled", async || left(&store).await == 99).await;
    let response = ask(&app, "/endless", "k").await;
    assert_eq!(response.status(), OK, "the first permit is back");
    thread::spawn(move || drop(response)).join().unwrap();
    eventually("the second is", async || ask(&app, "/", "k").await.status() == OK).await;
}

/// A release that is sent later than the next claim would be a refusal.
async fn one_caller_after_the_other_is_never_too_many(store: Store) {
    let app = app(&store, LONG);
    let served = Served::by(|listener| async { axum::serve(listener, app).await.unwrap() }).await;
    let client = http_client();
    for at in 0..60 {
        let request = Request::get(served.uri("/")).header("x-api-key", "k");
        let response = client.request(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), OK, "request {at}");
        response.into_body().collect().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_after_the_other_is_never_too_many_on_a_slow_network() {
    let proxy = Proxy::to(RedisServer::shared().addr());
    proxy.set_delay(Duration::from_millis(2));
    let store = Store::builder().prefix(&unique("slow")).deadline(Duration::from_secs(5));
    let store = store.connect(&proxy.url()).await.unwrap();
    one_caller_after_the_other_is_never_too_many(store).await;
}

/// One runtime for each core, or for one job, beside the store's.
#[test]
fn a_request_may_be_in_a_runtime_that_ends_before_the_stores() {
    let (stores, requests) = (runtime(), runtime());
    let store = stores.block_on(redis());
    let app = app(&store, LONG);
    requests.block_on(async { assert_eq!(text(ask(&app, "/", "k").await).await, "done") });
    drop(requests);
    stores.block_on(async {
        eventually("it is settled", async || left(&store).await == 99).await;
        eventually("the permit is back", async || ask(&app, "/", "k").await.status() == OK).await;
    });
}

#[test]
fn permits_and_locks_are_renewed_in_the_stores_runtime() {
    const LEASE: Duration = Duration::from_millis(900);
    let (stores, requests) = (runtime(), runtime());
    let store = stores.block_on(redis());
    let app = app(&store, LEASE);
    // The first of them starts the task that renews.
    let (first, lease) = requests.block_on(async {
        let lock = store.lock("report").ttl(LEASE);
        (ask(&app, "/endless", "other").await, lock.try_acquire().await.unwrap().unwrap())
    });
    stores.block_on(async {
        let held = ask(&app, "/endless", "k").await;
        assert_eq!((first.status(), held.status()), (OK, OK));
        // A runtime may not be dropped where another one works.
        requests.shutdown_background();
        sleep(LEASE * 2).await;
        assert_eq!(ask(&app, "/", "k").await.status(), 429, "it is held still");
        assert!(lease.is_held() && store.lock("report").try_acquire().await.unwrap().is_none());
        thread::spawn(move || drop((held, lease))).join().unwrap();
        eventually("both are free", async || {
            ask(&app, "/", "k").await.status() == OK
                && store.lock("report").try_acquire().await.unwrap().is_some()
        })
        .await;
    });
}

/// Nothing can be given back then: it must do no harm either.
#[test]
fn a_store_whose_runtime_has_ended_harms_nobody() {
    for is_running in [false, true] {
        let (stores, others) = (runtime(), runtime());
        let (store, held) = stores.block_on(async {
            let store = redis().await;
            let app = app(&store, LONG);
            let held = [ask(&app, "/endless", "a").await, ask(&app, "/endless", "b").await];
            (store, held)
        });
        drop(stores);
        let [first, second] = held;
        thread::spawn(move || drop(first)).join().expect("no panic");
        others.block_on(async {
            if is_running {
                drop(second);
            }
            let limiter = store.limiter("after", quota());
            let taken = timeout(Duration::from_secs(20), limiter.take("k")).await;
            let taken = taken.expect("no hang");
            assert!(taken.is_ok_and(|taken| taken.is_allowed()), "it goes on by itself");
        });
    }
}

/// What a closure of the application does wrong costs neither the response nor, where the body has
/// panicked before, the process; other limits are settled.
#[test]
fn a_panic_of_what_settles_leaves_what_was_reserved_charged() {
    let runtime = runtime();
    let store = Store::memory();
    let by_key = |name| Limit::new(name, quota(), Header::new("x-api-key")).cost(10);
    let layer = RateLimitLayer::all([
        by_key("wrong").settle(|done: &Finished| done.charged().expect("the handler has said")),
        by_key("right").settle(|_| 1),
    ]);
    let app = Router::new().route("/", get(async || "done")).layer(layer);
    let app = app.layer(StoreLayer::new(store.clone()));
    let left = |name| {
        let limiter = store.limiter(name, quota());
        runtime.block_on(async { limiter.peek("k").await.unwrap().remaining() })
    };
    runtime.block_on(async { assert_eq!(text(ask(&app, "/", "k").await).await, "done") });
    assert_eq!((left("wrong"), left("right")), (90, 99));

    let response = runtime.block_on(ask(&app, "/", "k"));
    let unwinding = catch_unwind(AssertUnwindSafe(move || {
        let _response = response;
        resume_unwind(Box::new("in the body"));
    }));
    assert!(unwinding.is_err());
    assert_eq!(left("wrong"), 80);
}
