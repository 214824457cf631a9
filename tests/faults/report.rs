//! What came of asking all columns.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use futures_util::FutureExt;

use crate::columns::{COLUMNS, Column, Seen, Stand};

/// For each column what is wrong with it, and lines of figures.
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
