//! What every backend owes to its callers: one suite, run on each of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use support::RedisServer;
use tokio::task::JoinSet;

use super::keys::{Fingerprint, Subject};
use super::verbs::*;
use super::{Store, StoreBuilder};
use crate::policy::caching::{Freshness, StoredResponse, Vary};
use crate::policy::gcra::Gcra;
use crate::policy::session::{Changes, Fields, Lifetime, Record};
use crate::policy::{Quota, Timestamp};

/// Every fact below, on every backend. A new backend is one line here.
macro_rules! backends {
    ($($backend:ident => $open:expr;)*) => { $( backends!(@ $backend, $open); )* };
    (@ $backend:ident, $open:expr) => {
        facts! { $backend, $open =>
            a_limit_admits_what_its_quota_says
            concurrent_callers_are_admitted_exactly
            subjects_and_names_are_counted_apart
            a_refusal_charges_nothing
            a_session_is_there_until_it_is_ended
            a_session_is_kept_by_being_loaded
            a_save_from_another_version_is_a_conflict
            a_session_that_ended_stays_ended
            rotation_ends_the_old_id
            a_session_that_is_gone_cannot_rotate
            a_revoked_token_is_remembered_for_its_time
            a_subjects_revocation_is_never_taken_back
            a_stored_response_is_there_until_it_expires
            a_purge_drops_what_carries_the_tag_and_nothing_else
            what_was_made_before_a_purge_is_not_stored_after
            a_purged_uri_is_gone
            purges_by_the_thousand_leave_nothing
        }
    };
}

macro_rules! facts {
    ($backend:ident, $open:expr => $($fact:ident)*) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $fact() {
                    super::$fact($open(stringify!($fact)).await).await;
                }
            )*
        }
    };
}

backends! {
    memory => super::memory;
    redis => super::redis;
    redis_by_resp3 => super::redis_by_resp3;
    redis_by_socket => super::redis_by_socket;
}

fn builder(fact: &str) -> StoreBuilder {
    Store::builder().prefix(&fact[..fact.len().min(64)]).deadline(Duration::from_secs(5))
}

async fn memory(fact: &str) -> Store {
    builder(fact).memory()
}

async fn redis(fact: &str) -> Store {
    builder(fact).connect(&RedisServer::shared().url()).await.unwrap()
}

async fn redis_by_resp3(fact: &str) -> Store {
    let url = format!("{}?protocol=resp3", RedisServer::shared().url());
    Store::builder().prefix(&format!("resp3:{fact:.50}")).connect(&url).await.unwrap()
}

async fn redis_by_socket(fact: &str) -> Store {
    let url = RedisServer::shared().socket_url();
    Store::builder().prefix(&format!("socket:{fact:.50}")).connect(&url).await.unwrap()
}

fn named(name: &str) -> Fingerprint {
    Fingerprint::of(&[name.as_bytes()])
}

fn take(name: &str, subject: &str, quota: Quota) -> Take {
    let subject = Subject::Named(named(subject));
    Take { name: name.into(), subject, gcra: Gcra::new(quota), cost: 1 }
}

async fn a_limit_admits_what_its_quota_says(store: Store) {
    let take = take("api", "ada", Quota::new(3, Duration::from_millis(600)));
    let mut allowed = Vec::new();
    for _ in 0..4 {
        allowed.push(store.ask(take.clone()).await.unwrap().allowed);
    }
    assert_eq!(allowed, [true, true, true, false]);
    tokio::time::sleep(Duration::from_millis(210)).await;
    assert!(store.ask(take.clone()).await.unwrap().allowed);
}

async fn concurrent_callers_are_admitted_exactly(store: Store) {
    let take = take("api", "ada", Quota::per_day(37));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (store, take) = (store.clone(), take.clone());
        callers.spawn(async move { store.ask(take).await.unwrap().allowed });
    }
    let allowed = callers.join_all().await.into_iter().filter(|allowed| *allowed).count();
    assert_eq!(allowed, 37);
}

async fn subjects_and_names_are_counted_apart(store: Store) {
    let once = Quota::per_day(1);
    for (name, subject) in [("api", "ada"), ("api", "bob"), ("web", "ada")] {
        assert!(store.ask(take(name, subject, once)).await.unwrap().allowed);
        assert!(!store.ask(take(name, subject, once)).await.unwrap().allowed);
    }
}

async fn a_refusal_charges_nothing(store: Store) {
    let take = take("api", "ada", Quota::per_day(1));
    let first = store.ask(take.clone()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(store.ask(take.clone()).await.unwrap().arrival, first.arrival);
    }
}

