//! What is counted, by a recorder that keeps everything.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use common::{eventually, field, get as request_of, request, send, store_on, text};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use support::RedisServer;
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{
    ConcurrencyLimitLayer, Fallback, Header, Limit, Quota, RateLimitLayer, WithoutKey,
};
use tower_redis_kit::session::{Session, SessionError, SessionLayer};
use tower_redis_kit::token::{self, InvalidToken, RevocationLayer, Token};
use tower_redis_kit::{Store, StoreLayer};

/// Runs `work` on one thread, whose metrics go to a recorder of its own.
fn recorded<F: Future<Output = ()>>(work: impl FnOnce(Recorded) -> F) {
    let recorder = DebuggingRecorder::new();
    let recorded = Recorded { snapshotter: recorder.snapshotter() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work(recorded)));
}

struct Recorded {
    snapshotter: Snapshotter,
}

impl Recorded {
    /// Everything since the last time, by `name{label=value,…}`: counts, and the number of times
    /// that were taken.
    fn take(&self) -> BTreeMap<String, u64> {
        let mut taken = BTreeMap::new();
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let (_, key) = key.into_parts();
            let (name, labels) = key.into_parts();
            let labels: Vec<_> =
                labels.iter().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let name = name.as_str().strip_prefix("tower_redis_kit_").expect("the kit's prefix");
            let value = match value {
                DebugValue::Counter(count) => count,
                DebugValue::Gauge(value) => value.into_inner() as u64,
                DebugValue::Histogram(times) => {
                    assert!(times.iter().all(|time| (0.0..10.0).contains(&time.into_inner())));
                    times.len() as u64
                }
            };
            taken.insert(format!("{name}{{{}}}", labels.join(",")), value);
        }
        taken
    }

    /// Those whose names begin like this, without what did not happen.
    fn of(&self, prefix: &str) -> Vec<(String, u64)> {
        let mut taken = self.take();
        taken.retain(|name, value| name.starts_with(prefix) && *value > 0);
        taken.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value)).collect()
    }
}

#[track_caller]
fn assert_counts(counted: &[(String, u64)], expected: &[(&str, u64)]) {
    let counted: Vec<_> = counted.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counted, expected);
}

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    let name = token.strip_prefix("of-").ok_or(InvalidToken)?;
    let expires_at = SystemTime::now() + Duration::from_secs(60);
    Ok((Token::new(token, expires_at).subject(name), ()))
}

async fn visit(session: Session) -> Result<(), SessionError> {
    let visits = session.get::<u32>("visits").await?.unwrap_or(0);
    session.insert("visits", visits + 1).await
}

fn app(store: &Store) -> Router {
    let limit =
        |name: &str| RateLimitLayer::new(name, Quota::per_hour(2), Header::new("x-api-key"));
    let fresh = async || ([(CACHE_CONTROL, "public, max-age=60")], "fresh");
    Router::new()
        .route("/limited", get(async || {}).layer(limit("local")))
        .route("/open", get(async || {}).layer(limit("open").fallback(Fallback::Allow)))
        .route("/closed", get(async || {}).layer(limit("closed").fallback(Fallback::Refuse)))
        .route("/token", get(async || {}).layer(RevocationLayer::new(verify)))
        .route(
            "/token/open",
            get(async || {}).layer(RevocationLayer::new(verify).fallback(token::Fallback::Allow)),
        )
        .route("/visit", get(visit).layer(SessionLayer::new()))
        .route(
            "/leave",
            get(async |session: Session| session.destroy().await).layer(SessionLayer::new()),
        )
        .route("/fresh", get(fresh).post(async || "changed").layer(CacheLayer::new()))
        .layer(StoreLayer::new(store.clone()))
}

/// The status of an answer that is read to its end.
async fn status(app: &Router, method: &str, path: &str, fields: &[(&str, &str)]) -> u16 {
    let response = send(app, request(method, path, fields)).await;
    let status = response.status().as_u16();
    text(response).await;
    status
}

