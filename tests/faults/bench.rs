//! A server with one store for each column, and how a fault is put on it, measured and lifted.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use support::{Fault, Proxy, RedisServer};
use tower_redis_kit::{Store, StoreBuilder};

use crate::columns::{COLUMNS, Column, Seen, Stand};
use crate::common::within;
use crate::rows::{Away, Cell, Row};

/// How long a call may take unless the store's builder says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

/// What each of the first three calls may take beyond that, at its best of all trials: the timer's
/// millisecond, and the way through the layer.
const SLACK: Duration = Duration::from_millis(5);

/// Between the columns' first calls: all deadlines at one moment would be a queue of this process's.
const APART: Duration = Duration::from_millis(1);

/// What any call may take beyond the deadline, in every trial: the machine may be busy with others.
const LOOSE: Duration = Duration::from_secs(2);

/// What a call takes at most while the breaker is open: the median of a trial, at its best of all.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How soon all stores are up again, each of two connections, when the server is: at its best of all
/// trials. Where attempts to connect hang, it is two seconds more.
const RECOVERY: Duration = Duration::from_millis(200);

/// Calls of a trial while the breaker is open.
const CALLS: usize = 11;

/// Further trials are made while a figure is not met: what is asserted is that it can be met.
const TRIALS: usize = 5;
const MOST_TRIALS: usize = 12;

/// What came of a row: for each column what is wrong with it, and lines of figures.
pub(crate) struct Report {
    problems: Mutex<Vec<(Column, String)>>,
    pub(crate) figures: Mutex<Vec<String>>,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report { problems: Mutex::default(), figures: Mutex::default() }
    }

    pub(crate) fn problem(&self, column: Column, problem: impl Into<String>) {
        self.problems.lock().unwrap().push((column, problem.into()));
    }

    pub(crate) fn problem_of_all(&self, problem: &str) {
        COLUMNS.iter().for_each(|(column, _, _)| self.problem(*column, problem));
    }

    pub(crate) fn problems_of(&self, column: Column) -> Vec<String> {
        let problems = self.problems.lock().unwrap();
        problems.iter().filter(|(of, _)| *of == column).map(|(_, what)| what.clone()).collect()
    }

    /// Notes a panic as the column's problem.
    pub(crate) async fn cell<T>(&self, column: Column, work: impl Future<Output = T>) -> Option<T> {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => Some(done),
            Err(panic) => {
                self.problem(column, message(&*panic));
                None
            }
        }
    }

    pub(crate) fn expect(&self, stand: &Stand, when: &str, seen: Seen, expected: &[Seen]) {
        if !seen.is_among(expected) {
            self.problem(stand.column, format!("{when}: {seen:?}, not one of {expected:?}"));
        }
    }
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".to_owned())
}

pub(crate) struct Bench {
    pub(crate) server: RedisServer,
    pub(crate) proxy: Proxy,
    /// What is wrong right now, until it is dropped.
    pub(crate) fault: Option<Fault>,
    pub(crate) stands: Vec<Stand>,
    /// What `StoreBuilder::credentials` gives.
    pub(crate) password: Arc<Mutex<String>>,
    pub(crate) report: Report,
}

/// How stores come to their server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    pub(crate) by_proxy: bool,
    /// `user:password@`.
    pub(crate) login: &'static str,
    pub(crate) by_credentials: bool,
    /// Where the fault is no matter of time, how fast the machine is must not be one either.
    pub(crate) patient: bool,
}

impl Bench {
    pub(crate) async fn start(server: RedisServer, way: Way) -> Bench {
        let proxy = Proxy::to(server.addr());
        let addr = if way.by_proxy { proxy.addr() } else { server.addr() };
        let url = format!("redis://{}{addr}", way.login);
        let password = Arc::new(Mutex::new("old".to_owned()));
        let builder = || -> StoreBuilder {
            let builder = Store::builder();
            let builder =
                if way.patient { builder.deadline(Duration::from_secs(5)) } else { builder };
            if !way.by_credentials {
                return builder;
            }
            let password = password.clone();
            builder.credentials(move || (None, password.lock().unwrap().clone()))
        };
        let stands = COLUMNS.iter().map(|(column, _, _)| Stand::new(*column, builder(), &url));
        let stands = stands.collect();
        let report = Report::new();
        let mut bench = Bench { server, proxy, fault: None, stands, password, report };
        bench.seed().await;
        bench
    }

