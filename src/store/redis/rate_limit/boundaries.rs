//! What only a real server has: types, memory, times to live, and scripts that it may forget.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Connection, Value};
use support::RedisServer;

use super::{Act, Charge, Counting, Keys, OnRedis, Opening, Rule, Take, Timestamp};
use crate::Store;
use crate::policy::Quota;
use crate::policy::limiting::Decision;
use crate::policy::limiting::tests::{Key, START};
use crate::store::keys::{Fingerprint, Subject};

const MINUTE: u64 = 60 * 1_000_000;

/// The process whose clock is a second ahead tells of the same day as the others.
#[test]
fn who_is_ahead_counts_the_servers_day() {
    let Counting::FixedWindow(it) = Quota::per_calendar_day(1).counting() else { panic!("days") };
    let Opening::Calendar(calendar) = it.opening() else { panic!("days") };
    let midnight = calendar.end(Timestamp(START));
    let next = calendar.end(midnight);
    for (clock, ends) in [
        (midnight.0 - 1, [midnight, next]),
        (midnight.0 + 1_000_000, [midnight, next]),
        (midnight.0 + 2 * 60 * MINUTE, [next, calendar.end(next)]),
    ] {
        assert_eq!(super::calendar_ends(calendar, Timestamp(clock)), ends);
    }
}

/// One of each algorithm: four in an hour.
fn each() -> Vec<Arc<Rule>> {
    let quota = Quota::per_hour(4);
    [
        ("gcra", quota),
        ("ticks", Quota::new(4, Duration::from_micros(3_600_000_001))),
        ("fixed", quota.fixed_window()),
        ("aligned", quota.aligned_window()),
        ("sliding", quota.sliding_window()),
        ("log", quota.sliding_log()),
        ("lockout", quota.lockout([Duration::from_secs(600), Duration::from_secs(9_000)])),
    ]
    .map(|(name, quota)| Arc::new(Rule::new(name, quota.counting(), false)))
    .into()
}

fn ada() -> Subject {
    Subject::Named(Fingerprint::of(&[b"ada"]))
}

/// A limit's key on a server, by a clock that the test moves.
struct At<'a> {
    connection: &'a mut Connection,
    keys: Keys,
    rule: &'a Arc<Rule>,
    /// Whether another limit is asked as well, which always admits: by the script for several.
    in_company: bool,
}

impl At<'_> {
    fn key(&self) -> String {
        self.keys.limit(self.rule, &ada())
    }

    fn take(&self, act: Act, cost: u32, charged: Option<Timestamp>) -> Take {
        let company = Arc::new(Rule::new("company", Quota::per_second(9).counting(), true));
        let charges = [self.rule, &company]
            .map(|rule| Charge { charged, ..Charge::new(rule.clone(), ada(), cost) });
        Take::new(act, charges.into_iter().take(1 + usize::from(self.in_company)))
    }

    /// What the limit says, and the time to live that its key has after it.
    fn act(
        &mut self,
        act: Act,
        now: u64,
        cost: u32,
        mark: &mut Option<Timestamp>,
    ) -> (Decision, i64) {
        let ttl = redis::cmd("PTTL").arg(self.key()).clone();
        let command = self.take(act, cost, *mark).command(&self.keys, Some(Timestamp(now)));
        let replies = command.query_and(self.connection, vec![ttl]);
        let taken = Take::answer(replies[0].clone()).unwrap()[0];
        if act == Act::Take && taken.fits {
            *mark = Some(taken.mark());
        }
        let Value::Int(ttl) = replies[1] else { panic!("a time to live") };
        (self.rule.counting.decide(&taken, cost), ttl)
    }

    fn run<T: redis::FromRedisValue>(&mut self, cmd: &Cmd) -> T {
        cmd.query(self.connection).unwrap()
    }
}

/// `fact` for each algorithm, alone and in company.
fn for_each(prefix: &str, mut fact: impl FnMut(At<'_>)) {
    let client = redis::Client::open(RedisServer::shared().url()).unwrap();
    let connection = &mut client.get_connection().unwrap();
    for rule in &each() {
        for in_company in [false, true] {
            let keys = Keys::new(&format!("{prefix}:{in_company}"));
            fact(At { connection: &mut *connection, keys, rule, in_company });
        }
    }
}

/// What no algorithm writes, as the commands that put it there.
fn junk() -> Vec<Vec<&'static str>> {
    let huge =
        "99999999999999999999:99999999999999999999:99999999999999999999:99999999999999999999";
    let texts = [
        "",
        "?",
        "-1",
        ":",
        "1:",
        "nan",
        "inf",
        "9e300",
        "!",
        "!x",
        "!nan",
        "!inf",
        "!9e300",
        "99999999999999999999",
        "99999999999999999999:99999999999999999999",
        "99999999999999999999:99999999999999999999:99999999999999999999",
        huge,
        "1:2:3:4:5",
        "\0\u{ff}",
    ];
    let others = [
        vec!["RPUSH", "x"],
        vec!["RPUSH", "x", "y"],
        vec!["RPUSH", "x", "y", "z"],
        vec!["RPUSH", "0", "inf", "inf"],
        vec!["RPUSH", "0", "9e300", "9e300"],
        vec!["RPUSH", "nan", "nan", "nan"],
        // More went from the log than there was.
        vec!["RPUSH", "9", "9e15", "5"],
        vec!["HSET", "a", "b"],
        vec!["SADD", "a"],
        vec!["ZADD", "1", "a"],
        vec!["XADD", "*", "a", "b"],
    ];
    texts.map(|text| vec!["SET", text]).into_iter().chain(others).collect()
}

