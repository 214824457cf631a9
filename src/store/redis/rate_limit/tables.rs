//! The scripts, by a clock that the test moves, against the tables of `policy::limiting`.

use std::sync::Arc;

use redis::{Cmd, Value};
use support::RedisServer;

use super::{Charge, Keys, OnRedis, Rule, Take, Timestamp};
use crate::policy::Quota;
use crate::policy::limiting::tests::{Marks, START, tables};
use crate::store::keys::{Fingerprint, Subject};

/// Asks for the time to live, and then gives one so long that the server's clock, which runs on
/// while the test's jumps, ends nothing.
fn keep(key: &str) -> [Cmd; 2] {
    let ttl = redis::cmd("PTTL").arg(key).clone();
    [ttl, redis::cmd("PEXPIRE").arg(key).arg(1_000_000_000).clone()]
}

/// By itself, and with another limit that refuses nobody. Not by the calendar: its ends are what the
/// clock of this process says.
#[test]
fn the_scripts_decide_as_the_tables_say() {
    let server = RedisServer::shared();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let tables = tables::all().into_iter().filter(|table| !table.is_by_calendar());
    for (table, count) in tables.flat_map(|table| [(table.clone(), 1), (table, 2)]) {
        let keys = Keys::new(&format!("tables-{count}"));
        let subject = Subject::Named(Fingerprint::of(&[table.name.as_bytes()]));
        let one = Arc::new(Rule::new("one", table.quota.counting(), false));
        let other = Arc::new(Rule::new("other", Quota::per_second(1).counting(), true));
        let mut marks = Marks::default();
        for row in table.rows {
            let charges = [&one, &other].map(|rule| Charge {
                charged: marks.of(row),
                ..Charge::new(rule.clone(), subject, row.cost)
            });
            let take = Take::new(row.act, charges.into_iter().take(count));
            let now = Timestamp(START + row.at);
            let after = keep(&keys.limit(&one, &subject)).to_vec();
            let replies = take.command(&keys, Some(now)).query_and(&mut connection, after);
            assert_ne!(replies[1], Value::Int(-1), "{}: {row:?} leaves no end", table.name);
            let taken = Take::answer(replies[0].clone()).unwrap()[0];
            table.check(row, &taken);
            marks.note(row, &taken);
        }
    }
}