#[test]
fn a_limit_is_counted_by_its_name_and_nobody_else() {
    recorded(async |recorded: Recorded| {
        let app = app(&Store::memory());
        for caller in ["ada", "ada", "ada", "bob"] {
            status(&app, "GET", "/limited", &[("x-api-key", caller)]).await;
        }
        status(&app, "GET", "/limited", &[]).await;
        assert_counts(
            &recorded.of("rate_limit_total"),
            &[("{limit=local,outcome=allowed}", 3), ("{limit=local,outcome=limited}", 1)],
        );
    });
}

#[test]
fn a_shadow_and_a_limit_in_code_are_counted_like_any_other() {
    recorded(async |recorded: Recorded| {
        let store = Store::memory();
        let by_key = |name| Limit::new(name, Quota::per_hour(1), Header::new("x-api-key"));
        let app = Router::new()
            .route("/", get(async || {}))
            .layer(RateLimitLayer::all([by_key("next").shadow(), by_key("live")]))
            .layer(StoreLayer::new(store.clone()));
        for _ in 0..2 {
            status(&app, "GET", "/", &[("x-api-key", "ada")]).await;
        }
        let in_code = store.limiter("code", Quota::per_hour(1));
        for _ in 0..3 {
            let _ = in_code.take("ada").await.unwrap();
        }
        assert_counts(
            &recorded.of("rate_limit_total"),
            &[
                ("{limit=code,outcome=allowed}", 1),
                ("{limit=code,outcome=limited}", 2),
                ("{limit=live,outcome=allowed}", 1),
                ("{limit=live,outcome=limited}", 1),
                ("{limit=next,outcome=allowed}", 1),
                ("{limit=next,outcome=shadow_limited}", 1),
            ],
        );
    });
}

#[test]
fn who_is_refused_before_anything_is_counted_shows_too() {
    recorded(async |recorded: Recorded| {
        let limit = |name| {
            let limit = Limit::new(name, Quota::per_hour(1), Header::new("x-api-key"));
            limit.without_key(WithoutKey::Refuse)
        };
        let layer = RateLimitLayer::all([limit("next").shadow(), limit("live")]);
        let layer = layer.block(|head: &Parts| head.headers.contains_key("x-bad"));
        let app = Router::new().route("/", get(async || {}));
        let app = app.layer(layer.with_store(Store::memory()));
        assert_eq!(status(&app, "GET", "/", &[]).await, 403);
        assert_eq!(status(&app, "GET", "/", &[("x-bad", "1"), ("x-api-key", "k")]).await, 403);
        assert_counts(
            &recorded.of(""),
            &[
                ("blocked_total{}", 1),
                ("rate_limit_total{limit=live,outcome=without_key}", 1),
                ("rate_limit_total{limit=next,outcome=shadow_limited}", 1),
            ],
        );
    });
}

#[test]
fn a_permit_that_is_lost_is_counted_once_by_its_limit() {
    recorded(async |recorded| {
        let server = RedisServer::start();
        let store = store_on(&server).await;
        let limit = ConcurrencyLimitLayer::new("exports", 1, Header::new("x-api-key"));
        let limit = limit.lease(Duration::from_millis(300)).with_store(store);
        let app = Router::new().route("/", get(async || "a table")).layer(limit);
        let keyed = || request("GET", "/", &[("x-api-key", "k")]);
        let first: http::Response<axum::body::Body> = send(&app, keyed()).await;
        server.command(&["FLUSHALL"]);
        // One that has the permit in its place, and one for which there is none.
        let second: http::Response<axum::body::Body> = send(&app, keyed()).await;
        let third: http::Response<axum::body::Body> = send(&app, keyed()).await;
        assert_eq!([first.status(), second.status(), third.status()], [200, 200, 429]);
        tokio::time::sleep(Duration::from_millis(900)).await;
        let counted = recorded.take();
        assert_eq!(counted["permits_lost_total{limit=exports}"], 1);
        assert_eq!(counted["rate_limit_total{limit=exports,outcome=allowed}"], 2);
        assert_eq!(counted["rate_limit_total{limit=exports,outcome=limited}"], 1);
    });
}

