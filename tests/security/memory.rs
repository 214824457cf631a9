//! Memory has an end, however many strangers come.

use std::fs;
use std::ops::Range;

use axum::Router;
use axum::body::Body;
use http::Response;
use http::header::CACHE_CONTROL;
use tokio::task::JoinSet;
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{Session, SessionLayer};
use tower_redis_kit::{Store, StoreLayer};

use crate::MINUTE;
use crate::common::{field, get, request, send, text};

/// Everything that a stranger can make the store in process keep, by two callers side by side. One
/// in so many asks for a session: each is a new one, whoever asks.
async fn assert_memory_has_an_end(identities: u32, one_in: u32) {
    const CAPACITY: usize = 1 << 20;
    const CALLERS: u32 = 2;
    let store = Store::builder().memory_capacity(CAPACITY).memory();
    let before = resident();
    let mut callers = JoinSet::new();
    let each = identities / CALLERS;
    for caller in 0..CALLERS {
        callers.spawn(be_strangers(store.clone(), caller * each..(caller + 1) * each, one_in));
    }
    let (mut begun, mut refused) = (0, 0);
    while let Some(told) = callers.join_next().await {
        let (with_session, without) = told.expect("each is answered");
        begun += with_session;
        refused += without;
    }
    assert_eq!(begun + refused, identities / one_in);
    assert!(begun > 500 && refused > begun, "{begun} sessions, {refused} refused");
    let used = store.info().await.unwrap().memory.used.unwrap().0;
    assert!(used <= CAPACITY as u64, "{used} bytes");
    let grown = resident().saturating_sub(before);
    println!("{identities} identities: {used} bytes by its own count, {grown} by the system's");
    assert!(grown < 24 << 20, "{grown} bytes more than before");
}

/// How many were given a session, and how many were not.
async fn be_strangers(store: Store, numbers: Range<u32>, one_in: u32) -> (u32, u32) {
    let limit = RateLimitLayer::new("api", Quota::per_day(10), Header::new("x-api-key"));
    let insert = async |session: Session| session.insert("a", 1).await;
    let limited = Router::new()
        .fallback(async || [(CACHE_CONTROL, "max-age=60")])
        .layer(CacheLayer::new())
        .layer(limit)
        .layer(StoreLayer::new(store.clone()));
    let sessions = Router::new()
        .fallback(insert)
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store.clone()));
    let values = store.values("v");
    let (mut begun, mut refused) = (0, 0);
    for number in numbers {
        if number % 50_000 == 0 {
            println!("strangers: {number}");
        }
        let name = format!("{number:x}");
        values.set(&name, &name, MINUTE).await.expect("stored");
        let response: Response<Body> =
            send(&limited, request("GET", &format!("/{name}"), &[("x-api-key", &name)])).await;
        assert_eq!(response.status(), 200);
        assert!(field(response.headers(), "ratelimit").contains("r=9"));
        text(response).await;
        if number % one_in != 0 {
            continue;
        }
        let response: Response<Body> = send(&sessions, get("/")).await;
        match response.status().as_u16() {
            200 => begun += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    (begun, refused)
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.expect("Linux says it") * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_leave_memory_under_its_cap() {
    if is_alone("memory::strangers_leave_memory_under_its_cap") {
        assert_memory_has_an_end(8_000, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/test --long"]
async fn a_million_strangers_leave_memory_under_its_cap() {
    if is_alone("memory::a_million_strangers_leave_memory_under_its_cap") {
        assert_memory_has_an_end(1_000_000, 4).await;
    }
}

/// Whether this process runs one test alone. If not, such a process runs it: what the system says of
/// a process's memory is about all of its tests.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "TOWER_REDIS_KIT_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(ALONE, "1")
        .status();
    assert!(run.unwrap().success(), "it failed in a process of its own");
    false
}
