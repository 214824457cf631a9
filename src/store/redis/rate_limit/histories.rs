use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::RedisServer;

use super::*;
use crate::policy::Quota;
use crate::policy::limiting::tests::histories::algorithm;
use crate::policy::limiting::{Ask, State};
use crate::store::keys::Subject;

/// One step of a history: how far the clock moves (it may go back), under which quotas, what is
/// done, for how much, and which charge it has to do with, counted from the last one.
#[derive(Clone, Debug)]
struct Step {
    clock: i64,
    changed: bool,
    act: Act,
    costs: [u32; 2],
    marked: Option<usize>,
}

fn numbers() -> impl Strategy<Value = (u32, u64, u32)> {
    let limit = prop_oneof![6 => 1u32..20, 2 => 1u32..1_000];
    let period = prop_oneof![1_000u64..10_000_000, Just(86_400_000_000)];
    (limit, period, 1u32..1_000).prop_filter("too long", |(_, micros, burst)| {
        u128::from(*micros) * u128::from(*burst) < 1 << 48
    })
}

/// Mostly one pair of quotas, so that their edges are met; now and then others of the same kind.
fn histories() -> impl Strategy<Value = ([[Quota; 2]; 2], Vec<Step>)> {
    let quotas = ([algorithm(), algorithm()], [[numbers(), numbers()], [numbers(), numbers()]]);
    quotas.prop_flat_map(|(algorithms, numbers)| {
        let quota = |index: usize, (limit, period, burst): (u32, u64, u32)| {
            algorithms[index](Quota::new(limit, Duration::from_micros(period)), burst)
        };
        let quotas = numbers.map(|[one, two]| [quota(0, one), quota(1, two)]);
        let often = numbers[0][0];
        let (each, period) = ((often.1 / u64::from(often.0)).max(1) as i64, often.1 as i64);
        let clock = prop_oneof![
            8 => 0..=each * 2,
            2 => Just(each),
            2 => Just(each - 1),
            1 => -each * 50..0i64,
            2 => Just(period),
            1 => Just(period - 1),
            1 => Just(period * 2),
        ];
        let act = prop_oneof![
            8 => Just(Act::Take),
            1 => Just(Act::Peek),
            1 => Just(Act::Charge),
            2 => Just(Act::Refund),
        ];
        let cost = || prop_oneof![8 => Just(1u32), 2 => 0u32..5, 1 => 0u32..2_000];
        let step =
            (clock, prop::bool::weighted(0.1), act, [cost(), cost()], prop::option::of(0usize..4));
        let step = step.prop_map(|(clock, changed, act, costs, marked)| Step {
            clock,
            changed,
            act,
            costs,
            marked,
        });
        (Just(quotas), prop::collection::vec(step, 1..40))
    })
}

/// The model: what `policy::limiting` says of the same acts.
fn model(take: &Take, states: &mut [Option<State>], now: Timestamp) -> Answer {
    let mut open: Vec<_> = take
        .charges
        .iter()
        .zip(&mut *states)
        .map(|(charge, state)| {
            let counting = charge.rule.counting;
            let mut state = state.clone().unwrap_or_else(|| counting.unused(now));
            let fits = counting.look(&mut state, &ask(charge, take.act, now));
            (state, fits)
        })
        .collect();
    let passes = take.act != Act::Take || open.iter().all(|(_, fits)| *fits);
    let act = if passes { take.act } else { Act::Peek };
    let mut answer = Answer::new();
    for ((charge, (state, fits)), stored) in take.charges.iter().zip(&mut open).zip(states) {
        let counting = charge.rule.counting;
        let before = state.clone();
        answer.push(counting.act(state, &ask(charge, act, now), *fits).taken);
        if *state != before {
            // What says no more than nothing is not kept.
            *stored = (counting.expires(state, now) > now).then(|| state.clone());
        } else if is_kept(&counting, stored.as_ref(), &before, take.act) {
            *stored = Some(before);
        }
    }
    answer
}

fn ask(charge: &Charge, act: Act, now: Timestamp) -> Ask {
    Ask { act, now, cost: charge.cost, charged: charge.charged }
}

/// Whether a script keeps what it only brought up to now: a log that lost entries, and an arrival that
/// was brought back. Anything else is as it was.
fn is_kept(counting: &Counting, stored: Option<&State>, current: &State, act: Act) -> bool {
    match (counting, stored, current) {
        (_, Some(_), State::Log(_)) => true,
        (Counting::Gcra(gcra), Some(State::Arrival(stored)), State::Arrival(current)) => {
            let ticks = stored.ticks.min(gcra.ticks_per_micro() - 1);
            act != Act::Peek && (stored.micros, ticks) > (current.micros, current.ticks)
        }
        _ => false,
    }
}

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
    let histories_run = Cell::new(0);
    let config = Config { failure_persistence: None, cases: 400, ..Config::default() };
    TestRunner::new(config)
        .run(&(histories(), 1usize..3), |((quotas, steps), count)| {
            histories_run.set(histories_run.get() + 1);
            let connection = &mut *connection.borrow_mut();
            let keys = Keys::new("kit");
            let subject = Subject::Named(crate::store::keys::Fingerprint::of(&[histories_run
                .get()
                .to_string()
                .as_bytes()]));
            let rules = quotas.map(|pair| {
                let names = ["one", "two"];
                [0, 1].map(|at| Arc::new(Rule::new(names[at], pair[at].counting(), false)))
            });
            let mut now = 4_000_000_000_000_000i64;
            let mut states = vec![None; count];
            let mut marks = [const { Vec::new() }; 2];
            for Step { clock, changed, act, costs, marked } in steps {
                now += clock;
                let at = Timestamp(now as u64);
                let charges = (0..count).map(|index| Charge {
                    charged: marked
                        .filter(|_| act == Act::Refund)
                        .and_then(|back| marks[index].iter().rev().nth(back).copied()),
                    ..Charge::new(rules[usize::from(changed)][index].clone(), subject, costs[index])
                });
                let take = Take::new(act, charges);
                let expected = model(&take, &mut states, at);
                // The server's clock runs on while the test's jumps.
                let places = take.charges.iter().map(|it| keys.limit(&it.rule, &subject));
                let keep = places.flat_map(|key| {
                    let ttl = redis::cmd("PTTL").arg(&key).clone();
                    [ttl, redis::cmd("PEXPIRE").arg(key).arg(1_000_000_000).clone()]
                });
                let replies = take.command(&keys, Some(at)).query_and(connection, keep.collect());
                let no_end = |reply: &Value| *reply == Value::Int(-1);
                prop_assert!(!replies[1..].iter().any(no_end), "a state that does not expire");
                let answer = Take::answer(replies[0].clone()).unwrap();
                let answer: Answer = answer.into_iter().map(told).collect();
                let expected: Answer = expected.into_iter().map(told).collect();
                prop_assert_eq!(&answer, &expected);
                if act == Act::Take {
                    for (marks, taken) in marks.iter_mut().zip(&answer) {
                        marks.push(taken.mark());
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}