const LIFETIME: Lifetime =
    Lifetime { idle: Duration::from_secs(60), absolute: Duration::from_secs(3600) };

fn record(store: &Store, field: &str, value: u32) -> Record {
    let fields = Fields::from_iter([(field.to_owned(), json!(value))]);
    Record::begin(fields, LIFETIME, store.now())
}

async fn create(store: &Store, id: Fingerprint, record: &Record) {
    let create = CreateSession { id, record: record.clone(), time_to_live: LIFETIME.idle };
    store.ask(create).await.unwrap();
}

async fn load(store: &Store, id: Fingerprint) -> Option<Record> {
    store.ask(LoadSession { id, idle: LIFETIME.idle }).await.unwrap()
}

fn save(id: Fingerprint, before: &Record, field: &str, value: u32) -> SaveSession {
    let mut changes = Changes::default();
    changes.set(field, json!(value));
    SaveSession {
        id,
        rotate_to: None,
        from: before.version_tag(),
        record: before.next(&changes),
        time_to_live: LIFETIME.idle,
    }
}

async fn a_session_is_there_until_it_is_ended(store: Store) {
    let id = named("a session");
    assert_eq!(load(&store, id).await, None);
    let record = record(&store, "user", 7);
    create(&store, id, &record).await;
    assert_eq!(load(&store, id).await, Some(record.clone()));
    let saved = save(id, &record, "user", 8);
    assert_eq!(store.ask(saved.clone()).await.unwrap(), Saved::Done);
    assert_eq!(load(&store, id).await, Some(saved.record));
    for _ in 0..2 {
        store.ask(EndSession { id }).await.unwrap();
        assert_eq!(load(&store, id).await, None);
    }
}

