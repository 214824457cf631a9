use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Store;
use crate::policy::LogId;
use crate::store::place::{Namespace, Place};
use crate::store::verbs::{Append, LogLength, Part, ReadLog};

const MINUTE: Duration = Duration::from_secs(60);

fn log(name: &str) -> Place {
    Namespace::new(name).whole()
}

async fn append(store: &Store, name: &str, entry: &str, max_len: u64) -> LogId {
    let entry = Bytes::copy_from_slice(entry.as_bytes());
    let append = Append { log: log(name), entry, max_len, retention: MINUTE };
    store.ask(append).await.unwrap().unwrap()
}

async fn read(store: &Store, name: &str, part: Part, limit: u64) -> Vec<String> {
    let entries = store.ask(ReadLog { log: log(name), part, limit }).await.unwrap();
    assert!(entries.is_sorted_by(|(one, _), (other, _)| one < other));
    entries.into_iter().map(|(_, entry)| String::from_utf8(entry.to_vec()).unwrap()).collect()
}

async fn length(store: &Store, name: &str) -> u64 {
    store.ask(LogLength { log: log(name) }).await.unwrap()
}

pub(super) async fn a_log_is_read_in_the_order_it_was_written_in(store: Store) {
    assert_eq!(read(&store, "a", Part::Last, 10).await, [""; 0]);
    assert_eq!(length(&store, "a").await, 0);
    let mut ids = vec![LogId::START];
    for entry in ["one", "", "three", "four"] {
        ids.push(append(&store, "a", entry, 100).await);
    }
    append(&store, "b", "other", 100).await;
    assert!(ids.is_sorted_by(|one, other| one < other));
    assert_eq!(length(&store, "a").await, 4);
    let all = ["one", "", "three", "four"];
    for (position, id) in ids.iter().enumerate() {
        assert_eq!(read(&store, "a", Part::After(*id), 10).await, all[position..]);
    }
    assert_eq!(read(&store, "a", Part::After(ids[1]), 2).await, ["", "three"]);
    assert_eq!(read(&store, "a", Part::Last, 1).await, ["four"]);
    assert_eq!(read(&store, "a", Part::Last, 3).await, ["", "three", "four"]);
    assert_eq!(read(&store, "a", Part::Last, 10).await, all);
}

pub(super) async fn a_log_drops_its_oldest_entries(store: Store) {
    for number in 0..1_000 {
        append(&store, "a", &number.to_string(), 200).await;
    }
    let left = read(&store, "a", Part::After(LogId::START), 1_000).await;
    // On Redis, whole nodes of a hundred entries go.
    assert!((200..=300).contains(&left.len()), "{} are left", left.len());
    assert_eq!(length(&store, "a").await, left.len() as u64);
    let last: Vec<String> = (1_000 - left.len()..1_000).map(|number| number.to_string()).collect();
    assert_eq!(left, last);
}

pub(super) async fn a_log_without_bounds_is_read_whole(store: Store) {
    for entry in ["one", "two"] {
        append(&store, "a", entry, u64::MAX).await;
    }
    for part in [Part::After(LogId::START), Part::Last] {
        assert_eq!(read(&store, "a", part, u64::MAX).await, ["one", "two"]);
    }
}

pub(super) async fn a_log_is_kept_by_being_written_to(store: Store) {
    let append = |retention| {
        let append = Append { log: log("a"), entry: "x".into(), max_len: 10, retention };
        async { store.ask(append).await.unwrap().unwrap() }
    };
    append(Duration::from_millis(600)).await;
    append(Duration::from_millis(1_600)).await;
    tokio::time::sleep(Duration::from_millis(650)).await;
    assert_eq!(length(&store, "a").await, 2);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(length(&store, "a").await, 0);
}

pub(super) async fn concurrent_writers_lose_no_entry(store: Store) {
    let mut writers = JoinSet::new();
    for writer in 0..10 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..20 {
                append(&store, "a", &format!("{writer}:{number}"), 1_000).await;
            }
        });
    }
    writers.join_all().await;
    let entries = read(&store, "a", Part::After(LogId::START), 1_000).await;
    assert_eq!(entries.len(), 200);
    for writer in 0..10 {
        let of_writer = format!("{writer}:");
        let numbers: Vec<u32> = entries
            .iter()
            .filter_map(|entry| entry.strip_prefix(&of_writer)?.parse().ok())
            .collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    }
}
