//! Each layer under each of its policies, and each tool, beside what happens to several servers: the
//! columns of `tests/faults.rs`, asked side by side.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use support::{RedisCluster, RedisServer, Sentinels};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tower_redis_kit::cache::Cache;
use tower_redis_kit::{Store, StoreBuilder, StoreError};

use crate::columns::{COLUMNS, Column, Seen, Why};
use crate::servers::{cluster_url, sentinel_url};
use crate::stands::{Cell, DEADLINE, SLACK, Stands, always};
use crate::{AT_ONCE, RECOVERY};

/// More than what is asserted while a node is away takes: so long nobody takes over.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);
pub(crate) const IMPATIENT: Duration = Duration::from_secs(1);

/// As [`RECOVERY`], and an attempt to connect that fell into a silence is given up after two
/// seconds.
const AFTER_SILENCE: Duration = Duration::from_secs(5);

/// A fault is put on again where the machine was too busy for what is asserted of times: as for one
/// server, each call at its best of all.
const TRIALS: usize = 8;

/// How often each column is asked at most during a change: half a limit's burst is left to it.
const ROUNDS: usize = 400;

/// Columns whose keys are all on one node of the cluster, and its number.
pub(crate) async fn on_one_node(
    cluster: &RedisCluster,
    builder: impl Fn() -> StoreBuilder,
) -> (Stands, usize) {
    let columns = Stands::new(builder, &cluster_url(cluster));
    columns.until_up(Duration::from_secs(10)).await;
    // Whom a limit counts is in its key, and the same in all columns: the others come to it.
    let limit = &columns.all[Column::LimitRefuse as usize];
    assert_eq!(limit.ask().await, Seen::Absent);
    let node = block_in_place(|| {
        let slots = slots_of_columns(cluster);
        cluster.primary_of_slot(*slots.first().expect("the limit's"))
    });
    seed_on(&columns, cluster, node).await;
    (columns, node)
}

/// What the columns ask for, on the node that has their limits.
pub(crate) async fn seed_on(columns: &Stands, cluster: &RedisCluster, node: usize) {
    columns.seed(cluster.node(node)).await;
    for column in [Column::CacheHit, Column::CacheMiss] {
        // Each look-up of a response reads when anything was last purged.
        let cache = Cache::new(columns.all[column as usize].store.clone());
        cache.purge_tag("nothing").await.expect("purged");
    }
    block_in_place(|| cluster.gather_slots(slots_of_columns(cluster), node));
    columns.assert_whole().await;
}

/// Columns whose keys the primary and its replica have.
pub(crate) async fn behind(sentinels: &Sentinels) -> Stands {
    let columns = Stands::new(Store::builder, &sentinel_url(sentinels));
    let primary = block_in_place(|| sentinels.primary());
    columns.seed(sentinels.node(primary)).await;
    columns.assert_whole().await;
    block_in_place(|| {
        sentinels.node(1 - primary).wait_to_have_all_of(sentinels.node(primary));
    });
    columns
}

/// Of all that the columns have in the store.
pub(crate) fn slots_of_columns(cluster: &RedisCluster) -> BTreeSet<u16> {
    let begins = COLUMNS.map(|(column, _, _)| format!("{}:", column.name()));
    let is_ours = |key: &String| begins.iter().any(|begins| key.starts_with(begins));
    cluster.keys().iter().filter(|key| is_ours(key)).map(|key| cluster.slot_of(key)).collect()
}

/// What a column does while the server of its keys is away.
fn away(_: Column) -> Cell {
    const AT_FIRST: &[Seen] = &[Seen::Policy(Why::Timeout), Seen::Policy(Why::Unavailable)];
    Cell { first: AT_FIRST, then: &AT_FIRST[1..] }
}