#[test]
fn sessions_are_counted_by_what_became_of_them() {
    recorded(async |recorded: Recorded| {
        let app = app(&Store::memory());
        let created = send(&app, request_of("/visit")).await;
        let cookie = field(created.headers(), "set-cookie").split(';').next().unwrap().to_owned();
        assert_counts(&recorded.of("sessions_total"), &[("{event=created}", 1)]);
        let with_cookie = [("cookie", cookie.as_str())];
        status(&app, "GET", "/visit", &with_cookie).await;
        assert_counts(
            &recorded.of("sessions_total"),
            &[("{event=loaded}", 1), ("{event=saved}", 1)],
        );
        status(&app, "GET", "/leave", &with_cookie).await;
        status(&app, "GET", "/visit", &with_cookie).await;
        assert_counts(
            &recorded.of("sessions_total"),
            &[("{event=absent}", 1), ("{event=created}", 1), ("{event=ended}", 1)],
        );
    });
}

#[test]
fn a_conflict_of_sessions_is_counted() {
    recorded(async |recorded: Recorded| {
        let store = Store::memory();
        let app = app(&store);
        let created = send(&app, request_of("/visit")).await;
        let cookie = field(created.headers(), "set-cookie").split(';').next().unwrap().to_owned();
        let inner = app.clone();
        let inner_cookie = cookie.clone();
        // Another request saves while this one's handler runs.
        let slow = Router::new()
            .route(
                "/",
                get(async move |session: Session| {
                    session.insert("slow", 1).await?;
                    status(&inner, "GET", "/visit", &[("cookie", &inner_cookie)]).await;
                    Ok::<_, SessionError>(())
                }),
            )
            .layer(SessionLayer::new())
            .layer(StoreLayer::new(store));
        recorded.take();
        assert_eq!(status(&slow, "GET", "/", &[("cookie", &cookie)]).await, 200);
        assert_counts(
            &recorded.of("sessions_total"),
            &[("{event=conflict}", 1), ("{event=loaded}", 2), ("{event=saved}", 2)],
        );
    });
}

#[test]
fn tokens_are_counted_by_what_became_of_them() {
    recorded(async |recorded: Recorded| {
        let store = Store::memory();
        let app = app(&store);
        store.revoke(token::Subject::new("bob")).await.unwrap();
        for token in ["of-ada", "of-bob", "nobody's"] {
            let bearer = format!("Bearer {token}");
            status(&app, "GET", "/token", &[("authorization", &bearer)]).await;
        }
        status(&app, "GET", "/token", &[]).await;
        assert_counts(
            &recorded.of("tokens_total"),
            &[("{outcome=allowed}", 1), ("{outcome=invalid}", 2), ("{outcome=revoked}", 1)],
        );
    });
}

#[test]
fn the_cache_is_counted_by_what_it_did() {
    recorded(async |recorded: Recorded| {
        let app = app(&Store::memory());
        for (method, fields) in [
            ("GET", &[][..]),
            ("GET", &[]),
            ("HEAD", &[]),
            ("GET", &[("cache-control", "no-store")]),
            ("POST", &[]),
            ("GET", &[("cache-control", "only-if-cached")]),
        ] {
            status(&app, method, "/fresh", fields).await;
        }
        assert_counts(
            &recorded.of("cache_total"),
            &[
                ("{event=bypass}", 1),
                ("{event=change}", 1),
                ("{event=hit}", 2),
                ("{event=miss}", 2),
                ("{event=stored}", 1),
            ],
        );
    });
}

#[test]
fn calls_are_counted_by_verb_and_timed_on_the_network() {
    recorded(async |recorded: Recorded| {
        let server = RedisServer::start();
        for (store, times) in [(Store::memory(), 0), (store_on(&server).await, 1)] {
            let app = app(&store);
            recorded.take();
            status(&app, "GET", "/limited", &[("x-api-key", "ada")]).await;
            let taken = recorded.take();
            assert_eq!(taken["store_calls_total{verb=take,outcome=ok}"], 1);
            let timed = taken.get("store_call_seconds{verb=take}").copied();
            assert_eq!(timed.unwrap_or(0), times);
        }
    });
}

