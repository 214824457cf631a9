use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::named;
use crate::Store;
use crate::policy::caching::{Freshness, StoredResponse, Vary};
use crate::store::verbs::{LastPurge, LoadResponse, LoadedResponse, PurgeUri, StoreResponse};

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

pub(super) async fn a_stored_response_is_there_until_it_expires(store: Store) {
    let seen = look_up(&store, "a").await.last_purge;
    let (response, uri) = (named("a"), named("a"));
    let stored = self::response(&store, Duration::from_millis(1_000));
    let keep = StoreResponse { response, uri, tags: vec![], stored: stored.clone(), seen };
    assert!(store.ask(keep).await.unwrap());
    assert_eq!(look_up(&store, "a").await.response, Some(stored));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(look_up(&store, "a").await.response, None);
}

pub(super) async fn a_purge_drops_what_carries_the_tag_and_nothing_else(store: Store) {
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

pub(super) async fn what_was_made_before_a_purge_is_not_stored_after(store: Store) {
    let before = look_up(&store, "a").await.last_purge;
    store.purge_tag(named("red")).await.unwrap();
    assert!(!keep(&store, "a", &["blue", "red"], before).await);
    assert!(keep(&store, "a", &["blue"], before).await);
    let after = look_up(&store, "b").await.last_purge;
    assert!(keep(&store, "b", &["red"], after).await);
    store.purge_tag(named("red")).await.unwrap();
    assert!(!keep(&store, "b", &["red"], after).await);
}

pub(super) async fn a_purged_uri_is_gone(store: Store) {
    let before = look_up(&store, "a").await.last_purge;
    assert!(keep(&store, "a", &[], before).await);
    store.ask(PurgeUri { uri: named("a") }).await.unwrap();
    assert_eq!(look_up(&store, "a").await.response, None);
    assert!(!keep(&store, "a", &[], before).await);
    assert!(keep(&store, "b", &[], before).await);
}

pub(super) async fn purges_by_the_thousand_leave_nothing(store: Store) {
    let seen = look_up(&store, "a").await.last_purge;
    for n in 0..1_234 {
        assert!(keep(&store, &n.to_string(), &["all"], seen).await);
    }
    assert_eq!(store.purge_tag(named("all")).await.unwrap(), 1_234);
    for n in 0..1_234 {
        assert!(look_up(&store, &n.to_string()).await.response.is_none());
    }
}
