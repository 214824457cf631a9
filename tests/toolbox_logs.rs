//! Logs, by the public interface.

mod common;

use std::time::{Duration, SystemTime};

use common::{on_every_store, unique};
use serde::{Deserialize, Serialize};
use support::RedisServer;
use tower_redis_kit::toolbox::{Log, LogId};
use tower_redis_kit::{Store, redis};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    who: String,
    number: u32,
}

fn event(number: u32) -> Event {
    Event { who: "ada".to_owned(), number }
}

on_every_store!(
    a_reader_goes_on_where_it_was,
    logs_of_one_name_are_apart,
    an_entry_of_another_type_is_left_out,
    what_cannot_be_appended_is_an_error,
    a_log_keeps_what_it_was_told_to,
    the_jobs_of_a_worker_that_failed_go_to_another,
    a_job_of_another_version_is_left_for_it,
    jobs_that_cannot_be_read_hold_up_no_others,
);

fn numbers(entries: Vec<(LogId, Event)>) -> Vec<u32> {
    entries.into_iter().map(|(_, event)| event.number).collect()
}

async fn a_reader_goes_on_where_it_was(store: Store) {
    let log = store.log("audit");
    let before = SystemTime::now() - Duration::from_secs(1);
    for number in 0..10 {
        log.append(&event(number)).await.unwrap();
    }
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let entries: Vec<(LogId, Event)> = log.read_after(after, 3).await.unwrap();
        let Some((last, _)) = entries.last() else { break };
        assert!(last.time() > before);
        after = Some(*last);
        read.extend(numbers(entries));
    }
    assert_eq!(read, (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(log.read_after(LogId::START, 2).await.unwrap()), [0, 1]);
    assert_eq!(numbers(log.last(2).await.unwrap()), [8, 9]);
    assert_eq!(numbers(log.last(0).await.unwrap()), [0; 0]);
    assert_eq!(numbers(log.read_after(None, 0).await.unwrap()), [0; 0]);
    assert_eq!(log.len().await, Ok(10));
}

async fn logs_of_one_name_are_apart(store: Store) {
    let edits = store.log("edits");
    for (number, of) in ["a", "{a}", "a:b", "*"].into_iter().enumerate() {
        edits.of(of).append(&event(number as u32)).await.unwrap();
        assert_eq!(numbers(edits.of(of).last(9).await.unwrap()), [number as u32]);
    }
    assert_eq!(edits.len().await, Ok(0));
    assert_eq!(store.log("edits:a").of("b").len().await, Ok(0));
    for of in ["", &"x".repeat(513)] {
        assert!(edits.of(of).append("x").await.unwrap_err().is_invalid_key());
        assert!(edits.of(of).last::<String>(1).await.unwrap_err().is_invalid_key());
        assert!(edits.of(of).len().await.unwrap_err().is_invalid_key());
    }
}

async fn an_entry_of_another_type_is_left_out(store: Store) {
    let log = store.log("audit");
    for number in 0..3 {
        log.append(&event(number)).await.unwrap();
        log.append("no event").await.unwrap();
        log.append("nor this").await.unwrap();
    }
    assert_eq!(numbers(log.read_after(None, 100).await.unwrap()), [0, 1, 2]);
    let (mut read, mut after) = (Vec::new(), LogId::START);
    // With pages on which there is nothing to be read.
    while let Some((id, event)) = log.read_after::<Event>(after, 1).await.unwrap().pop() {
        read.push(event.number);
        after = id;
    }
    assert_eq!(read, [0, 1, 2]);
    assert_eq!(log.last::<serde_json::Value>(2).await.unwrap()[1].1, "nor this");
}

async fn what_cannot_be_appended_is_an_error(store: Store) {
    let log = store.log("audit");
    assert!(log.append(&"x".repeat((1 << 20) + 1)).await.unwrap_err().is_too_large());
    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(log.append(&no_json).await.unwrap_err().is_invalid_value());
    log.append(&"x".repeat(1 << 20)).await.unwrap();
    assert_eq!(log.last::<String>(1).await.unwrap()[0].1.len(), 1 << 20);
}

