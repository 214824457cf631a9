use std::time::Duration;

use serde_json::json;

use super::named;
use crate::Store;
use crate::policy::session::{Changes, Fields, Lifetime, Record};
use crate::store::keys::Fingerprint;
use crate::store::verbs::{CreateSession, EndSession, LoadSession, SaveSession, Saved};

const LIFETIME: Lifetime =
    Lifetime { idle: Duration::from_secs(60), absolute: Duration::from_secs(3600) };

const MAX_SIZE: usize = 1 << 10;

fn record(store: &Store, field: &str, value: u32) -> Record {
    let fields = Fields::from_iter([(field.to_owned(), json!(value))]);
    Record::begin(fields, LIFETIME, store.now())
}

/// Names between which a session can rotate.
fn shard(name: &str) -> Fingerprint {
    Fingerprint::sharded(*b"one", name.as_bytes())
}

async fn create(store: &Store, id: Fingerprint, record: &Record) {
    let create = CreateSession { id, record: record.clone(), time_to_live: LIFETIME.idle };
    store.ask(create).await.unwrap();
}

async fn load(store: &Store, id: Fingerprint) -> Option<Record> {
    store.ask(LoadSession { id, idle: LIFETIME.idle, max_size: MAX_SIZE }).await.unwrap()
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
        max_size: MAX_SIZE,
    }
}

pub(super) async fn a_session_is_there_until_it_is_ended(store: Store) {
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

pub(super) async fn a_session_is_kept_by_being_loaded(store: Store) {
    let id = named("a session");
    let record = record(&store, "user", 7);
    let time_to_live = Duration::from_millis(1_000);
    store.ask(CreateSession { id, record, time_to_live }).await.unwrap();
    let keep = LoadSession { id, idle: Duration::from_millis(2_000), max_size: MAX_SIZE };
    assert!(store.ask(keep.clone()).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert!(store.ask(keep.clone()).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert!(store.ask(keep).await.unwrap().is_none());
}

pub(super) async fn a_session_that_is_too_long_is_none(store: Store) {
    let id = named("a session");
    let fields = |length: usize| {
        // {"a":""} is eight bytes.
        Fields::from_iter([("a".to_owned(), json!("x".repeat(length - 8)))])
    };
    for (length, found) in [(MAX_SIZE, true), (MAX_SIZE + 1, false), (MAX_SIZE * 100, false)] {
        let record = Record::begin(fields(length), LIFETIME, store.now());
        create(&store, id, &record).await;
        assert_eq!(load(&store, id).await, found.then(|| record.clone()), "{length}");
        let mut stale = save(id, &record, "b", 1);
        stale.from[4] = 9;
        let saved = store.ask(stale).await.unwrap();
        assert_eq!(saved, if found { Saved::Conflict(record) } else { Saved::Gone }, "{length}");
    }
}

pub(super) async fn a_save_from_another_version_is_a_conflict(store: Store) {
    let id = named("a session");
    let record = record(&store, "user", 7);
    create(&store, id, &record).await;
    let (first, second) = (save(id, &record, "a", 1), save(id, &record, "b", 2));
    assert_eq!(store.ask(first.clone()).await.unwrap(), Saved::Done);
    assert_eq!(store.ask(second).await.unwrap(), Saved::Conflict(first.record.clone()));
    assert_eq!(load(&store, id).await, Some(first.record));
}

pub(super) async fn a_session_that_ended_stays_ended(store: Store) {
    let id = named("a session");
    let record = record(&store, "user", 7);
    create(&store, id, &record).await;
    store.ask(EndSession { id }).await.unwrap();
    assert_eq!(store.ask(save(id, &record, "a", 1)).await.unwrap(), Saved::Gone);
    assert_eq!(load(&store, id).await, None);
}

pub(super) async fn rotation_ends_the_old_id(store: Store) {
    let (old, new) = (shard("old"), shard("new"));
    let record = record(&store, "user", 7);
    create(&store, old, &record).await;
    let rotation = SaveSession { rotate_to: Some(new), ..save(old, &record, "admin", 1) };
    assert_eq!(store.ask(rotation.clone()).await.unwrap(), Saved::Done);
    assert_eq!(load(&store, old).await, None);
    assert_eq!(load(&store, new).await, Some(rotation.record));
}

pub(super) async fn a_session_that_is_gone_cannot_rotate(store: Store) {
    let (old, new) = (shard("old"), shard("new"));
    let record = record(&store, "user", 7);
    let rotation = SaveSession { rotate_to: Some(new), ..save(old, &record, "admin", 1) };
    assert_eq!(store.ask(rotation).await.unwrap(), Saved::Gone);
    assert_eq!(load(&store, new).await, None);
}