    pub(crate) async fn seed(&mut self) {
        join_all(self.stands.iter().map(|stand| stand.seed(&self.server))).await;
    }

    pub(crate) fn stand(&self, column: Column) -> &Stand {
        &self.stands[column as usize]
    }

    /// Waits until all stores are up: how long that took.
    pub(crate) async fn until_up(&self, limit: Duration) -> Duration {
        let began = Instant::now();
        for stand in &self.stands {
            let up = async || stand.store.health().is_up();
            let limit = limit.saturating_sub(began.elapsed());
            self.report.cell(stand.column, within(limit, "the store is up", up)).await;
        }
        began.elapsed()
    }

    /// Every column is served again, by itself: a lock or a permit that was taken without an answer is
    /// free after its time.
    pub(crate) async fn assert_whole(&self) {
        let whole = async |stand: &Stand| {
            let settled = async || stand.is_settled(&self.server);
            let limit = Duration::from_secs(4);
            let what = "what holds permits is what is under way";
            self.report.cell(stand.column, within(limit, what, settled)).await;
            let served = async || match stand.ask().await {
                Seen::Served => true,
                // On a busy machine a deadline can pass without any fault.
                _ => false,
            };
            self.report.cell(stand.column, within(limit, "service is whole", served)).await;
        };
        join_all(self.stands.iter().map(whole)).await;
    }

    /// Nothing acknowledged is lost, nothing was done twice.
    pub(crate) async fn audit(&self) {
        for stand in &self.stands {
            let audit = async { stand.audit(&self.server) };
            if let Some(Err(problem)) = self.report.cell(stand.column, audit).await {
                self.report.problem(stand.column, problem);
            }
        }
    }

    pub(crate) fn figure(&self, text: String) {
        self.report.figures.lock().unwrap().push(text);
    }
}

/// For each column and trial, the first three calls, and the median of those with the breaker open.
#[derive(Default)]
struct Times {
    first: Vec<Vec<[Duration; 3]>>,
    at_once: Vec<Vec<Duration>>,
    recovery: Vec<Duration>,
}

/// A fault that concerns all commands alike: each trial puts it on the server, asks, lifts it, and
/// waits until service is whole.
pub(crate) async fn away(row: &'static Row, it: &'static Away) -> Report {
    let mut bench = Bench::start((it.server)(), it.way).await;
    bench.assert_whole().await;
    let mut times = Times::default();
    for trial in 1.. {
        (it.begin)(&mut bench);
        let first = join_all(bench.stands.iter().map(|stand| first_calls(&bench, stand, row)));
        let first = first.await;
        times.first.push(first.into_iter().map(Option::unwrap_or_default).collect());
        if it.opens {
            times.at_once.push(calls_at_once(&bench, row, it).await);
        }
        let is_last = trial >= MOST_TRIALS || (trial >= TRIALS && times.hold(it));
        (it.end)(&mut bench);
        // Attempts to connect that fell into the fault fail at once, but for the last trial's.
        if it.is_silence && !is_last {
            bench.proxy.cut();
        }
        let recovery = bench.until_up(it.recovery).await;
        if is_last || !it.is_silence {
            times.recovery.push(recovery);
        }
        if it.comes_back_empty {
            bench.seed().await;
        }
        bench.assert_whole().await;
        bench.audit().await;
        if is_last {
            break;
        }
    }
    times.report(&bench, it);
    bench.report
}