/// Each column is at its policy: within the deadline, and at once when it is known why. The server
/// is dead already, unless it is one to be `hung`.
pub(crate) async fn assert_policies(
    columns: &Stands,
    hung: Option<&RedisServer>,
    says: fn(&StoreError) -> bool,
) {
    let mut best = vec![[Duration::MAX; 3]; COLUMNS.len()];
    for trial in 1.. {
        hung.inspect(|server| server.pause());
        for (best, first) in best.iter_mut().zip(columns.first_calls(away).await) {
            *best = std::array::from_fn(|call| best[call].min(first[call]));
        }
        let slowest = *best.iter().flatten().max().expect("three calls of each");
        println!("first calls of all columns: {slowest:?} at most, each at its best");
        if slowest < DEADLINE + SLACK {
            break;
        }
        let again = hung.filter(|_| trial < TRIALS).expect("each within the deadline");
        again.resume();
        columns.until_up(AFTER_SILENCE).await;
        columns.assert_whole().await;
    }
    let mut best = vec![Duration::MAX; COLUMNS.len()];
    for _ in 0..TRIALS {
        let medians = columns.calls_at_once(away, says).await;
        best = best.into_iter().zip(medians).map(|(best, median)| best.min(median)).collect();
        if best.iter().all(|best| *best < AT_ONCE) {
            break;
        }
    }
    let slowest = best.into_iter().max().expect("a median of each");
    println!("all columns with the breaker open: {slowest:?} at most, at the median");
    assert!(slowest < AT_ONCE, "{slowest:?}");
    assert_no_problems(columns);
}

/// Each column is at its policy, though its server answers: that it can do nothing.
pub(crate) async fn assert_turned_away(columns: &Stands, limit: Duration) {
    const DOWN: &[Seen] = &[Seen::Policy(Why::Unavailable)];
    let mut best = vec![Duration::MAX; COLUMNS.len()];
    for _ in 0..TRIALS {
        for (best, calls) in best.iter_mut().zip(columns.first_calls(|_| always(DOWN)).await) {
            *best = calls.into_iter().fold(*best, Duration::min);
        }
        if best.iter().all(|best| *best < limit) {
            break;
        }
    }
    let slowest = best.into_iter().max().expect("one of each");
    println!("all columns without a cluster: {slowest:?} at most, at their best");
    assert!(slowest < limit, "{slowest:?}");
    assert_no_problems(columns);
}

/// Each column is served again, by itself.
pub(crate) async fn assert_served_again(columns: &Stands) {
    let took = columns.until_up(RECOVERY).await;
    println!("all columns' stores were up {took:?} later");
    columns.assert_whole().await;
    assert_no_problems(columns);
}

/// And by the server that has their keys now, what was acknowledged is there, and nothing twice.
pub(crate) async fn assert_whole_again(columns: &Stands, server: &RedisServer) {
    assert_served_again(columns).await;
    columns.assert_settled(server).await;
    columns.audit(server).await;
    assert_no_problems(columns);
}

/// Asks all columns over and over while `change` goes on: each answers one of these.
pub(crate) fn asked_during<T>(
    columns: &Stands,
    expected: &'static [Seen],
    change: impl FnOnce() -> T,
) -> T {
    let (runtime, is_over) = (Handle::current(), AtomicBool::new(false));
    let asking = async || {
        let mut rounds = 0;
        while rounds < ROUNDS && !is_over.load(SeqCst) {
            columns.first_calls(|_| always(expected)).await;
            rounds += 3;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        rounds
    };
    let (done, rounds) = block_in_place(|| {
        thread::scope(|scope| {
            let asking = scope.spawn(|| runtime.block_on(asking()));
            let done = change();
            is_over.store(true, SeqCst);
            (done, asking.join().expect("it asks until it is over"))
        })
    });
    println!("each column was asked {rounds} times meanwhile");
    assert!(rounds > 0, "it was over before anybody asked");
    assert_no_problems(columns);
    done
}

#[track_caller]
fn assert_no_problems(columns: &Stands) {
    let of = |(column, _, _): &(Column, _, _)| {
        let problems = columns.report.problems_of(*column);
        (!problems.is_empty()).then(|| format!("{}: {}", column.title(), problems.join("; ")))
    };
    let problems: Vec<_> = COLUMNS.iter().filter_map(of).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}
