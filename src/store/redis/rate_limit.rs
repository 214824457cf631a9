use redis::Value;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::command::{
    BLOCK, Command, Lane, RESET, Script, TAKE_ALL, TAKE_FIXED_WINDOW, TAKE_GCRA, TAKE_LOCKOUT,
    TAKE_SLIDING_LOG, TAKE_SLIDING_WINDOW,
};
use super::shortcuts::{Found, Place, message, place};
use super::status::wall_clock;
use super::{OnRedis, Redis, Request, Unexpected, reply};
use crate::policy::limiting::{
    Act, Arrival, Counting, Failures, Logged, Opening, Standing, Taken, TwoWindows, Window,
};
use crate::policy::{Timestamp, micros};
use crate::store::StoreError;
use crate::store::channels::Listener;
use crate::store::keys::Keys;
use crate::store::verbs::{Block, Charge, Reset, Rule, Take, Verb};

type Answer = <Take as Verb>::Answer;

/// The numbers of a reply about one limit.
const ONE: usize = 5;

impl OnRedis for Take {
    fn request(&self, keys: &Keys) -> Request {
        self.command(keys, None).into()
    }

    fn answer(reply: Value) -> Result<Answer, Unexpected> {
        let numbers: Result<Vec<u64>, _> = reply::list(reply)?.iter().map(reply::count).collect();
        let mut numbers = numbers?;
        // Of a single limit, zeros at the end are left out.
        if (3..ONE).contains(&numbers.len()) {
            numbers.resize(ONE, 0);
        }
        let (now, each) = numbers.split_first().ok_or(Unexpected)?;
        let (each, rest) = each.as_chunks::<4>();
        if each.is_empty() || !rest.is_empty() {
            return Err(Unexpected);
        }
        each.iter().map(|each| taken(Timestamp(*now), *each)).collect()
    }

    fn known(&self, redis: &Redis) -> Option<Answer> {
        let may_be = self.act == Act::Take && self.any(Rule::has_shortcuts);
        may_be.then(|| self.by_shortcut(redis)).flatten()
    }

    async fn through(self, redis: &Redis) -> Result<Answer, StoreError> {
        if self.act == Act::Take {
            return match self.any(Rule::has_shortcuts) {
                true => Box::pin(self.with_shortcuts(redis)).await,
                false => redis.directly(self).await,
            };
        }
        let known = self.charges.iter().filter(|charge| charge.rule.is_known());
        let known: SmallVec<[_; 1]> = known.map(place).collect();
        redis.then_forget(self, &known).await
    }

    async fn on_cluster(self, redis: &Redis) -> Result<Answer, StoreError> {
        let parts = self.by_subject();
        if parts.len() < 2 {
            return redis.at_once(self).await;
        }
        let mut answers = together(&parts, redis).await?;
        let passed = |(part, answer): (&Take, &Answer)| part.passes(answer);
        if self.act == Act::Take && !parts.iter().zip(&answers).all(passed) {
            give_back(&parts, &mut answers, redis).await;
        }
        // Back into the order of the charges.
        let mut parts: Vec<_> =
            parts.iter().zip(answers.into_iter().map(Answer::into_iter)).collect();
        let place = |charge: &Charge| {
            let (_, answers) = parts
                .iter_mut()
                .find(|(part, _)| part.charges[0].subject == charge.subject)
                .ok_or(Unexpected)?;
            answers.next().ok_or(Unexpected)
        };
        Ok(self.charges.iter().map(place).collect::<Result<_, _>>()?)
    }
}

async fn together(parts: &[Take], redis: &Redis) -> Result<Vec<Answer>, StoreError> {
    let commands = parts.iter().map(|part| part.command(&redis.keys, None)).collect();
    let replies = redis.call(Request::Together(commands), Lane::Verdict).await?;
    let replies = reply::all(replies)?;
    Ok(replies.into_iter().map(Take::answer).collect::<Result<_, _>>()?)
}

/// Where one node's limits refuse, what the other nodes' have charged goes back. What cannot be given
/// back stays charged: nobody gets more than the quota for that.
async fn give_back(parts: &[Take], answers: &mut [Answer], redis: &Redis) {
    let mut charged = Vec::new();
    for (index, (part, answer)) in parts.iter().zip(&*answers).enumerate() {
        if part.passes(answer) {
            let fits = part.charges.iter().zip(answer).filter(|(_, taken)| taken.fits);
            let refund = Take::new(Act::Refund, fits.map(|(charge, taken)| charge.back(taken)));
            if !refund.charges.is_empty() {
                charged.push((index, refund));
            }
        }
    }
    let refunds: Vec<_> = charged.iter().map(|(_, refund)| refund.clone()).collect();
    match together(&refunds, redis).await {
        Ok(refunded) => {
            for ((index, _), refunded) in charged.iter().zip(refunded) {
                let fits = answers[*index].iter_mut().filter(|taken| taken.fits);
                fits.zip(refunded).for_each(|(taken, now)| *taken = now);
            }
        }
        Err(error) => tracing::debug!(%error, "a refused request stays charged for"),
    }
}