#[test]
fn a_key_of_another_type_or_form_counts_as_unused_and_then_has_an_end() {
    for_each("junk", |mut at| {
        for junk in junk() {
            for act in [Act::Take, Act::Charge, Act::Peek, Act::Refund] {
                let mut put = redis::cmd(junk[0]);
                put.arg(at.key()).arg(&junk[1..]);
                let mut delete = redis::cmd("DEL");
                at.run::<i64>(delete.arg(at.key()));
                at.run::<Value>(&put);
                let what = format!("{act:?} on {junk:?} at {}", at.rule.name);
                let (first, ttl) = at.act(act, START, 1, &mut None);
                let uses = matches!(act, Act::Take | Act::Charge);
                assert_eq!((first.allowed, first.remaining), (true, 4 - u64::from(uses)), "{what}");
                assert!(!uses || ttl > 0, "{what} leaves {ttl}");
                let (next, ttl) = at.act(Act::Take, START, 1, &mut None);
                assert_eq!((next.allowed, next.remaining), (true, 3 - u64::from(uses)), "{what}");
                assert!(ttl > 0, "{what} leaves {ttl}");
            }
        }
    });
}

/// To the millisecond, rounded up: the policy says when. The server's own clock may take a few of
/// them between the two commands.
#[test]
fn a_key_ends_when_it_says_no_more_than_none_would() {
    let acts = [
        (Act::Peek, 1),
        (Act::Take, 1),
        (Act::Peek, 1),
        (Act::Take, 0),
        (Act::Take, 9),
        (Act::Charge, 1),
        (Act::Refund, 1),
        (Act::Take, 1),
        (Act::Take, 2),
        (Act::Take, 1),
        (Act::Refund, 1),
        (Act::Charge, 9),
        (Act::Take, 1),
        (Act::Refund, 9),
    ];
    for_each("ends", |mut at| {
        let (mut key, mut mark, mut now) = (Key::new(at.rule.counting), None, START);
        for (index, (act, cost)) in acts.into_iter().enumerate() {
            now += if index == 9 { 11 * MINUTE } else { 1 };
            let before = key.state.clone();
            key.act(act, now, cost, mark);
            let (_, ttl) = at.act(act, now, cost, &mut mark);
            let what = format!("{act:?} of {cost}, the {index}th, at {}", at.rule.name);
            assert_ne!(ttl, -1, "no end after {what}");
            if key.state == before {
                continue;
            }
            let ends =
                key.counting.expires(&key.current(now), Timestamp(now)).since(Timestamp(now));
            let ends = i64::try_from(ends.as_micros().div_ceil(1_000)).unwrap();
            match at.rule.counting {
                _ if ends == 0 => assert!(ttl <= 0, "{ttl} ms are left after {what}"),
                _ => assert!((ends - 50..=ends).contains(&ttl), "{ttl} of {ends} ms after {what}"),
            }
        }
    });
}

/// PEXPIRE may delete at once what ends within a millisecond, under the write that follows.
#[test]
fn a_log_that_is_brought_up_is_kept_for_what_is_written_next() {
    for_each("brought up", |mut at| {
        if &*at.rule.name != "log" {
            return;
        }
        at.act(Act::Take, START, 1, &mut None);
        at.act(Act::Take, START + 1, 1, &mut None);
        // The first has ended, the second will in a microsecond.
        let (_, ttl) = at.act(Act::Take, START + 60 * MINUTE, 0, &mut None);
        assert!((900..=1_000).contains(&ttl), "{ttl} ms");
        let (found, _) = at.act(Act::Take, START + 60 * MINUTE, 1, &mut None);
        assert_eq!(found.remaining, 2);
        let (found, _) = at.act(Act::Peek, START + 60 * MINUTE + 1, 0, &mut None);
        assert_eq!(found.remaining, 3);
    });
}

/// What was written by a clock that was ahead: the wait is told by the one that is right, once.
#[test]
fn a_state_from_an_hour_ahead_opens_when_it_says() {
    for_each("ahead", |mut at| {
        let what = at.rule.name.clone();
        at.act(Act::Take, START + 60 * MINUTE, 4, &mut None);
        let told = |at: &mut At, act, after: u64| {
            let (found, ttl) = at.act(act, START + after, 1, &mut None);
            assert!(ttl > 0, "no end at {what}");
            u64::try_from(found.retry_after().unwrap().as_micros()).unwrap()
        };
        let wait = told(&mut at, Act::Peek, 0);
        told(&mut at, Act::Peek, MINUTE);
        for after in [0, MINUTE, wait - 1] {
            assert_eq!(told(&mut at, Act::Take, after), wait - after, "{after} later at {what}");
        }
        assert_eq!(told(&mut at, Act::Take, wait), 0, "{what}");
    });
}

