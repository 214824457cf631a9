use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Store;
use crate::policy::LogId;
use crate::store::place::{Namespace, Place};
use crate::store::verbs::{Append, Consume, Done, Entry, LogLength};

const MINUTE: Duration = Duration::from_secs(60);

fn log() -> Place {
    Namespace::new("jobs").whole()
}

async fn append(store: &Store, entries: impl IntoIterator<Item = u32>, max_len: u64) {
    for entry in entries {
        let entry = Bytes::from(entry.to_string());
        let append = Append { log: log(), entry, max_len, retention: MINUTE };
        store.ask(append).await.unwrap().unwrap();
    }
}

async fn consume(
    store: &Store,
    [group, worker]: [&str; 2],
    limit: u64,
    again_after: Duration,
) -> Vec<Entry> {
    consume_after(store, [group, worker], limit, again_after, LogId::START).await
}

async fn consume_after(
    store: &Store,
    [group, worker]: [&str; 2],
    limit: u64,
    again_after: Duration,
    after: LogId,
) -> Vec<Entry> {
    let (group, worker) = (group.into(), worker.into());
    store.ask(Consume { log: log(), group, worker, limit, again_after, after }).await.unwrap()
}

async fn done(store: &Store, group: &str, entries: &[Entry]) -> u64 {
    let ids = entries.iter().map(|(id, _)| *id).collect();
    store.ask(Done { log: log(), group: group.into(), ids }).await.unwrap()
}

fn numbers(entries: &[Entry]) -> Vec<u32> {
    entries.iter().map(|(_, entry)| std::str::from_utf8(entry).unwrap().parse().unwrap()).collect()
}

pub(super) async fn each_group_gets_every_entry_once(store: Store) {
    assert!(consume(&store, ["mail", "one"], 10, MINUTE).await.is_empty());
    append(&store, 0..5, 100).await;
    let first = consume(&store, ["mail", "one"], 2, MINUTE).await;
    let second = consume(&store, ["mail", "two"], 10, MINUTE).await;
    assert_eq!((numbers(&first), numbers(&second)), (vec![0, 1], vec![2, 3, 4]));
    assert_eq!(numbers(&consume(&store, ["stock", "one"], 10, MINUTE).await), [0, 1, 2, 3, 4]);
    assert!(consume(&store, ["mail", "one"], 10, MINUTE).await.is_empty());
    append(&store, [5], 100).await;
    assert_eq!(numbers(&consume(&store, ["mail", "one"], 10, MINUTE).await), [5]);
}

pub(super) async fn what_is_not_done_in_time_is_handed_out_again(store: Store) {
    let soon = Duration::from_millis(1_000);
    append(&store, 0..4, 100).await;
    let handed = consume(&store, ["mail", "one"], 3, soon).await;
    assert_eq!(done(&store, "mail", &handed[1..2]).await, 1);
    assert_eq!(done(&store, "mail", &handed[1..2]).await, 0);
    assert_eq!(done(&store, "other", &handed).await, 0);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let again = consume(&store, ["mail", "two"], 10, soon).await;
    assert_eq!(numbers(&again), [0, 2, 3]);
    assert!(consume(&store, ["mail", "one"], 10, MINUTE).await.is_empty());
    assert_eq!(done(&store, "mail", &again).await, 3);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(consume(&store, ["mail", "one"], 10, soon).await.is_empty());
}

pub(super) async fn what_is_due_is_found_behind_what_is_not(store: Store) {
    let soon = Duration::from_millis(2_000);
    append(&store, 0..60, 100).await;
    assert_eq!(consume(&store, ["mail", "failing"], 50, soon).await.len(), 50);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let busy = consume(&store, ["mail", "busy"], 45, soon).await;
    assert_eq!(numbers(&busy), (0..45).collect::<Vec<_>>());
    assert_eq!(numbers(&consume(&store, ["mail", "two"], 1, soon).await), [45]);
    // With new ones where there is room.
    let rest = consume(&store, ["mail", "two"], 6, soon).await;
    assert_eq!(numbers(&rest), [46, 47, 48, 49, 50, 51]);
}

pub(super) async fn a_worker_can_go_on_behind_an_entry(store: Store) {
    let soon = Duration::from_millis(50);
    append(&store, 0..5, 100).await;
    let handed = consume(&store, ["mail", "one"], 4, soon).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let more = consume_after(&store, ["mail", "one"], 10, soon, handed[1].0).await;
    assert_eq!(numbers(&more), [2, 3, 4]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(consume_after(&store, ["mail", "one"], 10, soon, more[2].0).await.is_empty());
    assert_eq!(numbers(&consume(&store, ["mail", "one"], 10, soon).await), [0, 1, 2, 3, 4]);
}

pub(super) async fn what_the_log_has_dropped_is_not_handed_out_again(store: Store) {
    let soon = Duration::from_millis(50);
    append(&store, 0..10, 1_000).await;
    assert_eq!(consume(&store, ["mail", "one"], 10, soon).await.len(), 10);
    append(&store, 10..1_000, 100).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let handed = consume(&store, ["mail", "one"], 10, soon).await;
    assert!(numbers(&handed).into_iter().all(|number| number >= 700), "{:?}", numbers(&handed));
    assert_eq!(handed.len(), 10);
}

pub(super) async fn concurrent_workers_share_the_entries(store: Store) {
    append(&store, 0..200, 1_000).await;
    let mut workers = JoinSet::new();
    for worker in 0..8 {
        let store = store.clone();
        workers.spawn(async move {
            let mut all = Vec::new();
            loop {
                let handed = consume(&store, ["mail", &worker.to_string()], 3, MINUTE).await;
                if handed.is_empty() {
                    return all;
                }
                assert_eq!(done(&store, "mail", &handed).await, handed.len() as u64);
                all.extend(numbers(&handed));
            }
        });
    }
    let mut all: Vec<u32> = workers.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}

pub(super) async fn a_log_is_not_made_by_being_consumed(store: Store) {
    assert!(consume(&store, ["mail", "one"], 10, MINUTE).await.is_empty());
    assert_eq!(done(&store, "mail", &[(LogId::START, Bytes::new())]).await, 0);
    assert_eq!(store.ask(LogLength { log: log() }).await.unwrap(), 0);
    // The group begins with what was there before it.
    append(&store, 0..2, 100).await;
    assert_eq!(numbers(&consume(&store, ["mail", "one"], 10, MINUTE).await), [0, 1]);
}