impl Take {
    fn any(&self, is: impl Fn(&Rule) -> bool) -> bool {
        self.charges.iter().any(|charge| is(&charge.rule))
    }

    /// The charges of each subject, which are in one slot.
    fn by_subject(&self) -> Vec<Take> {
        let mut parts: Vec<Take> = Vec::new();
        for charge in &self.charges {
            match parts.iter_mut().find(|part| part.charges[0].subject == charge.subject) {
                Some(part) => part.charges.push(charge.clone()),
                None => parts.push(Take::new(self.act, [charge.clone()])),
            }
        }
        parts
    }

    /// `now` only in tests: otherwise it is the server's.
    fn command(&self, keys: &Keys, now: Option<Timestamp>) -> Command {
        let names: SmallVec<[String; 1]> =
            self.charges.iter().map(|charge| keys.limit(&charge.rule, &charge.subject)).collect();
        let command = match &*self.charges {
            [one] => arguments(Command::script(script(&one.rule.counting), &names), one),
            all => all.iter().fold(Command::script(&TAKE_ALL, &names), |command, charge| {
                arguments(command.arg(letter(charge)), charge)
            }),
        };
        let act = match self.act {
            Act::Take => "take",
            Act::Peek => "peek",
            Act::Charge => "charge",
            Act::Refund => "refund",
        };
        if self.act == Act::Take && now.is_none() {
            return command;
        }
        let now = now.map(|now| now.0.to_string()).unwrap_or_default();
        let command = command.arg(act).arg(now);
        if self.act != Act::Refund {
            return command;
        }
        let marks = self.charges.iter().map(|charge| charge.charged);
        let command = marks.fold(command, |command, mark| {
            command.arg(mark.map(|mark| mark.0.to_string()).unwrap_or_default())
        });
        if !self.any(Rule::is_known) {
            return command;
        }
        let places = self.charges.iter().map(|charge| message(&place(charge)));
        places.fold(command.arg(keys.limits_changed()), Command::arg)
    }

    /// What this process knows: that one of the limits refuses, or that it has leased enough of the
    /// only one.
    fn by_shortcut(&self, redis: &Redis) -> Option<Answer> {
        let now = now();
        let known = |charge: &Charge| redis.shortcuts.known(charge, now);
        if let [charge] = &*self.charges {
            return known(charge).map(|taken| SmallVec::from_buf([taken]));
        }
        let nothing = Taken { fits: true, now: Timestamp(0), standing: Standing::Unknown };
        let refused = |charge: &Charge| {
            let may_refuse = charge.rule.denies && !charge.rule.is_shadow;
            may_refuse.then(|| known(charge)).flatten().filter(|taken| !taken.fits)
        };
        let found: SmallVec<[Option<Taken>; 4]> = self.charges.iter().map(refused).collect();
        let is_known = found.iter().any(Option::is_some);
        is_known.then(|| found.into_iter().map(|taken| taken.unwrap_or(nothing)).collect())
    }

    async fn with_shortcuts(self, redis: &Redis) -> Result<Answer, StoreError> {
        let shortcuts = &redis.shortcuts;
        let heard = shortcuts.heard(|| redis.hear_of_limits());
        if let [charge] = &*self.charges
            && charge.rule.batch > charge.cost
            && let Some(leasing) = shortcuts.begin_lease(place(charge), now())
        {
            let batch = Charge { cost: charge.rule.batch, ..charge.clone() };
            let (found, left) = (charge.rule.counting, batch.cost - charge.cost);
            let sent = now();
            let answer = redis.directly(Take::new(Act::Take, [batch])).await?;
            if let [taken] = *answer
                && taken.fits
            {
                let found = Found { counting: found, taken, sent, received: now() };
                return Ok(SmallVec::from_buf([leasing.keep(left, found, heard)]));
            }
            leasing.fail(now());
        }
        let (charges, sent) = (self.charges.clone(), now());
        let answer = redis.directly(self).await?;
        for (charge, taken) in charges.iter().zip(&answer) {
            let Charge { rule, cost, .. } = charge;
            let wait = rule.counting.decide(taken, *cost).retry_after;
            if let Some(wait) = wait.filter(|_| rule.denies && !taken.fits) {
                let (counting, taken, received) = (rule.counting, *taken, now());
                shortcuts.deny(charge, Found { counting, taken, sent, received }, wait, heard);
            }
        }
        Ok(answer)
    }
}