async fn a_session_is_kept_by_being_loaded(store: Store) {
    let id = named("a session");
    let record = record(&store, "user", 7);
    let time_to_live = Duration::from_millis(150);
    store.ask(CreateSession { id, record, time_to_live }).await.unwrap();
    let keep = LoadSession { id, idle: Duration::from_millis(400) };
    assert!(store.ask(keep.clone()).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(store.ask(keep.clone()).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(store.ask(keep).await.unwrap().is_none());
}

async fn a_save_from_another_version_is_a_conflict(store: Store) {
    let id = named("a session");
    let record = record(&store, "user", 7);
    create(&store, id, &record).await;
    let (first, second) = (save(id, &record, "a", 1), save(id, &record, "b", 2));
    assert_eq!(store.ask(first.clone()).await.unwrap(), Saved::Done);
    assert_eq!(store.ask(second).await.unwrap(), Saved::Conflict(first.record.clone()));
    assert_eq!(load(&store, id).await, Some(first.record));
}

async fn a_session_that_ended_stays_ended(store: Store) {
    let id = named("a session");
    let record = record(&store, "user", 7);
    create(&store, id, &record).await;
    store.ask(EndSession { id }).await.unwrap();
    assert_eq!(store.ask(save(id, &record, "a", 1)).await.unwrap(), Saved::Gone);
    assert_eq!(load(&store, id).await, None);
}

async fn rotation_ends_the_old_id(store: Store) {
    let (old, new) = (named("old"), named("new"));
    let record = record(&store, "user", 7);
    create(&store, old, &record).await;
    let rotation = SaveSession { rotate_to: Some(new), ..save(old, &record, "admin", 1) };
    assert_eq!(store.ask(rotation.clone()).await.unwrap(), Saved::Done);
    assert_eq!(load(&store, old).await, None);
    assert_eq!(load(&store, new).await, Some(rotation.record));
}

async fn a_session_that_is_gone_cannot_rotate(store: Store) {
    let (old, new) = (named("old"), named("new"));
    let record = record(&store, "user", 7);
    let rotation = SaveSession { rotate_to: Some(new), ..save(old, &record, "admin", 1) };
    assert_eq!(store.ask(rotation).await.unwrap(), Saved::Gone);
    assert_eq!(load(&store, new).await, None);
}

async fn a_revoked_token_is_remembered_for_its_time(store: Store) {
    let token = named("a token");
    let check = CheckRevoked { token, subject: None };
    assert!(!store.ask(check.clone()).await.unwrap().token);
    let time_to_live = Duration::from_millis(300);
    store.ask(RevokeToken { token, time_to_live }).await.unwrap();
    assert!(store.ask(check.clone()).await.unwrap().token);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(!store.ask(check).await.unwrap().token);
}

async fn a_subjects_revocation_is_never_taken_back(store: Store) {
    let (token, subject) = (named("a token"), named("ada"));
    let check = CheckRevoked { token, subject: Some(subject) };
    assert_eq!(store.ask(check.clone()).await.unwrap().subject_until, None);
    let before = store.now();
    let now = store.ask(RevokeSubject { subject, until: None }).await.unwrap();
    // The clocks of the store and of its estimate here may differ by a round trip.
    assert!(now.after(Duration::from_millis(500)) > before);
    let earlier = RevokeSubject { subject, until: Some(Timestamp(1)) };
    assert_eq!(store.ask(earlier).await.unwrap(), now);
    assert_eq!(store.ask(check.clone()).await.unwrap().subject_until, Some(now));
    let later = now.after(Duration::from_secs(1));
    store.ask(RevokeSubject { subject, until: Some(later) }).await.unwrap();
    assert_eq!(store.ask(check).await.unwrap().subject_until, Some(later));
}

fn response(store: &Store, lifetime: Duration) -> Arc<StoredResponse> {
    let (head, ()) = http::Response::builder().header("x", "y").body(()).unwrap().into_parts();
    let vary = Vary::of(&head.headers, &head.headers).unwrap();
    let freshness = Freshness { lifetime, age_on_arrival: Duration::ZERO };
    let mut stored = StoredResponse::new(&head, vary, freshness, store.now(), 7);
    stored.body = Bytes::from_static(b"body");
    Arc::new(stored)
}

async fn look_up(store: &Store, response: &str) -> LoadedResponse {
    store.ask(LoadResponse { response: named(response) }).await.unwrap()
}

/// Stores a response under its own name, as of the last purge `seen`; says whether it was stored.
async fn keep(store: &Store, name: &str, tags: &[&str], seen: LastPurge) -> bool {
    let tags = tags.iter().map(|tag| named(tag)).collect();
    let stored = response(store, Duration::from_secs(60));
    let response = named(name);
    store.ask(StoreResponse { response, uri: response, tags, stored, seen }).await.unwrap()
}

async fn a_stored_response_is_there_until_it_expires(store: Store) {
    let seen = look_up(&store, "a").await.last_purge;
    let (response, uri) = (named("a"), named("a"));
    let stored = self::response(&store, Duration::from_millis(300));
    let keep = StoreResponse { response, uri, tags: vec![], stored: stored.clone(), seen };
    assert!(store.ask(keep).await.unwrap());
    assert_eq!(look_up(&store, "a").await.response, Some(stored));
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(look_up(&store, "a").await.response, None);
}

async fn a_purge_drops_what_carries_the_tag_and_nothing_else(store: Store) {
    let seen = look_up(&store, "a").await.last_purge;
    for (name, tags) in [("a", &["red"][..]), ("b", &["red", "blue"]), ("c", &["blue"]), ("d", &[])]
    {
        assert!(keep(&store, name, tags, seen).await);
    }
    assert_eq!(store.purge_tag(named("red")).await.unwrap(), 2);
    let mut left = Vec::new();
    for name in ["a", "b", "c", "d"] {
        left.push(look_up(&store, name).await.response.is_some());
    }
    assert_eq!(left, [false, false, true, true]);
    assert_eq!(store.purge_tag(named("red")).await.unwrap(), 0);
}

async fn what_was_made_before_a_purge_is_not_stored_after(store: Store) {
    let before = look_up(&store, "a").await.last_purge;
    store.purge_tag(named("red")).await.unwrap();
    assert!(!keep(&store, "a", &["blue", "red"], before).await);
    assert!(keep(&store, "a", &["blue"], before).await);
    let after = look_up(&store, "b").await.last_purge;
    assert!(keep(&store, "b", &["red"], after).await);
    store.purge_tag(named("red")).await.unwrap();
    assert!(!keep(&store, "b", &["red"], after).await);
}

async fn a_purged_uri_is_gone(store: Store) {
    let before = look_up(&store, "a").await.last_purge;
    assert!(keep(&store, "a", &[], before).await);
    store.ask(PurgeUri { uri: named("a") }).await.unwrap();
    assert_eq!(look_up(&store, "a").await.response, None);
    assert!(!keep(&store, "a", &[], before).await);
    assert!(keep(&store, "b", &[], before).await);
}

async fn purges_by_the_thousand_leave_nothing(store: Store) {
    let seen = look_up(&store, "a").await.last_purge;
    for n in 0..1_234 {
        assert!(keep(&store, &n.to_string(), &["all"], seen).await);
    }
    assert_eq!(store.purge_tag(named("all")).await.unwrap(), 1_234);
    for n in 0..1_234 {
        assert!(look_up(&store, &n.to_string()).await.response.is_none());
    }
}