async fn a_log_keeps_what_it_was_told_to(store: Store) {
    let log = store.log("short").max_len(100).retention(Duration::from_millis(600));
    for number in 0..500 {
        log.append(&event(number)).await.unwrap();
    }
    assert!((100..=200).contains(&log.len().await.unwrap()));
    assert_eq!(numbers(log.last(1).await.unwrap()), [499]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(log.len().await, Ok(0));
}

async fn the_jobs_of_a_worker_that_failed_go_to_another(store: Store) {
    let jobs = store.log("jobs");
    for number in 0..20 {
        jobs.append(&event(number)).await.unwrap();
    }
    let soon = Duration::from_millis(100);
    let failing = jobs.consumer("mail", "failing").again_after(soon);
    assert_eq!(numbers(failing.next(5).await.unwrap()), [0, 1, 2, 3, 4]);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let (worker, mut all) = (jobs.consumer("mail", "steady").again_after(soon), Vec::new());
    loop {
        let handed: Vec<(LogId, Event)> = worker.next(7).await.unwrap();
        if handed.is_empty() {
            break;
        }
        let done = worker.done(handed.iter().map(|(id, _)| *id)).await.unwrap();
        assert_eq!(done, handed.len() as u64);
        all.extend(numbers(handed));
    }
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    assert_eq!(worker.done([]).await, Ok(0));
    assert_eq!(numbers(worker.next(0).await.unwrap()), [0; 0]);
    for [group, worker] in [["", "one"], ["mail", ""]] {
        let nobody = jobs.consumer(group, worker);
        assert!(nobody.next::<Event>(1).await.unwrap_err().is_invalid_key());
        assert!(nobody.done([LogId::START]).await.unwrap_err().is_invalid_key());
    }
}

async fn a_job_of_another_version_is_left_for_it(store: Store) {
    let jobs = store.log("jobs");
    jobs.append("of another version").await.unwrap();
    jobs.append(&event(1)).await.unwrap();
    let worker = jobs.consumer("mail", "old").again_after(Duration::from_millis(50));
    let handed: Vec<(LogId, Event)> = worker.next(10).await.unwrap();
    worker.done(handed.iter().map(|(id, _)| *id)).await.unwrap();
    assert_eq!(numbers(handed), [1]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let newer = jobs.consumer("mail", "new").again_after(Duration::from_millis(50));
    let left: Vec<String> = newer.next(10).await.unwrap().into_iter().map(|(_, job)| job).collect();
    assert_eq!(left, ["of another version"]);
}

async fn jobs_that_cannot_be_read_hold_up_no_others(store: Store) {
    let jobs = store.log("jobs");
    for _ in 0..20 {
        jobs.append("of another version").await.unwrap();
    }
    // They are due again before all of them were looked at.
    let worker = jobs.consumer("mail", "old").again_after(Duration::from_millis(1));
    for number in 0..3 {
        jobs.append(&event(number)).await.unwrap();
        let mut handed: Vec<(LogId, Event)> = worker.next(1).await.unwrap();
        let (id, job) = handed.pop().expect("the one that can be read");
        assert_eq!(job, event(number));
        assert_eq!(worker.done([id]).await, Ok(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(numbers(worker.next(1).await.unwrap()), [0; 0]);
}

#[tokio::test]
async fn in_process_a_log_without_room_is_left_as_it_was() {
    let store = Store::builder().memory_capacity(6 << 10).memory();
    let (log, other) = (store.log("audit"), store.log("other"));
    let mut number = 0;
    let full = loop {
        match log.append(&event(number)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(full.is_full() && number > 3, "{number} entries: {full}");
    assert_eq!(numbers(log.read_after(None, 100).await.unwrap()), (0..number).collect::<Vec<_>>());
    assert!(other.append(&"x".repeat(500)).await.unwrap_err().is_full());
    // One that gives up an entry for each that comes goes on.
    log.clone().max_len(u64::from(number)).append(&event(number)).await.unwrap();
    assert_eq!(numbers(log.last(1).await.unwrap()), [number]);
}

#[tokio::test]
async fn on_redis_a_log_is_a_stream_with_an_end() {
    let (server, prefix) = (RedisServer::shared(), unique("log"));
    let log: Log = common::redis_under(&prefix).await.log("audit");
    let id = log.append("one").await.unwrap();
    let key = format!("{prefix}:log:audit");
    assert_eq!(server.command(&["TYPE", &key]), "stream");
    assert_eq!(server.command(&["XRANGE", &key, "-", "+"]), format!("{id}\nv\none"));
    let week = 7 * 24 * 60 * 60 * 1_000;
    assert!((1..=week).contains(&server.ttl_ms(&key)));
    server.command(&["XADD", &key, "*", "other", "field"]);
    log.append("two").await.unwrap();
    let entries: Vec<String> =
        log.last(9).await.unwrap().into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(entries, ["one", "", "two"]);
}

#[tokio::test]
async fn on_redis_what_others_could_read_is_left_out() {
    let prefix = unique("log");
    let store = common::redis_under(&prefix).await;
    let log = store.log("audit");
    // Of a version to come, and larger than the cap.
    let refused = [b"\xfftrk\x7fx".to_vec(), vec![b'x'; (1 << 20) + 1]];
    for (number, entry) in refused.iter().enumerate() {
        let mut add = redis::cmd("XADD");
        add.arg(format!("{prefix}:log:audit")).arg("*").arg("v").arg(entry);
        store.raw::<String>(add).await.unwrap();
        log.append(&event(number as u32)).await.unwrap();
    }
    assert_eq!(numbers(log.read_after(None, 10).await.unwrap()), [0, 1]);
    assert_eq!(numbers(log.read_after(None, 1).await.unwrap()), [0]);
    assert_eq!(numbers(log.last(3).await.unwrap()), [0, 1]);
    let worker = log.consumer("mail", "old");
    assert_eq!(numbers(worker.next(1).await.unwrap()), [0]);
    assert_eq!(numbers(worker.next(10).await.unwrap()), [1]);
}
