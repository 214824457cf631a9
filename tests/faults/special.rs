//! Rows that follow no common course.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::RedisServer;
use tower_redis_kit::redis;

use crate::bench::{Bench, Way};
use crate::columns::{Column, Seen, Stand};
use crate::report::Report;
use crate::rows::Row;
use crate::stands::{DEADLINE, median};

/// How many bytes of a reply come through, at most of all: the middle of a load, of a save, of a
/// list.
const CUTS: [usize; 7] = [0, 1, 3, 6, 20, 40, 90];

/// The connection of each column in turn is cut after some bytes more.
pub(crate) async fn mid_pipeline() -> Report {
    let row = Row::named("killed_mid_pipeline");
    // What a busy machine makes late is not what is looked for.
    let way = Way { by_proxy: true, patient: true, ..Way::default() };
    let bench = Bench::start(RedisServer::start(), way).await;
    let mut recovery = Vec::new();
    for stand in bench.stands() {
        let mut failed = 0;
        for bytes in CUTS {
            bench.proxy.cut_after(bytes);
            let began = Instant::now();
            for call in 1..=2 {
                let Some(seen) = bench.report().cell(stand.column, stand.ask()).await else {
                    break;
                };
                let when = format!("call {call}, cut after {bytes} bytes");
                bench.report().expect(stand, &when, seen, (row.cell)(stand.column).first);
                failed += u32::from(seen != Seen::Served);
            }
            if began.elapsed() > 2 * DEADLINE + Duration::from_secs(2) {
                bench.report().problem(stand.column, format!("cut after {bytes}: too late"));
            }
            // What was not needed must not cut the next one.
            bench.proxy.cut_after(usize::MAX);
            recovery.push(bench.until_up(Duration::from_secs(2)).await);
        }
        if failed == 0 {
            bench.report().problem(stand.column, "it has not noticed");
        }
    }
    // Several at once on one connection: some of a pipeline's replies come through.
    let counter = bench.stand(Column::Increment);
    for bytes in [5, 11, 17, 30] {
        bench.proxy.cut_after(bytes);
        join_all((0..8).map(|_| counter.ask())).await;
        bench.proxy.cut_after(usize::MAX);
        bench.until_up(Duration::from_secs(2)).await;
    }
    bench.assert_whole().await;
    bench.audit().await;
    bench.figure(format!("connected anew: median {:?}", median(recovery.into_iter())));
    bench.columns.report
}

const LARGE: usize = 64 << 20;

/// For a column to show on which connection it travels, on a busy machine.
const ATTEMPTS: usize = 3;

/// First with time for it, then without.
pub(crate) async fn large_value() -> Report {
    let row = Row::named("large_value");
    let bench = with_large(Way { patient: true, ..Way::default() }).await;
    let (mut beside, mut behind, mut travelled) = (Vec::new(), Vec::new(), Vec::new());
    for stand in bench.stands() {
        let mut in_time = false;
        for _ in 0..ATTEMPTS {
            let asking = async {
                // Sent after it.
                tokio::task::yield_now().await;
                let mut times = Vec::new();
                for _ in 0..3 {
                    let began = Instant::now();
                    let seen = stand.ask().await;
                    times.push(began.elapsed());
                    bench.report().expect(stand, "beside it", seen, &[Seen::Served]);
                }
                times
            };
            let both = async { tokio::join!(get_large(stand), asking) };
            let Some((large, times)) = bench.report().cell(stand.column, both).await else { break };
            let large = large.unwrap_or_default();
            travelled.push(large);
            if stand.column.is_bulk() { &mut behind } else { &mut beside }.extend(times.clone());
            // Redis itself does nothing else while it copies the value, but then the two part.
            in_time |= match stand.column.is_bulk() {
                true => times[0] > large / 2,
                false => times.iter().sum::<Duration>() < large,
            };
            if in_time {
                break;
            }
        }
        if !in_time {
            bench.report().problem(stand.column, "it travels with the wrong connection");
        }
    }
    bench.assert_whole().await;
    bench.audit().await;
    bench.figure(format!(
        "it travels for {:?}; beside it: median {:?}, slowest {:?}; behind it: slowest {:?}",
        median(travelled.into_iter()),
        median(beside.iter().copied()),
        beside.iter().max().unwrap(),
        behind.iter().max().unwrap(),
    ));

    let hurried = with_large(Way::default()).await;
    for stand in hurried.stands().iter().filter(|stand| stand.column.is_bulk()) {
        let asking = async {
            tokio::task::yield_now().await;
            for _ in 0..4 {
                let seen = stand.ask().await;
                let expected = (row.cell)(stand.column).first;
                bench.report().expect(stand, "behind it, without time for it", seen, expected);
            }
        };
        let both = async { tokio::join!(get_large(stand), asking) };
        bench.report().cell(stand.column, both).await;
    }
    hurried.until_up(Duration::from_secs(3)).await;
    hurried.assert_whole().await;
    hurried.audit().await;
    for stand in hurried.stands() {
        for problem in hurried.report().problems_of(stand.column) {
            bench.report().problem(stand.column, problem);
        }
    }
    bench.columns.report
}

async fn with_large(way: Way) -> Bench {
    let bench = Bench::start(RedisServer::start(), way).await;
    bench.server.command(&["SETRANGE", "large", &LARGE.to_string(), "x"]);
    bench.assert_whole().await;
    bench
}

/// How long it travels, if it arrives.
async fn get_large(stand: &Stand) -> Option<Duration> {
    let mut get = redis::cmd("GET");
    get.arg("large");
    let began = Instant::now();
    let large: Vec<u8> = stand.store.raw(get).await.ok()?;
    assert_eq!(large.len(), LARGE + 1);
    Some(began.elapsed())
}