/// A server is spared what changes nothing, and who looks by other numbers takes nothing away.
#[test]
fn who_is_refused_or_looks_writes_nothing() {
    let server = RedisServer::start();
    let connection = &mut redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let second = Quota::per_second(1);
    let others = [
        second,
        second.fixed_window(),
        second.aligned_window(),
        second.sliding_window(),
        second.sliding_log(),
        second.lockout([Duration::from_secs(1)]),
    ];
    for rule in &each() {
        let mut mark = None;
        let mut at =
            At { connection: &mut *connection, keys: Keys::new("kit"), rule, in_company: false };
        at.act(Act::Take, START, 4, &mut mark);
        let writes = |at: &mut At| {
            let info: String = at.run(redis::cmd("INFO").arg("persistence"));
            let line = info.lines().find(|line| line.starts_with("rdb_changes_since_last_save:"));
            line.unwrap().to_owned()
        };
        let before = writes(&mut at);
        for now in [START, START + 10] {
            assert!(!at.act(Act::Take, now, 1, &mut mark).0.allowed);
            at.act(Act::Peek, now, 1, &mut mark);
            at.act(Act::Peek, now - 60 * MINUTE, 1, &mut mark);
        }
        for quota in others {
            // Where the algorithm is the same, so is the key.
            let rule = &Arc::new(Rule::new(&rule.name, quota.counting(), false));
            let keys = Keys::new("kit");
            let mut at = At { connection: &mut *at.connection, keys, rule, in_company: false };
            at.act(Act::Peek, START + MINUTE, 1, &mut mark);
        }
        assert_eq!(writes(&mut at), before, "{}", rule.name);
    }
}

/// More than a script can put on Lua's stack at once come after what is given back.
#[test]
fn of_a_long_log_one_entry_is_given_back() {
    const COUNT: u32 = 10_000;
    let client = redis::Client::open(RedisServer::shared().url()).unwrap();
    let connection = &mut client.get_connection().unwrap();
    let quota = Quota::per_hour(COUNT).sliding_log();
    let rule = &Arc::new(Rule::new("long", quota.counting(), false));
    let (keys, mut pipeline) = (Keys::new("long"), redis::pipe());
    let mut at = At { connection, keys, rule, in_company: false };
    pipeline.del(at.key()).cmd("RPUSH").arg(at.key()).arg(0);
    for index in 1..=COUNT {
        pipeline.arg(START + u64::from(index)).arg(index);
    }
    pipeline.query::<()>(at.connection).unwrap();
    let now = START + u64::from(COUNT);
    let third = Some(Timestamp(START + 3));
    let (back, ttl) = at.act(Act::Refund, now, 5, &mut third.clone());
    assert_eq!((back.remaining, back.full_after()), (1, Duration::from_secs(3_600)));
    assert!(ttl > 0);
    // The third is no longer there to end.
    let hour = 3_600_000_000;
    for (past, left) in [(2, 3), (3, 3), (4, 4), (9_999, 9_999)] {
        let (found, _) = at.act(Act::Peek, START + past + hour, 0, &mut None);
        assert_eq!(found.remaining, left, "{past}");
    }
}

#[test]
fn a_default_limit_takes_at_most_96_bytes_beyond_its_key() {
    let client = redis::Client::open(RedisServer::shared().url()).unwrap();
    let connection = &mut client.get_connection().unwrap();
    for quota in [Quota::per_minute(60), Quota::per_second(3), Quota::per_hour(u32::MAX)] {
        let rule = &Arc::new(Rule::new("memory", quota.counting(), false));
        let mut at =
            At { connection: &mut *connection, keys: Keys::new("memory"), rule, in_company: false };
        at.act(Act::Take, START + 1, 1, &mut None);
        let (key, mut usage) = (at.key(), redis::cmd("MEMORY"));
        let bytes: usize = at.run(usage.arg("USAGE").arg(&key));
        assert!(bytes - key.len() <= 96, "{bytes} bytes with a key of {}", key.len());
    }
}

#[tokio::test]
async fn scripts_that_a_server_forgets_are_loaded_again() {
    let server = RedisServer::start();
    let store = Store::connect(&server.url()).await.unwrap();
    let all: Vec<_> = each().iter().map(|rule| Charge::new(rule.clone(), ada(), 1)).collect();
    for left in [3, 2, 1, 0] {
        for charge in &all {
            server.flush_scripts();
            let act = if left % 2 == 0 { Act::Charge } else { Act::Take };
            let taken = store.ask(Take::one(act, charge.clone())).await.unwrap()[0];
            let decision = charge.rule.counting.decide(&taken, 1);
            assert_eq!(
                (decision.allowed, decision.remaining),
                (true, left),
                "{}",
                charge.rule.name
            );
        }
    }
    server.flush_scripts();
    let refused = store.ask(Take::new(Act::Take, all)).await.unwrap();
    assert!(refused.iter().all(|taken| !taken.fits));
}