impl Redis {
    /// Does what makes untrue what this process knows of some places.
    async fn then_forget<V: OnRedis>(
        &self,
        verb: V,
        places: &[Place],
    ) -> Result<V::Answer, StoreError> {
        let answer = self.directly(verb).await;
        places.iter().for_each(|place| self.shortcuts.forget(place));
        answer
    }

    /// Messages that are not taken in time are a gap, after which nothing is taken for known.
    fn hear_of_limits(&self) -> Listener {
        self.subscriber.listen_now(&self.keys.limits_changed(), MOST_UNHEARD)
    }
}

const MOST_UNHEARD: usize = 1_024;

#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
fn now() -> Instant {
    Instant::now()
}

fn script(counting: &Counting) -> &'static Script {
    match counting {
        Counting::Gcra(_) => &TAKE_GCRA,
        Counting::FixedWindow(_) => &TAKE_FIXED_WINDOW,
        Counting::SlidingWindow(_) => &TAKE_SLIDING_WINDOW,
        Counting::SlidingLog(_) => &TAKE_SLIDING_LOG,
        Counting::Lockout(_) => &TAKE_LOCKOUT,
    }
}

fn letter(charge: &Charge) -> &'static str {
    match (&charge.rule.counting, charge.rule.is_shadow) {
        (Counting::Gcra(_), false) => "g",
        (Counting::Gcra(_), true) => "G",
        (Counting::FixedWindow(_), false) => "f",
        (Counting::FixedWindow(_), true) => "F",
        (Counting::SlidingWindow(_), false) => "s",
        (Counting::SlidingWindow(_), true) => "S",
        (Counting::SlidingLog(_), false) => "l",
        (Counting::SlidingLog(_), true) => "L",
        (Counting::Lockout(_), false) => "o",
        (Counting::Lockout(_), true) => "O",
    }
}

/// What the algorithm's script takes: five arguments.
fn arguments(command: Command, charge: &Charge) -> Command {
    let cost = charge.cost;
    match &charge.rule.counting {
        Counting::Gcra(gcra) => {
            let (cost, burst) = (gcra.split_worth(cost), gcra.split_worth(gcra.burst()));
            command
                .arg(gcra.ticks_per_micro())
                .arg(cost.micros)
                .arg(cost.ticks)
                .arg(burst.micros)
                .arg(burst.ticks)
        }
        Counting::FixedWindow(it) => {
            let command = command.arg(it.limit()).arg(cost);
            match it.opening() {
                Opening::FirstRequest(length) => command.arg(length).arg("first"),
                Opening::Multiples(length) => command.arg(length).arg("multiple"),
                Opening::Calendar(calendar) => {
                    let end = calendar.end(wall_clock());
                    command.arg(end.0).arg(calendar.end(end).0)
                }
            }
            .arg("")
        }
        Counting::SlidingWindow(it) => {
            command.arg(it.limit()).arg(cost).arg(it.window()).arg("").arg("")
        }
        Counting::SlidingLog(it) => {
            command.arg(it.limit()).arg(cost).arg(it.window()).arg("").arg("")
        }
        Counting::Lockout(it) => {
            let steps: Vec<_> = it.steps().all().iter().map(u64::to_string).collect();
            command.arg(it.limit()).arg(cost).arg(it.window()).arg(steps.join(",")).arg("")
        }
    }
}

/// The algorithms as the scripts number them.
fn taken(now: Timestamp, [code, a, b, c]: [u64; 4]) -> Result<Taken, Unexpected> {
    let (algorithm, outcome) = (code / 4, code % 4);
    let standing = match algorithm {
        _ if outcome == 2 => Standing::Blocked { until: Timestamp(a) },
        0 => {
            let ticks = b.try_into().map_err(|_| Unexpected)?;
            Standing::Arrival(Arrival { micros: a, ticks })
        }
        1 => Standing::Window(Window { used: a, ends: Timestamp(b) }),
        2 => Standing::TwoWindows(TwoWindows { start: Timestamp(a), previous: b, current: c }),
        3 => Standing::Logged(Logged { used: a, fits: Timestamp(b), empty: Timestamp(c) }),
        4 => {
            let window = Window { used: a, ends: Timestamp(b) };
            // How often it was is the store's to know.
            Standing::Failures(Failures { window, until: Timestamp(c), level: 0 })
        }
        _ => return Err(Unexpected),
    };
    Ok(Taken { fits: outcome == 1, now, standing })
}

