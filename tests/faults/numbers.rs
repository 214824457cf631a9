//! How soon a refusal comes, and how much memory waiting takes.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use support::RedisServer;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_redis_kit::rate_limit::{Fallback, Header, Quota, RateLimitLayer};
use tower_redis_kit::token::{InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreError};

use crate::columns::token_of;
use crate::common::{request, within};
use crate::stands::median;
use crate::{alone, runtime};

const REFUSAL: Duration = Duration::from_micros(10);
const SLICES: usize = 21;
const REFUSALS: usize = 101;

/// The median of many, each by itself, in the quietest of some slices: a machine's other work only
/// ever adds.
async fn median_of<F: Future>(mut call: impl FnMut() -> F) -> Duration {
    let mut quietest = Duration::MAX;
    for _ in 0..SLICES {
        let mut times = Vec::with_capacity(REFUSALS);
        for _ in 0..REFUSALS {
            // What the caller makes first is not the refusal's.
            let call = call();
            let began = Instant::now();
            call.await;
            times.push(began.elapsed());
        }
        quietest = quietest.min(median(times.into_iter()));
    }
    quietest
}

async fn inner(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::default())
}

fn with_token() -> Request<Body> {
    request("GET", "/", &[("authorization", "Bearer t"), ("x-api-key", "k")])
}

#[test]
fn with_the_breaker_open_a_refusal_comes_within_ten_microseconds() {
    let _alone = alone();
    runtime().block_on(async {
        let mut server = RedisServer::start();
        let store = Store::connect(&server.url()).await.expect("a store");
        server.stop();
        let down = async || !store.health().is_up();
        within(Duration::from_secs(3), "the breaker is open", down).await;

        let token = token_of("t");
        let call = median_of(|| store.is_revoked(token)).await;

        let limit = RateLimitLayer::new("api", Quota::per_day(9), Header::new("x-api-key"))
            .fallback(Fallback::Refuse)
            .with_store(store.clone())
            .layer(service_fn(inner));
        let verify = move |_: &str| Ok::<(Token, ()), InvalidToken>((token, ()));
        let check = RevocationLayer::new(verify).with_store(store.clone());
        let check = check.layer(service_fn(inner));
        let limited = median_of(|| refused(limit.clone(), with_token())).await;
        let checked = median_of(|| refused(check.clone(), with_token())).await;
        println!("a call {call:?}, a limit {limited:?}, a token {checked:?}");
        // Without optimization all takes several times as long, and a layer more than the store's
        // part.
        let [of_call, of_layer] = if cfg!(debug_assertions) { [3, 10] } else { [1, 1] };
        assert!(call < of_call * REFUSAL, "{call:?}");
        assert!(limited.max(checked) < of_layer * REFUSAL, "{limited:?}, {checked:?}");
    });
}

async fn refused<S, B>(service: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    let Ok(response) = service.oneshot(request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

const WAITING: usize = 50_000;
const MOST_IN_FLIGHT: usize = 4_096;

/// What 50,000 requests, each a task with its request and response, may take at their most.
const GROWTH: usize = 256 << 20;

/// Those beyond the limit are shed in about the time that a refusal takes: the median of all.
const SHED: Duration = Duration::from_millis(1);

#[test]
fn fifty_thousand_requests_to_a_redis_that_hangs_take_bounded_memory() {
    let _alone = alone();
    runtime().block_on(async {
        let server = RedisServer::start();
        let store = Store::builder().deadline(Duration::from_secs(1));
        let store = store.connect(&server.url()).await.expect("a store");
        let limit = RateLimitLayer::new("api", Quota::per_day(9), Header::new("x-api-key"))
            .fallback(Fallback::Refuse)
            .with_store(store.clone())
            .layer(service_fn(inner));
        server.pause();
        let (before, began) = (resident(), Instant::now());
        let (waiting, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..WAITING {
            let (limit, waiting, answered) = (limit.clone(), waiting.clone(), answered.clone());
            tasks.spawn(async move {
                let began = Instant::now();
                waiting.fetch_add(1, Ordering::Relaxed);
                let Ok(response) = limit.oneshot(with_token()).await;
                waiting.fetch_sub(1, Ordering::Relaxed);
                answered.fetch_add(1, Ordering::Relaxed);
                (response.extensions().get::<StoreError>().cloned(), began.elapsed())
            });
        }
        let (mut growth, mut most) = (0, 0);
        while answered.load(Ordering::Relaxed) < WAITING {
            growth = growth.max(resident().saturating_sub(before));
            most = most.max(waiting.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (answers, took) = (tasks.join_all().await, began.elapsed());
        let answers: Vec<_> = answers.into_iter().map(|(why, took)| (why.unwrap(), took)).collect();
        let of = |is: fn(&StoreError) -> bool| -> Vec<Duration> {
            answers.iter().filter(|(why, _)| is(why)).map(|(_, took)| *took).collect()
        };
        let (shed, late) = (of(StoreError::is_overloaded), of(StoreError::is_timeout));
        let (number, lost) = (shed.len(), of(StoreError::is_unavailable).len());
        let shed = median(shed.into_iter());
        println!(
            "{} MiB more for {most} waiting at once; {number} shed in {shed:?}, {} late, {lost} with \
             the breaker open; {took:?}",
            growth >> 20,
            late.len(),
        );
        assert_eq!(number + late.len() + lost, WAITING);
        // On each of the threads one more may be about to be shed.
        assert!(most <= MOST_IN_FLIGHT + 3, "{most} waited");
        assert!(number > 0 && shed < SHED, "{number} in {shed:?}");
        assert!(growth < GROWTH, "{growth} bytes");
        server.resume();
        let up = async || store.health().is_up();
        within(Duration::from_secs(5), "it is up again", up).await;
    });
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().expect("a number") * 1024
}
