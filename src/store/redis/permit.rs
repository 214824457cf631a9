use redis::Value;

use super::command::{ACQUIRE_PERMIT, Command};
use super::{OnRedis, Request, Unexpected, reply};
use crate::policy::micros;
use crate::store::keys::Keys;
use crate::store::verbs::{AcquirePermit, Acquired, Claim, ReleasePermit, RenewPermits, Verb};

fn acquire(claim: &Claim, keys: &Keys) -> Command {
    Command::script(&ACQUIRE_PERMIT, &[keys.semaphore(&claim.semaphore, &claim.subject)])
        .arg(&claim.holder.0[..])
        .arg(claim.semaphore.permits)
        .arg(micros(claim.semaphore.lease))
}

fn acquired(reply: &Value) -> Result<Acquired, Unexpected> {
    let held = reply::integer(reply)?;
    Ok(Acquired { is_held: held > 0, held: held.unsigned_abs() })
}

impl OnRedis for AcquirePermit {
    fn request(&self, keys: &Keys) -> Request {
        acquire(&self.0, keys).into()
    }

    fn answer(reply: Value) -> Result<Acquired, Unexpected> {
        acquired(&reply)
    }
}

impl OnRedis for RenewPermits {
    fn request(&self, keys: &Keys) -> Request {
        Request::Together(self.0.iter().map(|claim| acquire(claim, keys)).collect())
    }

    fn answer(replies: Value) -> Result<<RenewPermits as Verb>::Answer, Unexpected> {
        reply::each(replies, acquired)
    }
}

impl OnRedis for ReleasePermit {
    fn request(&self, keys: &Keys) -> Request {
        let Claim { semaphore, subject, holder } = &self.0;
        Command::new("ZREM").arg(keys.semaphore(semaphore, subject)).arg(&holder.0[..]).into()
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use support::RedisServer;

    use super::*;
    use crate::Store;
    use crate::store::keys::{Fingerprint, Subject};
    use crate::store::verbs::{Holder, Semaphore};

    /// One step of a history: how far the clock moves, and what one of a few holders does, by which
    /// numbers. Leases are long beside what a history takes.
    #[derive(Clone, Debug)]
    struct Step {
        clock: Duration,
        holder: u8,
        /// Or releases.
        acquires: bool,
        permits: u32,
        lease: Duration,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let seconds = |range| (range, Just(1_000_000u64)).prop_map(|(s, to)| s * to);
        let clock = prop_oneof![4 => Just(0), 4 => seconds(0u64..20), 1 => 0u64..20_000_000];
        let lease = prop_oneof![3 => Just(30_000_000u64), 1 => seconds(10u64..60)];
        let step = (clock, 0u8..6, prop::bool::weighted(0.7), 1u32..5, lease);
        let step = step.prop_map(|(clock, holder, acquires, permits, lease)| Step {
            clock: Duration::from_micros(clock),
            holder,
            acquires,
            permits,
            lease: Duration::from_micros(lease),
        });
        prop::collection::vec(step, 1..60)
    }

    /// The model: who holds a permit, and until when.
    #[derive(Default)]
    struct Model(BTreeMap<u8, u64>);

    impl Model {
        fn acquire(&mut self, step: &Step, now: u64) -> Acquired {
            self.0.retain(|_, end| *end > now);
            let is_held = self.0.contains_key(&step.holder) || self.0.len() < step.permits as usize;
            if is_held {
                self.0.insert(step.holder, now + micros(step.lease));
            }
            Acquired { is_held, held: self.0.len() as u64 }
        }
    }

    #[test]
    fn memory_and_redis_do_what_the_model_says() {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap();
        let connection = &mut client.get_connection().unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let (keys, histories) = (Keys::new("kit"), Cell::new(0u32));
        let config = Config { failure_persistence: None, cases: 200, ..Config::default() };
        let connection = std::cell::RefCell::new(connection);
        TestRunner::new(config)
            .run(&steps(), |steps| {
                histories.set(histories.get() + 1);
                let subject = Fingerprint::of(&[&histories.get().to_be_bytes()]);
                let (subject, mut now) = (Subject::Named(subject), 1_800_000_000_000_000);
                let store = runtime.block_on(async { Store::memory() });
                // Asked in the runtime, whose clock stands.
                let ask = async |acquire| store.ask(acquire).await;
                let mut model = Model::default();
                for step in &steps {
                    now += micros(step.clock);
                    runtime.block_on(tokio::time::advance(step.clock));
                    let Step { permits, lease, .. } = *step;
                    let semaphore = Arc::new(Semaphore { name: "a".into(), permits, lease });
                    let claim = Claim { semaphore, subject, holder: Holder([step.holder; 16]) };
                    let connection = &mut **connection.borrow_mut();
                    if step.acquires {
                        let expected = model.acquire(step, now);
                        let reply = acquire(&claim, &keys).arg(now).query(connection);
                        prop_assert_eq!(acquired(&reply).unwrap(), expected, "Redis: {:?}", step);
                        let acquired = runtime.block_on(ask(AcquirePermit(claim.clone())));
                        prop_assert_eq!(acquired.unwrap(), expected, "memory: {:?}", step);
                        let key = keys.semaphore(&claim.semaphore, &subject);
                        prop_assert!(server.ttl_ms(&key) > 0);
                    } else {
                        let was_there = model.0.remove(&step.holder).is_some_and(|end| end > now);
                        let release = ReleasePermit(claim);
                        let Request::One(command) = release.request(&keys) else { panic!("one") };
                        let on_redis = ReleasePermit::answer(command.query(connection)).unwrap();
                        let in_memory =
                            runtime.block_on(async { store.ask(release).await }).unwrap();
                        // Of what has expired, they may have something left.
                        prop_assert!(!was_there || (on_redis && in_memory), "{:?}", step);
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}
