use redis::Value;

use super::command::{Command, TAKE};
use super::{OnRedis, Request, Unexpected, reply};
use crate::policy::Timestamp;
use crate::policy::gcra::{Arrival, Taken};
use crate::store::keys::Keys;
use crate::store::verbs::Take;

impl OnRedis for Take {
    fn request(&self, keys: &Keys) -> Request {
        let cost = self.gcra.split_worth(self.cost);
        let burst = self.gcra.split_worth(self.gcra.burst());
        Command::script(&TAKE, &[keys.limit(&self.name, &self.subject)])
            .arg(self.gcra.ticks_per_micro())
            .arg(cost.micros)
            .arg(cost.ticks)
            .arg(burst.micros)
            .arg(burst.ticks)
            .into()
    }

    fn answer(reply: Value) -> Result<Taken, Unexpected> {
        let [allowed, now, micros, ticks] = reply::array(reply)?;
        Ok(Taken {
            allowed: reply::integer(&allowed)? == 1,
            now: Timestamp(reply::count(&now)?),
            arrival: Arrival {
                micros: reply::count(&micros)?,
                ticks: reply::count(&ticks)?.try_into().map_err(|_| Unexpected)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use support::RedisServer;

    use super::*;
    use crate::policy::Quota;
    use crate::policy::gcra::Gcra;

    /// One step of a history: how far the clock moves (it may go back), under which quota, and what
    /// is taken.
    #[derive(Clone, Debug)]
    struct Step {
        clock: i64,
        quota: Quota,
        cost: u32,
    }

    fn quotas() -> impl Strategy<Value = Quota> {
        let period = prop_oneof![1u64..1_000, 1_000u64..10_000_000, Just(86_400_000_000)];
        (1u32..1_000, period, 1u32..1_000).prop_filter_map("too long", |(limit, micros, burst)| {
            let quota = Quota::new(limit, std::time::Duration::from_micros(micros));
            (u128::from(micros) * 1_000 < 1 << 48).then(|| quota.burst(burst))
        })
    }

    /// Mostly one quota, so that its edges are met; now and then another one.
    fn histories() -> impl Strategy<Value = Vec<Step>> {
        (quotas(), quotas()).prop_flat_map(|(often, seldom)| {
            let each = (often.period().as_micros() as i64 / i64::from(often.limit())).max(1);
            let clock = prop_oneof![
                8 => 0..=each * 2,
                2 => Just(each),
                2 => Just(each - 1),
                1 => -each * 50..0i64,
                1 => Just(often.period().as_micros() as i64),
            ];
            let quota = prop_oneof![9 => Just(often), 1 => Just(seldom)];
            let step = (clock, quota, prop_oneof![8 => Just(1u32), 2 => 0u32..5, 1 => 0u32..2_000]);
            prop::collection::vec(
                step.prop_map(|(clock, quota, cost)| Step { clock, quota, cost }),
                1..40,
            )
        })
    }

    /// The script and `policy::gcra` agree on every decision and every state.
    #[test]
    fn the_script_decides_like_the_policy() {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap();
        let connection = RefCell::new(client.get_connection().unwrap());
        let sha: String = TAKE.load().query(&mut *connection.borrow_mut()).unwrap();
        let histories_run = Cell::new(0);
        let config = Config { failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&histories(), |steps| {
                histories_run.set(histories_run.get() + 1);
                let key = format!("kit:limit:parity:{}", histories_run.get());
                let connection = &mut *connection.borrow_mut();
                let (mut now, mut stored) = (4_000_000_000_000_000i64, None);
                for Step { clock, quota, cost } in steps {
                    now += clock;
                    let gcra = Gcra::new(quota);
                    let policy = gcra.take(stored, Timestamp(now as u64), cost);
                    // The server's clock runs on while the test's jumps: what expired is put back.
                    if let Some(Arrival { micros, ticks }) = stored {
                        let state = format!("{micros}:{ticks}");
                        let () = redis::cmd("SET").arg(&key).arg(state).query(connection).unwrap();
                    }
                    let (cost, burst) = (gcra.split_worth(cost), gcra.split_worth(gcra.burst()));
                    let reply: Value = redis::cmd("EVALSHA")
                        .arg(&sha)
                        .arg(1)
                        .arg(&key)
                        .arg(gcra.ticks_per_micro())
                        .arg(cost.micros)
                        .arg(cost.ticks)
                        .arg(burst.micros)
                        .arg(burst.ticks)
                        .arg(now)
                        .query(connection)
                        .unwrap();
                    prop_assert_eq!(Take::answer(reply).unwrap(), policy);
                    let lasts = policy.arrival.micros > now as u64 + 2_000_000;
                    if policy.allowed && lasts && cost.micros > 0 {
                        let state: String = redis::cmd("GET").arg(&key).query(connection).unwrap();
                        let (micros, ticks) = state.split_once(':').unwrap_or((&state, "0"));
                        prop_assert_eq!(micros.parse(), Ok(policy.arrival.micros));
                        prop_assert_eq!(ticks.parse(), Ok(policy.arrival.ticks));
                    }
                    stored = Some(policy.arrival);
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn a_state_that_is_none_counts_as_unused_and_every_state_expires() {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let take = Take {
            name: "api".into(),
            subject: crate::store::keys::Subject::Address([127, 0, 0, 1].into()),
            gcra: Gcra::new(Quota::per_hour(7)),
            cost: 1,
        };
        let keys = Keys::new("kit");
        let key = keys.limit(&take.name, &take.subject);
        for garbage in ["", "x", "-1", "1e99", "12:34:56", "{\"a\":1}"] {
            let () = redis::cmd("SET").arg(&key).arg(garbage).query(&mut connection).unwrap();
            let Request::One(take) = take.request(&keys) else { panic!("one command") };
            let reply = take.query(&mut connection);
            assert!(Take::answer(reply).unwrap().allowed, "{garbage:?}");
            let ttl: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
            assert!((1..=3_600_000).contains(&ttl), "{ttl} ms after {garbage:?}");
        }
    }
}