impl OnRedis for Block {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&BLOCK, &[keys.limit(&self.rule, &self.subject)])
            .arg(self.time.map_or(0, |time| micros(time).clamp(1, LONGEST)))
            .arg(keys.limits_changed())
            .arg(message(&(self.rule.id, self.subject)))
            .into()
    }

    async fn through(self, redis: &Redis) -> Result<bool, StoreError> {
        let place = (self.rule.id, self.subject);
        redis.then_forget(self, &[place]).await
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

/// Some 35 years, in microseconds.
const LONGEST: u64 = 1 << 50;

impl OnRedis for Reset {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&RESET, &[keys.limit(&self.rule, &self.subject)])
            .arg(keys.limits_changed())
            .arg(message(&(self.rule.id, self.subject)))
            .into()
    }

    async fn through(self, redis: &Redis) -> Result<bool, StoreError> {
        let place = (self.rule.id, self.subject);
        redis.then_forget(self, &[place]).await
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

#[cfg(test)]
mod boundaries;
#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use support::RedisServer;

    use super::*;
    use crate::policy::Quota;
    use crate::policy::limiting::State;
    use crate::policy::limiting::tests::histories::algorithm;
    use crate::store::keys::Subject;

    /// One step of a history: how far the clock moves (it may go back), under which quotas, what is
    /// done, for how much, and whether it has to do with the charge before.
    #[derive(Clone, Debug)]
    struct Step {
        clock: i64,
        changed: bool,
        act: Act,
        costs: [u32; 2],
        marked: bool,
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
            let step = (clock, prop::bool::weighted(0.1), act, [cost(), cost()], any::<bool>());
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
                let state = counting.current(state.clone(), now);
                let fits = match take.act {
                    Act::Take | Act::Peek => counting.admits(&state, now, charge.cost),
                    Act::Charge | Act::Refund => true,
                };
                (state, fits)
            })
            .collect();
        let passes = open.iter().all(|(_, fits)| *fits);
        let mut answer = Answer::new();
        for ((charge, (state, fits)), stored) in take.charges.iter().zip(&mut open).zip(states) {
            let counting = charge.rule.counting;
            let before = state.clone();
            match take.act {
                Act::Take if passes => counting.charge(state, now, charge.cost),
                Act::Charge => counting.charge(state, now, charge.cost),
                Act::Refund => counting.refund(state, now, charge.cost, charge.charged),
                _ => {}
            }
            let standing = counting.standing(state, charge.cost, *fits);
            answer.push(Taken { fits: *fits, now, standing });
            if *state != before {
                // What says no more than nothing is not kept.
                *stored = (counting.expires(state, now) > now).then(|| state.clone());
            } else if is_kept(&counting, stored.as_ref(), &before, take.act) {
                *stored = Some(before);
            }
        }
        answer
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
                let mut marks = [None; 2];
                for Step { clock, changed, act, costs, marked } in steps {
                    now += clock;
                    let at = Timestamp(now as u64);
                    let charges = (0..count).map(|index| Charge {
                        charged: marks[index].filter(|_| marked && act == Act::Refund),
                        ..Charge::new(
                            rules[usize::from(changed)][index].clone(),
                            subject,
                            costs[index],
                        )
                    });
                    let take = Take::new(act, charges);
                    let expected = model(&take, &mut states, at);
                    // The server's clock runs on while the test's jumps.
                    let places = take.charges.iter().map(|it| keys.limit(&it.rule, &subject));
                    let keep = places.flat_map(|key| {
                        let ttl = redis::cmd("PTTL").arg(&key).clone();
                        [ttl, redis::cmd("PEXPIRE").arg(key).arg(1_000_000_000).clone()]
                    });
                    let replies =
                        take.command(&keys, Some(at)).query_and(connection, keep.collect());
                    let no_end = |reply: &Value| *reply == Value::Int(-1);
                    prop_assert!(!replies[1..].iter().any(no_end), "a state that does not expire");
                    let answer = Take::answer(replies[0].clone()).unwrap();
                    let answer: Answer = answer.into_iter().map(told).collect();
                    let expected: Answer = expected.into_iter().map(told).collect();
                    prop_assert_eq!(&answer, &expected);
                    if act == Act::Take {
                        for (mark, taken) in marks.iter_mut().zip(&answer) {
                            *mark = Some(taken.mark());
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}
