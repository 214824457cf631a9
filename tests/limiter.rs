//! Limits in code, as handlers and administrators use them.

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use common::{away, field, memory, on_every_store, redis_under, request, send, store_on, text};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http::StatusCode;
use support::RedisServer;
use tokio::task::JoinSet;
use tower_redis_kit::rate_limit::{
    Fallback, Header, Key, Limit, Limited, Limiter, PeerIp, Quota, RateLimitLayer, Violation,
};
use tower_redis_kit::{Store, StoreLayer};

on_every_store! {
    it_takes_what_is_there_and_no_more,
    a_peek_takes_nothing,
    what_is_given_back_can_be_taken_again,
    a_penalty_is_taken_whether_it_is_there_or_not,
    who_is_blocked_waits_for_the_block_to_end,
    a_lockout_grows_and_nobody_pushes_its_end_out,
    a_reset_forgets_everything,
    code_and_layers_count_together,
    an_administrator_shuts_and_opens_what_a_layer_limits,
    a_hundred_at_once_take_exactly_what_is_there,
    what_costs_more_than_there_ever_is_says_so,
    of_several_limits_all_are_charged_or_none,
    what_is_taken_twice_from_one_limit_is_taken_at_once,
    who_waits_gets_a_turn_in_the_order_of_coming,
    who_would_wait_for_too_long_is_told_at_once,
    who_leaves_a_line_takes_nothing_and_holds_nobody_up,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// Each way to count, with a limit of `limit` that does not come back while a test runs.
fn each(limit: u32) -> [(&'static str, Quota); 7] {
    [
        ("gcra", Quota::per_day(limit)),
        ("guaranteed", Quota::per_day(limit * 2).burst(limit).guaranteed()),
        ("fixed", Quota::per_day(limit).fixed_window()),
        ("aligned", Quota::new(limit, Duration::from_secs(1 << 28)).aligned_window()),
        ("sliding", Quota::new(limit, Duration::from_secs(1 << 28)).sliding_window()),
        ("log", Quota::per_day(limit).sliding_log()),
        ("lockout", Quota::per_day(limit).lockout([DAY])),
    ]
}

async fn it_takes_what_is_there_and_no_more(store: Store) {
    for (name, quota) in each(3) {
        let limiter = store.limiter(name, quota);
        for left in [2, 1, 0] {
            let taken = limiter.take("ada").await.unwrap();
            assert!(taken.is_allowed() && taken.remaining() == left, "{name}: {taken:?}");
            assert_eq!(taken.retry_after(), Some(Duration::ZERO));
        }
        let refused = limiter.take("ada").await.unwrap();
        assert!(!refused.is_allowed(), "{name}: {refused:?}");
        let wait = refused.retry_after().expect("waiting helps");
        assert!(wait > Duration::ZERO && wait <= refused.reset_after(), "{name}: {refused:?}");
        assert!(limiter.take("grace").await.unwrap().is_allowed(), "{name}: somebody else");
    }
}

async fn a_peek_takes_nothing(store: Store) {
    for (name, quota) in each(2) {
        let limiter = store.limiter(name, quota);
        for _ in 0..5 {
            let peeked = limiter.peek("ada").await.unwrap();
            assert!(peeked.is_allowed() && peeked.remaining() == 2, "{name}: {peeked:?}");
            assert!(limiter.peek_n("ada", 2).await.unwrap().is_allowed(), "{name}");
            assert!(!limiter.peek_n("ada", 3).await.unwrap().is_allowed(), "{name}");
        }
        assert!(limiter.take_n("ada", 2).await.unwrap().is_allowed(), "{name}");
        assert!(!limiter.peek("ada").await.unwrap().is_allowed(), "{name}");
    }
}

async fn what_is_given_back_can_be_taken_again(store: Store) {
    for (name, quota) in each(4) {
        // A lockout that has begun stays: that is what it is for.
        let take = if name == "lockout" { 3 } else { 4 };
        let limiter = store.limiter(name, quota);
        assert!(limiter.take_n("ada", take).await.unwrap().is_allowed(), "{name}");
        assert_eq!(limiter.refund("ada", 2).await.unwrap(), u64::from(6 - take), "{name}");
        assert!(limiter.take_n("ada", 2).await.unwrap().is_allowed(), "{name}");
        // Never more than there ever is.
        assert_eq!(limiter.refund("ada", 1_000).await.unwrap(), 4, "{name}");
        assert_eq!(limiter.refund("nobody", 1).await.unwrap(), 4, "{name}");
    }
}

async fn a_penalty_is_taken_whether_it_is_there_or_not(store: Store) {
    for (name, quota) in each(5) {
        let limiter = store.limiter(name, quota);
        assert_eq!(limiter.penalty("ada", 2).await.unwrap(), 3, "{name}");
        assert_eq!(limiter.penalty("ada", 100).await.unwrap(), 0, "{name}");
        assert!(!limiter.take("ada").await.unwrap().is_allowed(), "{name}");
    }
}

async fn who_is_blocked_waits_for_the_block_to_end(store: Store) {
    for (name, quota) in each(5) {
        let limiter = store.limiter(name, quota);
        limiter.block("ada", minutes(10)).await.unwrap();
        let refused = limiter.take("ada").await.unwrap();
        assert!(refused.is_blocked() && !refused.is_allowed(), "{name}: {refused:?}");
        let wait = refused.retry_after().unwrap();
        assert!(wait <= minutes(10) && wait > minutes(9), "{name}: {wait:?}");
        assert!(limiter.take("grace").await.unwrap().is_allowed(), "{name}: nobody else");
        assert!(limiter.unblock("ada").await.unwrap(), "{name}");
        assert!(!limiter.unblock("ada").await.unwrap(), "{name}: it is open");
        assert!(limiter.take("ada").await.unwrap().is_allowed(), "{name}");

        limiter.block("ada", Duration::from_millis(400)).await.unwrap();
        assert!(!limiter.take("ada").await.unwrap().is_allowed(), "{name}");
        tokio::time::sleep(Duration::from_millis(410)).await;
        assert!(limiter.take("ada").await.unwrap().is_allowed(), "{name}: it has ended");
        // However long: no overflow.
        limiter.block("ada", Duration::MAX).await.unwrap();
        let refused = limiter.take("ada").await.unwrap();
        assert!(refused.is_blocked(), "{name}");
        let years = refused.retry_after().unwrap().as_secs() / (365 * 24 * 60 * 60);
        assert_eq!(years, 35, "{name}");
    }
}

async fn a_lockout_grows_and_nobody_pushes_its_end_out(store: Store) {
    let quota = Quota::per_day(2).lockout([minutes(1), minutes(5), minutes(30)]);
    let limiter = store.limiter("log-in", quota);
    for longest in [1, 5, 30, 30] {
        assert!(limiter.take("ada").await.unwrap().is_allowed());
        assert!(limiter.take("ada").await.unwrap().is_allowed());
        let first = limiter.take("ada").await.unwrap();
        assert!(first.is_blocked(), "{first:?}");
        let mut wait = first.retry_after().unwrap();
        assert!(
            wait <= minutes(longest) && wait > minutes(longest) - Duration::from_secs(30),
            "{wait:?}"
        );
        for _ in 0..20 {
            let again = limiter.take_n("ada", 1).await.unwrap().retry_after().unwrap();
            assert!(again <= wait, "{again:?} after {wait:?}");
            wait = again;
        }
        assert!(limiter.unblock("ada").await.unwrap());
    }
    assert!(limiter.reset("ada").await.unwrap());
    assert!(limiter.take_n("ada", 2).await.unwrap().is_allowed());
    let wait = limiter.take("ada").await.unwrap().retry_after().unwrap();
    assert!(wait <= minutes(1), "a reset begins anew: {wait:?}");
}

async fn a_reset_forgets_everything(store: Store) {
    for (name, quota) in each(2) {
        let limiter = store.limiter(name, quota);
        assert!(!limiter.reset("ada").await.unwrap(), "{name}: there was nothing");
        assert!(limiter.take_n("ada", 0).await.unwrap().is_allowed(), "{name}");
        limiter.penalty("ada", 0).await.unwrap();
        limiter.refund("ada", 1).await.unwrap();
        assert!(!limiter.reset("ada").await.unwrap(), "{name}: nothing was counted");
        assert!(limiter.take("ada").await.unwrap().is_allowed(), "{name}");
        limiter.refund("ada", 1).await.unwrap();
        assert!(!limiter.reset("ada").await.unwrap(), "{name}: all was given back");
        assert!(limiter.take_n("ada", 2).await.unwrap().is_allowed(), "{name}");
        assert!(limiter.reset("ada").await.unwrap(), "{name}");
        assert_eq!(limiter.peek("ada").await.unwrap().remaining(), 2, "{name}");
        limiter.block("ada", DAY).await.unwrap();
        assert!(limiter.reset("ada").await.unwrap(), "{name}");
        assert!(limiter.take("ada").await.unwrap().is_allowed(), "{name}");
    }
}

fn app(limit: Limit, store: Store) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(RateLimitLayer::all(limit))
        .layer(StoreLayer::new(store))
}

async fn status(app: &Router, key: &str) -> u16 {
    send(app, request("GET", "/", &[("x-api-key", key)])).await.status().as_u16()
}

async fn code_and_layers_count_together(store: Store) {
    for (name, quota) in each(3) {
        let app = app(Limit::new(name, quota, Header::new("x-api-key")), store.clone());
        let limiter = store.limiter(name, quota);
        assert_eq!(status(&app, "ada").await, 200);
        assert_eq!(limiter.peek("ada").await.unwrap().remaining(), 2, "{name}");
        assert_eq!(limiter.take_n(Key::named("ada"), 2).await.unwrap().remaining(), 0, "{name}");
        assert_eq!(status(&app, "ada").await, 429, "{name}");
        assert!(limiter.reset("ada").await.unwrap());
        assert_eq!(status(&app, "ada").await, 200, "{name}");
    }
}

async fn an_administrator_shuts_and_opens_what_a_layer_limits(store: Store) {
    // Who is refused is remembered, and still the layer is never wrong about it for long.
    let limit = Limit::new("api", Quota::per_day(1_000), Header::new("x-api-key")).deny_cache(true);
    let app = app(limit, store.clone());
    let limiter = store.limiter("api", Quota::per_day(1_000));
    limiter.block("mallory", minutes(10)).await.unwrap();
    for _ in 0..20 {
        let response = send(&app, request("GET", "/", &[("x-api-key", "mallory")])).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let limited = response.extensions().get::<Limited>().expect("a reason").clone();
        assert!(limited.is_blocked());
        assert!(field(response.headers(), "retry-after").parse::<u64>().unwrap() <= 600);
    }
    assert!(limiter.unblock("mallory").await.unwrap());
    assert_eq!(status(&app, "mallory").await, 200);

    limiter.penalty("mallory", 1_000).await.unwrap();
    for _ in 0..20 {
        assert_eq!(status(&app, "mallory").await, 429);
    }
    limiter.refund("mallory", 2).await.unwrap();
    assert_eq!(status(&app, "mallory").await, 200);
}

/// It is the limit's last word, wherever some of it is leased.
#[tokio::test]
async fn a_penalty_ends_leases_everywhere() {
    let server = RedisServer::start();
    for (name, quota) in
        [("gcra", Quota::per_day(100)), ("fixed", Quota::per_day(100).fixed_window())]
    {
        let mut apps = Vec::new();
        for _ in 0..3 {
            let limit = Limit::new(name, quota, Header::new("x-api-key")).lease(20);
            apps.push(app(limit, store_on(&server).await));
        }
        let limiter = store_on(&server).await.limiter(name, quota);
        // Messages arrive by now.
        for leased in &apps {
            assert_eq!(status(leased, "warm").await, 200);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        for leased in &apps {
            assert_eq!(status(leased, "k").await, 200);
        }
        assert_eq!(limiter.penalty("k", 1_000).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(500)).await;
        for leased in &apps {
            for _ in 0..20 {
                assert_eq!(status(leased, "k").await, 429, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_penalty_ends_a_lease_of_its_own_store_at_once() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let quota = Quota::per_day(100);
    let limit = Limit::new("api", quota, Header::new("x-api-key")).lease(20);
    let leased = app(limit, store.clone());
    // Nothing is leased before messages arrive.
    assert_eq!(status(&leased, "warm").await, 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(status(&leased, "k").await, 200);
    assert_eq!(store.limiter("api", quota).penalty("k", 1_000).await.unwrap(), 0);
    assert_eq!(status(&leased, "k").await, 429);
}

async fn a_hundred_at_once_take_exactly_what_is_there(store: Store) {
    for (name, quota) in each(37) {
        let limiter = store.limiter(name, quota);
        let taken = Arc::new(AtomicU32::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let (limiter, taken) = (limiter.clone(), taken.clone());
            callers.spawn(async move {
                let allowed = limiter.take("ada").await.unwrap().is_allowed();
                taken.fetch_add(u32::from(allowed), Ordering::Relaxed);
            });
        }
        callers.join_all().await;
        assert_eq!(taken.load(Ordering::Relaxed), 37, "{name}");
    }
}

async fn what_costs_more_than_there_ever_is_says_so(store: Store) {
    for (name, quota) in each(3) {
        let limiter = store.limiter(name, quota);
        let refused = limiter.take_n("ada", 4).await.unwrap();
        assert!(!refused.is_allowed() && refused.retry_after().is_none(), "{name}: {refused:?}");
        let limited = refused.or_limited().unwrap_err();
        assert_eq!(limited.retry_after(), None);
        assert!(!limited.into_response().headers().contains_key("retry-after"), "{name}");
        assert_eq!(limiter.peek("ada").await.unwrap().remaining(), 3, "{name}: nothing is charged");
        assert!(limiter.take_n("ada", u32::MAX).await.unwrap().retry_after().is_none(), "{name}");
        assert!(
            limiter.take_n("ada", 0).await.unwrap().is_allowed(),
            "{name}: nothing costs nothing"
        );
    }
}

async fn of_several_limits_all_are_charged_or_none(store: Store) {
    for (name, quota) in each(2) {
        let mails = store.limiter(&format!("mails-{name}"), Quota::per_day(5));
        let to_one = store.limiter(name, quota);
        let send = async |to: &str, cost| {
            let parts = [(&mails, Key::from("ada"), 1), (&to_one, Key::from(to), cost)];
            Limiter::take_all(parts).await.unwrap()
        };
        let first = send("grace", 2).await;
        assert!(first.is_allowed() && first.remaining() == 0, "{name}: {first:?}");
        assert_eq!(first.retry_after(), Some(Duration::ZERO), "{name}");
        assert!(first.or_limited().is_ok());

        let refused = send("grace", 1).await;
        assert!(!refused.is_allowed(), "{name}");
        assert!(refused.retry_after().is_some_and(|wait| wait > minutes(1)), "{name}: {refused:?}");
        let limited = refused.or_limited().unwrap_err();
        assert_eq!(limited.violations().map(Violation::limit).collect::<Vec<_>>(), [name]);
        assert_eq!(mails.peek("ada").await.unwrap().remaining(), 4, "{name}: none is charged");
        assert_eq!(send("linus", 3).await.retry_after(), None, "{name}: more than there ever is");

        assert!(mails.take_n("ada", 4).await.unwrap().is_allowed());
        let both = send("grace", 1).await.or_limited().unwrap_err();
        assert_eq!(both.violations().count(), 2, "{name}: {both:?}");
    }
    assert!(Limiter::take_all([]).await.unwrap().is_allowed(), "there is no limit");
}

async fn what_is_taken_twice_from_one_limit_is_taken_at_once(store: Store) {
    for (name, quota) in each(3) {
        let limiter = store.limiter(name, quota);
        let again = store.limiter(name, quota);
        let twice = || [(&limiter, Key::from("ada"), 1), (&again, Key::from("ada"), 1)];
        let taken = Limiter::take_all(twice()).await.unwrap();
        assert!(taken.is_allowed() && taken.remaining() == 1, "{name}: {taken:?}");
        assert!(!Limiter::take_all(twice()).await.unwrap().is_allowed(), "{name}");
        let others = [(&limiter, Key::from("ada"), 1), (&limiter, Key::from("grace"), 1)];
        assert!(Limiter::take_all(others).await.unwrap().is_allowed(), "{name}");
        assert_eq!(limiter.peek("grace").await.unwrap().remaining(), 2, "{name}");
    }
}

#[tokio::test]
async fn several_limits_of_one_caller_are_one_command() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let limiters = each(5).map(|(name, quota)| store.limiter(name, quota));
    let parts = || limiters.iter().map(|limiter| (limiter, Key::from("ada"), 1));
    let before = server.count();
    assert!(Limiter::take_all(parts()).await.unwrap().is_allowed());
    let ran = server.count().since(&before).commands;
    assert_eq!(ran.get("evalsha"), Some(&1), "{ran:?}");
}

#[tokio::test]
async fn without_redis_each_of_several_limits_goes_by_its_fallback() {
    let store = away().await;
    let local = store.limiter("local", Quota::per_hour(2));
    let open = store.limiter("open", Quota::per_hour(1)).fallback(Fallback::Allow);
    let shut = store.limiter("shut", Quota::per_hour(9)).fallback(Fallback::Refuse);
    let take = async |limiters: &[&Limiter]| {
        Limiter::take_all(limiters.iter().map(|it| (*it, Key::from("ada"), 1))).await
    };
    assert!(take(&[&local, &shut]).await.unwrap_err().is_unavailable());
    for expected in [true, true, false] {
        let allowance = take(&[&open, &local]).await.unwrap();
        assert_eq!(allowance.is_allowed(), expected, "the refusal before charged nothing here");
    }
}

#[tokio::test]
#[should_panic(expected = "limits of different stores are not one decision")]
async fn limits_of_two_stores_are_not_one_decision() {
    let limiters = [(); 2].map(|()| Store::memory().limiter("mail", Quota::per_day(1)));
    let _ = Limiter::take_all(limiters.iter().map(|it| (it, Key::from("ada"), 1))).await;
}

#[tokio::test]
#[should_panic(expected = "two limits are called \"mail\", and have different quotas")]
async fn quotas_of_one_name_are_not_one_decision() {
    let store = Store::memory();
    let limiters = [1, 2].map(|limit| store.limiter("mail", Quota::per_day(limit)));
    let keys = ["ada", "grace"].map(Key::from);
    let _ = Limiter::take_all(limiters.iter().zip(keys).map(|(it, key)| (it, key, 1))).await;
}

async fn who_waits_gets_a_turn_in_the_order_of_coming(store: Store) {
    const EACH: Duration = Duration::from_millis(60);
    for quota in [Quota::new(1, EACH), Quota::new(1, EACH).sliding_log()] {
        let limiter = store.limiter("calls", quota);
        limiter.reset("all").await.unwrap();
        let (began, order) = (Instant::now(), Mutex::default());
        let waiting = (0..5).map(|number| {
            let (limiter, order) = (&limiter, &order);
            async move {
                let taken = limiter.take_within("all", minutes(1)).await.unwrap();
                assert!(taken.is_allowed(), "{taken:?}");
                let order: &Mutex<Vec<_>> = order;
                order.lock().unwrap().push(number);
            }
        });
        join_all(waiting).await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4], "{quota:?}");
        assert!(began.elapsed() >= EACH * 4, "{quota:?}: {:?}", began.elapsed());
    }
}

async fn who_would_wait_for_too_long_is_told_at_once(store: Store) {
    for (name, quota) in each(2) {
        let limiter = store.limiter(name, quota);
        let began = Instant::now();
        assert!(limiter.take_n_within("ada", 2, DAY).await.unwrap().is_allowed(), "{name}");
        let refused = limiter.take_within("ada", minutes(1)).await.unwrap();
        assert!(!refused.is_allowed(), "{name}: {refused:?}");
        assert!(refused.retry_after().is_some_and(|wait| wait > minutes(1)), "{name}: {refused:?}");
        let never = limiter.take_n_within("grace", 3, Duration::MAX).await.unwrap();
        assert_eq!((never.is_allowed(), never.retry_after()), (false, None), "{name}");
        let at_once = limiter.take_within("grace", Duration::ZERO).await.unwrap();
        assert!(at_once.is_allowed(), "{name}: {at_once:?}");
        assert!(began.elapsed() < minutes(1), "{name}");
    }
}

async fn who_leaves_a_line_takes_nothing_and_holds_nobody_up(store: Store) {
    let limiter = store.limiter("calls", Quota::new(2, Duration::from_millis(400)));
    assert!(limiter.take_n("all", 2).await.unwrap().is_allowed());
    let mut leaves = Box::pin(limiter.take_n_within("all", 2, minutes(1)));
    let first = tokio::time::timeout(Duration::from_millis(50), &mut leaves).await;
    assert!(first.is_err(), "it waits for both");
    let began = Instant::now();
    let (next, ()) = tokio::join!(limiter.take_within("all", minutes(1)), async {
        tokio::task::yield_now().await;
        drop(leaves);
    });
    assert!(next.unwrap().is_allowed());
    assert!(began.elapsed() < minutes(1) / 2);
    let wait = Duration::from_millis(500);
    assert!(limiter.take_n_within("all", 2, wait).await.unwrap().is_allowed(), "no more was taken");
}

#[tokio::test(start_paused = true)]
async fn who_is_put_aside_keeps_nobody_waiting() {
    let limiter = Store::memory().limiter("calls", Quota::per_second(1));
    assert!(limiter.take("all").await.unwrap().is_allowed());
    let mut aside = Box::pin(limiter.take_within("all", minutes(1)));
    assert!((&mut aside).now_or_never().is_none());
    tokio::time::advance(minutes(2)).await;
    let next = tokio::time::timeout(minutes(1), limiter.take_within("all", DAY)).await;
    assert!(next.is_ok_and(|it| it.unwrap().is_allowed()));
    assert!(!aside.await.unwrap().is_allowed(), "its time is up");
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_soon_of_what_is_given_back() {
    type Back = fn(Limiter) -> BoxFuture<'static, ()>;
    let backs: [Back; 3] = [
        |it| Box::pin(async move { assert_eq!(it.refund("all", 1).await.unwrap(), 1) }),
        |it| Box::pin(async move { assert!(it.reset("all").await.unwrap()) }),
        |it| {
            Box::pin(async move {
                it.block("all", DAY / 2).await.unwrap();
                tokio::time::sleep(minutes(1)).await;
                assert!(it.unblock("all").await.unwrap());
            })
        },
    ];
    for back in backs {
        let limiter = Store::memory().limiter("calls", Quota::per_day(1).fixed_window());
        assert!(limiter.take("all").await.unwrap().is_allowed());
        let given = async {
            tokio::time::sleep(minutes(1)).await;
            back(limiter.clone()).await;
            tokio::time::Instant::now()
        };
        let (waited, given) = tokio::join!(limiter.take_within("all", DAY), given);
        assert!(waited.unwrap().is_allowed());
        assert!(given.elapsed() <= Duration::from_secs(1), "{:?}", given.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn behind_others_who_cannot_be_in_time_is_told_at_once() {
    let store = Store::memory();
    let limiter = store.limiter("calls", Quota::per_day(2));
    assert!(limiter.take_n("all", 2).await.unwrap().is_allowed());
    let mut first = Box::pin(limiter.take_n_within("all", 2, DAY * 2));
    assert!((&mut first).now_or_never().is_none());
    let began = tokio::time::Instant::now();
    let refused = limiter.take_within("all", DAY / 2).await.unwrap();
    assert_eq!((refused.is_allowed(), refused.retry_after()), (false, Some(DAY)), "as the first");
    assert_eq!(limiter.take_n_within("all", 3, DAY).await.unwrap().retry_after(), None);
    assert!(limiter.take_n_within("all", 0, DAY).await.unwrap().is_allowed(), "it costs nothing");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let larger = store.limiter("calls", Quota::per_day(9));
    assert!(larger.take_within("all", DAY).await.unwrap().is_allowed(), "another quota's line");
}

#[test]
fn who_listens_to_events_may_ask_the_limiter_that_they_are_about() {
    let limiter = Store::memory().limiter("mail", Quota::per_day(2));
    let (asks, busy) = (limiter.clone(), AtomicBool::new(false));
    let listener = move || {
        if !busy.swap(true, Ordering::SeqCst) {
            assert!(asks.peek("ada").now_or_never().is_some_and(|it| it.is_ok()));
            busy.store(false, Ordering::SeqCst);
        }
        io::sink()
    };
    let to = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(listener);
    let (done, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        tracing::subscriber::with_default(to.finish(), || {
            for left in [1, 0] {
                let taken = limiter.take("ada").now_or_never().expect("in process").unwrap();
                assert_eq!(taken.remaining(), left);
            }
        });
        done.send(()).unwrap();
    });
    waiting.recv_timeout(minutes(1)).expect("no lock is held while somebody is told");
}

#[tokio::test]
async fn of_those_who_wait_only_the_first_asks() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    let limiter = store.limiter("calls", Quota::new(1, Duration::from_millis(50)));
    let before = server.count();
    let waiting = (0..10).map(|_| limiter.take_within("all", minutes(1)));
    assert!(join_all(waiting).await.into_iter().all(|it| it.unwrap().is_allowed()));
    let ran = server.count().since(&before).commands;
    // Each is refused once, and once more where the two clocks are apart.
    assert!((11..=28).contains(&ran["evalsha"]), "{ran:?}");
}

#[tokio::test]
async fn without_redis_who_waits_goes_by_the_fallback() {
    let calls =
        || async { away().await.limiter("calls", Quota::new(1, Duration::from_millis(100))) };
    let (local, began) = (calls().await, Instant::now());
    for _ in 0..3 {
        assert!(local.take_within("all", minutes(1)).await.unwrap().is_allowed());
    }
    assert!(began.elapsed() >= Duration::from_millis(200));
    let shut = calls().await.fallback(Fallback::Refuse);
    assert!(shut.take_within("all", minutes(1)).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn a_refusal_is_the_response_that_a_layer_gives() {
    let store = memory().await;
    let limiter = store.limiter("mail", Quota::per_hour(1));
    assert!(limiter.take("ada").await.unwrap().or_limited().is_ok());
    let limited = limiter.take("ada").await.unwrap().or_limited().unwrap_err();
    assert_eq!(limited.limit(), "mail");
    let response = limited.into_response();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(response.headers(), "retry-after"), "3600");
    assert_eq!(field(response.headers(), "content-type"), "application/problem+json");
    assert!(response.extensions().get::<Limited>().is_some());
    assert!(text(response).await.contains("\"mail\""));
}

#[tokio::test]
async fn without_redis_a_limiter_goes_by_its_fallback() {
    let limiter = || async { away().await.limiter("mail", Quota::per_hour(2)) };
    let local = limiter().await;
    let mut allowed = Vec::new();
    for _ in 0..3 {
        allowed.push(local.take("ada").await.unwrap().is_allowed());
    }
    assert_eq!(allowed, [true, true, false], "it goes on in this process");

    let open = limiter().await.fallback(Fallback::Allow);
    for _ in 0..5 {
        assert!(open.take("ada").await.unwrap().is_allowed());
    }
    let shut = limiter().await.fallback(Fallback::Refuse);
    assert!(shut.take("ada").await.unwrap_err().is_unavailable());

    // What cannot be known or done is an error, whatever the fallback.
    assert!(local.peek("ada").await.unwrap_err().is_unavailable());
    assert!(local.refund("ada", 1).await.is_err());
    assert!(local.penalty("ada", 1).await.is_err());
    assert!(local.block("ada", DAY).await.is_err());
    assert!(local.unblock("ada").await.is_err());
    assert!(local.reset("ada").await.is_err());
}

#[tokio::test]
async fn without_redis_a_limit_is_the_same_wherever_it_is_made() {
    let (store, quota) = (away().await, Quota::per_hour(3));
    let limit = || Limit::new("mail", quota, Header::new("x-api-key"));
    let mut allowed = Vec::new();
    for _ in 0..2 {
        allowed.push(store.limiter("mail", quota).take("ada").await.unwrap().is_allowed());
        allowed.push(status(&app(limit(), store.clone()), "ada").await == 200);
    }
    assert_eq!(allowed, [true, true, true, false]);
    let take = async |limiter: Limiter| limiter.take("ada").await.unwrap().is_allowed();
    assert!(!take(store.clone().limiter("mail", quota)).await, "another handle");
    assert!(take(store.limiter("mail", Quota::per_hour(4))).await, "another quota");
    assert!(take(store.limiter("log-in", quota)).await, "another name");
    assert!(take(away().await.limiter("mail", quota)).await, "another store");
}

#[tokio::test]
async fn when_redis_stops_layers_and_limiters_go_on_together_in_this_process() {
    let server = RedisServer::start();
    let (store, quota) = (store_on(&server).await, Quota::per_hour(2));
    let mail = || store.limiter("mail", quota);
    assert_eq!(mail().take("ada").await.unwrap().remaining(), 1, "as Redis counts");
    drop(server);
    let app = app(Limit::new("mail", quota, Header::new("x-api-key")), store.clone());
    assert_eq!(status(&app, "ada").await, 200);
    assert!(mail().take("ada").await.unwrap().is_allowed());
    assert!(!mail().take("ada").await.unwrap().is_allowed(), "a whole quota in this process");
    assert_eq!(status(&app, "ada").await, 429);
}

#[tokio::test]
async fn each_act_is_one_command_and_every_key_expires() {
    let server = RedisServer::start();
    let store = store_on(&server).await;
    for (name, quota) in each(10) {
        let limiter = store.limiter(name, quota);
        let before = server.count();
        assert!(limiter.take("ada").await.unwrap().is_allowed());
        let _ = limiter.peek("ada").await.unwrap();
        limiter.refund("ada", 1).await.unwrap();
        limiter.penalty("ada", 1).await.unwrap();
        limiter.block("ada", DAY).await.unwrap();
        limiter.unblock("ada").await.unwrap();
        limiter.reset("ada").await.unwrap();
        let ran = server.count().since(&before).commands;
        assert_eq!(ran.get("evalsha"), Some(&7), "{name}: {ran:?}");
        limiter.penalty("ada", 1).await.unwrap();
    }
    let keys = server.keys();
    assert_eq!(keys.len(), 7, "{keys:?}");
    for key in keys {
        assert!(server.ttl_ms(&key) > 0, "{key} never ends");
    }
}

#[tokio::test]
async fn limits_of_two_stores_and_of_two_names_are_apart() {
    let (one, other) = (redis_under("one").await, redis_under("other").await);
    let quota = Quota::per_day(1);
    assert!(one.limiter("a", quota).take("ada").await.unwrap().is_allowed());
    assert!(other.limiter("a", quota).take("ada").await.unwrap().is_allowed());
    assert!(one.limiter("b", quota).take("ada").await.unwrap().is_allowed());
    assert!(!one.limiter("a", quota).take("ada").await.unwrap().is_allowed());
}

#[tokio::test]
#[should_panic(expected = "a limit's name is 1 to 64 letters")]
async fn a_name_is_checked_where_it_is_given() {
    let _ = Store::memory().limiter("no spaces", Quota::per_day(1));
}

#[test]
fn what_is_printed_names_no_key() {
    let limiter = Store::memory().limiter("mail", Quota::per_day(1));
    let printed = format!("{limiter:?}");
    assert!(printed.contains("mail") && !printed.contains("ada"), "{printed}");
    let layer = RateLimitLayer::new("ip", Quota::per_day(1), PeerIp);
    assert!(format!("{layer:?}").contains("Local"));
}
