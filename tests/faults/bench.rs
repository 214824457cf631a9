//! A server with one store for each column, and how a fault is put on it, measured and lifted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Fault, Proxy, RedisServer};
use tower_redis_kit::{Store, StoreBuilder};

use crate::columns::{COLUMNS, Column, Stand};
use crate::report::Report;
use crate::rows::{Away, Row};
use crate::stands::{DEADLINE, SLACK, Stands, median};

/// What a call takes at most while the breaker is open: the median of a trial, at its best of all.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How soon all stores are up again, each of two connections, when the server is: at its best of all
/// trials. Where attempts to connect hang, it is two seconds more.
const RECOVERY: Duration = Duration::from_millis(200);

/// Further trials are made while a figure is not met: what is asserted is that it can be met.
const TRIALS: usize = 5;
const MOST_TRIALS: usize = 12;

pub(crate) struct Bench {
    pub(crate) server: RedisServer,
    pub(crate) proxy: Proxy,
    /// What is wrong right now, until it is dropped.
    pub(crate) fault: Option<Fault>,
    pub(crate) columns: Stands,
    /// What `StoreBuilder::credentials` gives.
    pub(crate) password: Arc<Mutex<String>>,
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
        let columns = Stands::new(builder, &url);
        let bench = Bench { server, proxy, fault: None, columns, password };
        bench.seed().await;
        bench
    }

    pub(crate) fn stands(&self) -> &[Stand] {
        &self.columns.all
    }

    pub(crate) fn stand(&self, column: Column) -> &Stand {
        &self.columns.all[column as usize]
    }

    pub(crate) fn report(&self) -> &Report {
        &self.columns.report
    }

    pub(crate) async fn seed(&self) {
        self.columns.seed(&self.server).await;
    }

    pub(crate) async fn until_up(&self, limit: Duration) -> Duration {
        self.columns.until_up(limit).await
    }

    pub(crate) async fn assert_whole(&self) {
        self.columns.assert_settled(&self.server).await;
        self.columns.assert_whole().await;
    }

    pub(crate) async fn audit(&self) {
        self.columns.audit(&self.server).await;
    }

    pub(crate) fn figure(&self, text: String) {
        self.report().figures.lock().unwrap().push(text);
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
        times.first.push(bench.columns.first_calls(row.cell).await);
        if it.opens {
            times.at_once.push(bench.columns.calls_at_once(row.cell, it.says).await);
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
    bench.columns.report
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
            bench.report().problem_of_all(&format!("up again after {recovery:?} at its best"));
        }
        for (column, _, _) in COLUMNS {
            let (first, at_once) =
                (self.best_first(column as usize), self.best_at_once(column as usize));
            if first >= DEADLINE + SLACK {
                bench.report().problem(column, format!("a first call takes {first:?} at its best"));
            }
            if at_once >= AT_ONCE {
                let problem = format!("{at_once:?} at its best with the breaker open");
                bench.report().problem(column, problem);
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
