//! `docs/faults.md` is written from the table that the tests run by, so that it cannot say
//! otherwise.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::columns::{COLUMNS, Column, Seen, Why};
use crate::rows::{ROWS, Row};
use crate::stands::Cell;

/// Set to write the page anew.
const WRITE: &str = "WRITE_FAULTS_PAGE";

/// Above this the page is written by hand.
const MARK: &str = "<!-- From here on written by `tests/faults/page.rs`. -->\n";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")
}

#[test]
fn the_page_says_what_is_tested() {
    let page = fs::read_to_string(path()).expect("docs/faults.md");
    let (by_hand, _) = page.split_once(MARK).expect("the mark");
    let expected = format!("{by_hand}{MARK}{}", matrix());
    if env::var_os(WRITE).is_some() {
        fs::write(path(), &expected).expect("written");
    } else {
        assert!(page == expected, "set {WRITE}=1 and run this test to write docs/faults.md anew");
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = fs::read_to_string(path()).expect("docs/faults.md");
    let list = Command::new(env::current_exe().expect("this test")).arg("--list").output();
    let list = String::from_utf8(list.expect("a list").stdout).expect("a list");
    let tests: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let is_test = |word: &&str| ROWS.iter().any(|row| word.starts_with(&format!("{}::", row.name)));
    let named: Vec<&str> = page.split('`').filter(is_test).collect();
    for test in &named {
        assert!(tests.contains(test), "there is no test {test}");
    }
    for Row { name: row, .. } in ROWS {
        for (_, column, _) in COLUMNS {
            let test = format!("{row}::{column}");
            assert!(named.contains(&&*test), "the page does not name {test}");
        }
    }
    // Beside the cells: this page's two, and the numbers.
    assert_eq!(tests.len(), ROWS.len() * COLUMNS.len() + 4);
}

fn matrix() -> String {
    let mut page = String::new();
    for row in ROWS {
        writeln!(page, "\n## {}\n", capitalized(row.title)).unwrap();
        if !row.text.is_empty() {
            writeln!(page, "{}\n", row.text).unwrap();
        }
        page.push_str("| asked for | outcome | test |\n|---|---|---|\n");
        for (column, name, title) in COLUMNS {
            let outcome = outcome(column, (row.cell)(column));
            writeln!(page, "| {title} | {outcome} | `{}::{name}` |", row.name).unwrap();
        }
    }
    page
}

fn outcome(column: Column, Cell { first, then }: Cell) -> String {
    if first == then {
        return any_of(column, first);
    }
    // The reason changes, and not what is done.
    if any_of(column, first) == any_of(column, then) {
        return any_of(column, first);
    }
    format!("{}; then {}", any_of(column, first), any_of(column, then))
}

fn any_of(column: Column, seen: &[Seen]) -> String {
    // What a column's policy hides from a test is no other outcome.
    let hidden = |it: &&Seen| **it != Seen::Policy(Why::Untold) || seen.len() == 1;
    let mut words: Vec<String> =
        seen.iter().filter(hidden).map(|seen| words(column, *seen)).collect();
    words.dedup();
    words.join(", or ")
}

fn words(column: Column, seen: Seen) -> String {
    let why = match seen {
        Seen::Served => return "as ever".to_owned(),
        Seen::Absent => return column.absent().to_owned(),
        Seen::Taken => return "somebody has it".to_owned(),
        Seen::Policy(why) => why,
    };
    let why = match why {
        Why::Untold => "",
        Why::Timeout => "`is_timeout`",
        Why::Unavailable => "`is_unavailable`",
        Why::Full => "`is_full`",
        Why::Forbidden => "`is_forbidden`",
        Why::NotACounter => "`is_not_a_counter`",
        Why::Reply => "an error reply",
    };
    match column.tells() && !why.is_empty() {
        true => format!("{} ({why})", column.policy()),
        false => column.policy().to_owned(),
    }
}

fn capitalized(title: &str) -> String {
    let mut chars = title.chars();
    let first = chars.next().expect("a title").to_uppercase();
    first.chain(chars).collect()
}
