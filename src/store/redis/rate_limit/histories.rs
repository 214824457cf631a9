use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::RedisServer;

use super::*;
use crate::policy::limiting::tests::histories::of_two;
use crate::store::keys::{Fingerprint, Subject};
use crate::store::two_limits::TwoLimits;

/// Apart from what a script does not say.
fn told(mut taken: Taken) -> Taken {
    if let Standing::Failures(failures) = &mut taken.standing {
        failures.level = 0;
    }
    taken
}

/// The scripts and `policy::limiting` agree on every decision and every state, of one limit and of
/// two.
#[test]
fn the_scripts_decide_like_the_policy() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = RefCell::new(client.get_connection().unwrap());
    let histories_run = Cell::new(0u32);
    let config = Config { failure_persistence: None, cases: 400, ..Config::default() };
    TestRunner::new(config)
        .run(&(of_two(), 1usize..3), |((quotas, turns), count)| {
            histories_run.set(histories_run.get() + 1);
            let connection = &mut *connection.borrow_mut();
            let names = Keys::new("kit");
            let run = histories_run.get().to_string();
            let subject = Subject::Named(Fingerprint::of(&[run.as_bytes()]));
            let mut limits = TwoLimits::new(quotas, count, subject);
            let mut now = 4_000_000_000_000_000i64;
            for turn in turns {
                now += turn.clock;
                let at = Timestamp(now as u64);
                let take = limits.take(&turn);
                let expected = limits.decide(&take, at);
                let expected: Vec<_> = expected.into_iter().map(|done| told(done.taken)).collect();
                // The server's clock runs on while the test's jumps.
                let places = take.charges.iter().map(|it| names.limit(&it.rule, &subject));
                let keep = places.flat_map(|key| {
                    let ttl = redis::cmd("PTTL").arg(&key).clone();
                    [ttl, redis::cmd("PEXPIRE").arg(key).arg(1_000_000_000).clone()]
                });
                let replies = take.command(&names, Some(at)).query_and(connection, keep.collect());
                let no_end = |reply: &Value| *reply == Value::Int(-1);
                prop_assert!(!replies[1..].iter().any(no_end), "a state that does not expire");
                let answer = Take::answer(replies[0].clone()).unwrap();
                let answer: Vec<_> = answer.into_iter().map(told).collect();
                prop_assert_eq!(&answer, &expected);
                limits.note(turn.act, &answer);
            }
            Ok(())
        })
        .unwrap();
}
