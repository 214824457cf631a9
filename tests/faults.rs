//! The matrix of faults: what goes wrong with a server, and what each layer does then.
//!
//! A row is a fault (`faults/rows.rs`), a column a layer under one of its policies, or a tool
//! (`faults/columns.rs`). Each cell is a test, `row::column`; the cells of a row are run together,
//! once, on one server, by whichever of its tests comes first. `docs/faults.md` is written from the
//! same table. What is asserted of times is said at the constants in `faults/bench.rs` and
//! `faults/stands.rs`.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]

mod common;

#[path = "faults/bench.rs"]
mod bench;
#[path = "faults/columns.rs"]
mod columns;
#[path = "faults/numbers.rs"]
mod numbers;
#[path = "faults/page.rs"]
mod page;
#[path = "faults/permits.rs"]
mod permits;
#[path = "faults/report.rs"]
mod report;
#[path = "faults/rows.rs"]
mod rows;
#[path = "faults/special.rs"]
mod special;
#[path = "faults/stands.rs"]
mod stands;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use columns::Column;
use report::{Report, message};
use rows::Row;

/// A module for each row, with a test for each column.
macro_rules! matrix {
    ($($row:ident)+) => { $(
        mod $row {
            cells! { $row:
                limit_local LimitLocal, limit_allow LimitAllow, limit_refuse LimitRefuse,
                permit_local PermitLocal, permit_allow PermitAllow, permit_refuse PermitRefuse,
                session_read SessionRead, session_write SessionWrite,
                anonymous_read AnonymousRead, anonymous_write AnonymousWrite,
                token_refuse TokenRefuse, token_allow TokenAllow,
                cache_hit CacheHit, cache_miss CacheMiss,
                value_get ValueGet, value_set ValueSet, value_compute ValueCompute,
                increment Increment, lock Lock,
            }
        }
    )+ };
}

macro_rules! cells {
    ($row:ident: $($test:ident $column:ident,)+) => { $(
        #[test]
        fn $test() {
            crate::check(stringify!($row), crate::columns::Column::$column);
        }
    )+ };
}

matrix! {
    killed
    killed_mid_pipeline
    reset
    client_kill
    restarted_empty
    stopped
    silent
    slow
    deaf
    out_of_memory
    read_only
    master_down
    loading
    script_flush
    password_rotated
    password_by_credentials
    forbidden_evalsha
    forbidden_getrange
    forbidden_mget
    forbidden_set
    wrong_type
    corrupt
    max_clients
    large_value
    busy
}

/// The rows that were run. Whoever measures time holds this, to be alone.
fn alone() -> MutexGuard<'static, HashMap<&'static str, Report>> {
    static DONE: LazyLock<Mutex<HashMap<&'static str, Report>>> = LazyLock::new(Mutex::default);
    DONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One cell: runs its row, unless another cell has.
fn check(row: &str, column: Column) {
    let row = Row::named(row);
    let mut done = alone();
    let report = done.entry(row.name).or_insert_with(|| {
        let began = Instant::now();
        let run = || runtime().block_on(row.run());
        let report = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let report = Report::new();
            report.problem_of_all(&format!("the row broke off: {}", message(&*panic)));
            report
        });
        for figures in &*report.figures.lock().unwrap() {
            println!("{}: {figures}", row.name);
        }
        println!("{} took {:?}", row.name, began.elapsed());
        report
    });
    let problems = report.problems_of(column);
    drop(done);
    assert!(problems.is_empty(), "{}, {}:\n{}", row.title, column.title(), problems.join("\n"));
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}