async fn first_calls(bench: &Bench, stand: &Stand, row: &Row) -> Option<[Duration; 3]> {
    let mut times = [Duration::ZERO; 3];
    tokio::time::sleep(stand.column as u32 * APART).await;
    for (number, time) in times.iter_mut().enumerate() {
        let Cell { first, then, .. } = (row.cell)(stand.column);
        let began = Instant::now();
        let seen = bench.report.cell(stand.column, stand.ask()).await?;
        *time = began.elapsed();
        // A column that asks twice for one answer has opened the breaker before its third.
        let expected = if number == 0 { first.to_vec() } else { [first, then].concat() };
        bench.report.expect(stand, &format!("call {}", number + 1), seen, &expected);
        if *time > DEADLINE + LOOSE {
            bench.report.problem(stand.column, format!("call {} took {time:?}", number + 1));
        }
    }
    Some(times)
}

/// With the breaker open nothing is sent, so nothing is noted either.
async fn calls_at_once(bench: &Bench, row: &Row, it: &Away) -> Vec<Duration> {
    let mut medians = Vec::new();
    for stand in &bench.stands {
        // The driver may not have seen yet that its connection is gone.
        let lanes = async || !stand.store.health().is_up();
        bench.report.cell(stand.column, within(LOOSE, "the breaker opens", lanes)).await;
        let says = async || stand.store.health().error().is_some_and(it.says);
        bench.report.cell(stand.column, within(LOOSE, "health() says why", says)).await;
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let began = Instant::now();
            let Some(seen) = bench.report.cell(stand.column, stand.ask_in_vain()).await else {
                break;
            };
            times.push(began.elapsed());
            let then = (row.cell)(stand.column).then;
            bench.report.expect(stand, "with the breaker open", seen, then);
        }
        times.sort_unstable();
        medians.push(times.get(CALLS / 2).copied().unwrap_or_default());
    }
    medians
}

impl Times {
    /// The best of all trials, for each column.
    fn best_first(&self, column: usize) -> Duration {
        let call = |call: usize| self.first.iter().map(move |trial| trial[column][call]).min();
        (0..3).filter_map(call).max().unwrap_or_default()
    }

    fn best_at_once(&self, column: usize) -> Duration {
        self.at_once.iter().map(|trial| trial[column]).min().unwrap_or_default()
    }

    fn best_recovery(&self) -> Duration {
        self.recovery.iter().min().copied().unwrap_or_default()
    }

    fn hold(&self, it: &Away) -> bool {
        let recovers = it.is_silence || self.best_recovery() < RECOVERY;
        let in_time = |column| {
            self.best_first(column) < DEADLINE + SLACK && self.best_at_once(column) < AT_ONCE
        };
        recovers && (0..COLUMNS.len()).all(in_time)
    }

    fn report(&self, bench: &Bench, it: &Away) {
        let recovery = self.best_recovery();
        if !it.is_silence && recovery >= RECOVERY {
            bench.report.problem_of_all(&format!("up again after {recovery:?} at its best"));
        }
        for (column, _, _) in COLUMNS {
            let (first, at_once) =
                (self.best_first(column as usize), self.best_at_once(column as usize));
            if first >= DEADLINE + SLACK {
                bench.report.problem(column, format!("a first call takes {first:?} at its best"));
            }
            if at_once >= AT_ONCE {
                let problem = format!("{at_once:?} at its best with the breaker open");
                bench.report.problem(column, problem);
            }
        }
        let best = (0..COLUMNS.len()).map(|column| self.best_first(column)).max();
        let first = self.first.iter().flatten().flatten().copied();
        let at_once = self.at_once.iter().flatten().copied();
        let best = best.unwrap_or_default();
        bench.figure(format!(
            "{} trials; first calls: slowest column's best {best:?}, median {:?}, slowest {:?}; with \
             the breaker open: median {:?}, slowest median {:?}; up again: median {:?}, slowest {:?}",
            self.first.len(),
            median(first.clone()),
            first.max().unwrap_or_default(),
            median(at_once.clone()),
            at_once.max().unwrap_or_default(),
            median(self.recovery.iter().copied()),
            self.recovery.iter().max().copied().unwrap_or_default(),
        ));
    }
}

pub(crate) fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