#[test]
fn a_store_that_is_away_is_counted_by_what_the_layers_do_then() {
    recorded(async |recorded: Recorded| {
        let mut server = RedisServer::start();
        let store = store_on(&server).await;
        let app = app(&store);
        let taken = recorded.take();
        assert_eq!(taken["store_up{prefix=kit}"], 1);
        assert!(taken["connections_total{prefix=kit}"] >= 1);

        server.stop();
        eventually("the store knows", async || {
            let _ = store.info().await;
            !store.health().is_up()
        })
        .await;
        let taken = recorded.take();
        assert_eq!(taken["store_up{prefix=kit}"], 0);
        assert!(taken["connection_failures_total{prefix=kit,error=unavailable}"] >= 1);
        let fields = [("x-api-key", "ada"), ("authorization", "Bearer of-ada")];
        let session = format!("__Host-session={}", "A".repeat(43));
        for path in
            ["/limited", "/limited", "/limited", "/open", "/closed", "/token", "/token/open"]
        {
            status(&app, "GET", path, &fields).await;
        }
        let failed = status(&app, "GET", "/visit", &[("cookie", &session)]).await;
        assert_eq!(failed, StatusCode::SERVICE_UNAVAILABLE.as_u16());
        status(&app, "GET", "/fresh", &[]).await;
        let taken = recorded.take();
        for (name, count) in [
            ("rate_limit_total{limit=local,outcome=allowed_here}", 2),
            ("rate_limit_total{limit=local,outcome=limited_here}", 1),
            ("rate_limit_total{limit=open,outcome=unchecked}", 1),
            ("rate_limit_total{limit=closed,outcome=refused}", 1),
            ("tokens_total{outcome=refused}", 1),
            ("tokens_total{outcome=unchecked}", 1),
            ("sessions_total{event=failed}", 1),
            ("cache_total{event=bypass}", 1),
            ("store_calls_total{verb=take,outcome=unavailable}", 5),
        ] {
            assert_eq!(taken.get(name), Some(&count), "{name} in {taken:#?}");
        }

        server.start_again();
        eventually("the store is back", async || store.health().is_up()).await;
        let taken = recorded.take();
        assert_eq!(taken["store_up{prefix=kit}"], 1);
        assert!(taken["connections_total{prefix=kit}"] >= 1);
    });
}

#[test]
fn a_call_that_nobody_waits_for_is_counted_as_that() {
    recorded(async |recorded: Recorded| {
        let server = RedisServer::start();
        let patient = Store::builder().deadline(Duration::from_secs(5));
        let store = patient.connect(&server.url()).await.unwrap();
        server.pause();
        recorded.take();
        let left = tokio::time::timeout(Duration::from_millis(20), store.info()).await;
        assert!(left.is_err());
        server.resume();
        let taken = recorded.take();
        assert_eq!(taken["store_calls_total{verb=read_info,outcome=abandoned}"], 1);
    });
}

#[test]
fn no_label_holds_what_a_client_sent() {
    recorded(async |recorded: Recorded| {
        let server = RedisServer::start();
        let app = app(&store_on(&server).await);
        for number in 0..50 {
            let secret = format!("secret-{number}");
            let bearer = format!("Bearer of-{secret}");
            let cookie = format!("__Host-session={secret:A<43}");
            let fields = [("x-api-key", &secret), ("authorization", &bearer), ("cookie", &cookie)];
            let fields = fields.map(|(name, value)| (name, value.as_str()));
            for path in ["/limited", "/token", "/visit", "/fresh", "/nowhere"] {
                status(&app, "GET", &format!("{path}?{secret}"), &fields).await;
            }
        }
        let taken = recorded.take();
        assert!(taken.len() < 30, "{taken:#?}");
        assert!(taken.keys().all(|name| !name.contains("secret")), "{taken:#?}");
    });
}
