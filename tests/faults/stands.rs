//! All columns side by side, each on a store of its own: how they are asked while something is
//! wrong, and afterwards.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::RedisServer;
use tower_redis_kit::{StoreBuilder, StoreError};

use crate::columns::{COLUMNS, Column, Seen, Stand};
use crate::common::within;
use crate::report::Report;

/// How long a call may take unless the store's builder says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

/// What each of the first three calls may take beyond that, at its best of all trials: the timer's
/// millisecond, and the way through the layer.
pub(crate) const SLACK: Duration = Duration::from_millis(5);

/// What any call may take beyond the deadline, in every trial: the machine may be busy with others.
const LOOSE: Duration = Duration::from_secs(2);

/// Between the columns' first calls: all deadlines at one moment would be a queue of this process's.
const APART: Duration = Duration::from_millis(4);

/// Until service is whole: a lock or a permit that was taken without an answer is free after its
/// time.
const WHOLE: Duration = Duration::from_secs(4);

/// Calls of a trial while the breaker is open.
const CALLS: usize = 11;

/// What a column answers: the first call of a fault, and those after it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    pub(crate) first: &'static [Seen],
    pub(crate) then: &'static [Seen],
}

pub(crate) struct Stands {
    pub(crate) all: Vec<Stand>,
    pub(crate) report: Report,
}

impl Stands {
    pub(crate) fn new(builder: impl Fn() -> StoreBuilder, url: &str) -> Stands {
        let stand = |&(column, _, _): &(Column, _, _)| Stand::new(column, builder(), url);
        Stands { all: COLUMNS.iter().map(stand).collect(), report: Report::new() }
    }

    /// On the server that has their keys.
    pub(crate) async fn seed(&self, server: &RedisServer) {
        join_all(self.all.iter().map(|stand| stand.seed(server))).await;
    }

    /// Waits until all stores are up: how long that took.
    pub(crate) async fn until_up(&self, limit: Duration) -> Duration {
        let began = Instant::now();
        for stand in &self.all {
            let up = async || stand.store.health().is_up();
            let limit = limit.saturating_sub(began.elapsed());
            self.report.cell(stand.column, within(limit, "the store is up", up)).await;
        }
        began.elapsed()
    }

    /// What is under way is what holds permits, on the server that has their keys.
    pub(crate) async fn assert_settled(&self, server: &RedisServer) {
        let settled = async |stand: &Stand| {
            let settled = async || stand.is_settled(server);
            let what = "what holds permits is what is under way";
            self.report.cell(stand.column, within(WHOLE, what, settled)).await;
        };
        join_all(self.all.iter().map(settled)).await;
    }

    /// Every column is served again, by itself.
    pub(crate) async fn assert_whole(&self) {
        let whole = async |stand: &Stand| {
            let served = async || match stand.ask().await {
                Seen::Served => true,
                // On a busy machine a deadline can pass without any fault.
                _ => false,
            };
            self.report.cell(stand.column, within(WHOLE, "service is whole", served)).await;
        };
        join_all(self.all.iter().map(whole)).await;
    }

    /// Nothing acknowledged is lost, nothing was done twice, by the server that has their keys.
    pub(crate) async fn audit(&self, server: &RedisServer) {
        for stand in &self.all {
            let audit = async { stand.audit(server) };
            if let Some(Err(problem)) = self.report.cell(stand.column, audit).await {
                self.report.problem(stand.column, problem);
            }
        }
    }

    /// The first three calls of a fault: how long each took, less what a bare timer beside it, for
    /// the same deadline, is late on this machine.
    pub(crate) async fn first_calls(&self, cell: impl Fn(Column) -> Cell) -> Vec<[Duration; 3]> {
        let calls = self.all.iter().map(|stand| self.first_calls_of(stand, cell(stand.column)));
        join_all(calls).await.into_iter().map(Option::unwrap_or_default).collect()
    }

    async fn first_calls_of(&self, stand: &Stand, cell: Cell) -> Option<[Duration; 3]> {
        let mut times = [Duration::ZERO; 3];
        tokio::time::sleep(stand.column as u32 * APART).await;
        for (number, time) in times.iter_mut().enumerate() {
            let Cell { first, then } = cell;
            let (began, mut late) = (Instant::now(), Duration::ZERO);
            let bare_timer = async {
                tokio::time::sleep(DEADLINE).await;
                late = began.elapsed() - DEADLINE;
                std::future::pending().await
            };
            let seen = tokio::select! {
                biased;
                seen = bare_timer => seen,
                seen = self.report.cell(stand.column, stand.ask()) => seen?,
            };
            let took = began.elapsed();
            *time = took - late;
            // A column that asks twice for one answer has opened the breaker before its third. What
            // an earlier claim of a lock may have taken is given back meanwhile: these calls miss
            // their deadline too, and may have opened it before the first.
            let is_early = number > 0 || stand.column == Column::Lock;
            let expected = if is_early { [first, then].concat() } else { first.to_vec() };
            self.report.expect(stand, &format!("call {}", number + 1), seen, &expected);
            if took > DEADLINE + LOOSE {
                self.report.problem(stand.column, format!("call {} took {took:?}", number + 1));
            }
        }
        Some(times)
    }

    /// With the breaker open nothing is sent, so nothing is noted either. What `health` has to say
    /// then is for `says`; each column's median is given.
    pub(crate) async fn calls_at_once(
        &self,
        cell: fn(Column) -> Cell,
        says: fn(&StoreError) -> bool,
    ) -> Vec<Duration> {
        let mut medians = Vec::new();
        for stand in &self.all {
            // The driver may not have seen yet that its connection is gone.
            let lanes = async || !stand.store.health().is_up();
            self.report.cell(stand.column, within(LOOSE, "the breaker opens", lanes)).await;
            let says = async || stand.store.health().error().is_some_and(says);
            self.report.cell(stand.column, within(LOOSE, "health() says why", says)).await;
            let mut times = Vec::new();
            for _ in 0..CALLS {
                let began = Instant::now();
                let Some(seen) = self.report.cell(stand.column, stand.ask_in_vain()).await else {
                    break;
                };
                times.push(began.elapsed());
                let then = cell(stand.column).then;
                self.report.expect(stand, "with the breaker open", seen, then);
            }
            medians.push(median(times.into_iter()));
        }
        medians
    }
}

pub(crate) fn always(seen: &'static [Seen]) -> Cell {
    Cell { first: seen, then: seen }
}

pub(crate) fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
