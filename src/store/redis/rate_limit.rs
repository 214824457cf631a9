use futures_util::future::join_all;
use redis::Value;
use smallvec::SmallVec;

use super::command::{
    BLOCK, Command, RESET, Script, TAKE_ALL, TAKE_FIXED_WINDOW, TAKE_GCRA, TAKE_LOCKOUT,
    TAKE_SLIDING_LOG, TAKE_SLIDING_WINDOW,
};
use super::shortcuts::{message, place};
use super::status::wall_clock;
use super::{OnRedis, Redis, Request, Unexpected, reply};
use crate::policy::Timestamp;
use crate::policy::limiting::{
    Act, Arrival, Calendar, Counting, Failures, Logged, Opening, Standing, Taken, TwoWindows,
    Window,
};
use crate::store::StoreError;
use crate::store::keys::Keys;
use crate::store::limit_at::LimitAt;
use crate::store::verbs::{Block, Charge, Reset, Rule, Take, Verb};

mod shortcut;

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
        match self.act {
            Act::Take if self.any(Rule::has_shortcuts) => {
                return Box::pin(self.with_shortcuts(redis)).await;
            }
            // Nothing that is known is untrue for it.
            Act::Take | Act::Peek => return redis.directly(self).await,
            // A charge that need not fit ends leases, and what is given back ends refusals.
            Act::Charge | Act::Refund => {}
        }
        let known = self.known_places();
        redis.then_forget(self, &known).await
    }

    async fn on_cluster(self, redis: &Redis) -> Result<Answer, StoreError> {
        let parts = self.by_subject();
        if parts.len() < 2 {
            return redis.at_once(self).await;
        }
        let (mut answered, failed) = together(parts, redis).await;
        let passed = |(part, answer): &(Take, Answer)| part.passes(answer);
        if self.act == Act::Take && (failed.is_some() || !answered.iter().all(passed)) {
            give_back(&mut answered, redis).await;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        // Back into the order of the charges.
        let mut answered: Vec<_> =
            answered.into_iter().map(|(part, answer)| (part, answer.into_iter())).collect();
        let place = |charge: &Charge| {
            let (_, answers) = answered
                .iter_mut()
                .find(|(part, _)| part.charges[0].subject == charge.subject)
                .ok_or(Unexpected)?;
            answers.next().ok_or(Unexpected)
        };
        Ok(self.charges.iter().map(place).collect::<Result<_, _>>()?)
    }
}

/// All at the same time: what was answered, and an error if there is one.
async fn together(parts: Vec<Take>, redis: &Redis) -> (Vec<(Take, Answer)>, Option<StoreError>) {
    let asked = parts.into_iter().map(async |part| (redis.at_once(part.clone()).await, part));
    let (mut answered, mut failed) = (Vec::new(), None);
    for (answer, part) in join_all(asked).await {
        match answer {
            Ok(answer) => answered.push((part, answer)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (answered, failed)
}

/// Where one node's limits refuse, or it fails, what the other nodes' have charged goes back. What
/// cannot be given back stays charged: nobody gets more than the quota for that.
async fn give_back(answered: &mut [(Take, Answer)], redis: &Redis) {
    let charged = answered.iter_mut().filter(|(part, answer)| part.passes(answer));
    let refunds = charged.map(async |(part, answer)| {
        let fits = part.charges.iter().zip(&*answer).filter(|(_, taken)| taken.fits);
        let refund = Take::new(Act::Refund, fits.map(|(charge, taken)| charge.back(taken)));
        if refund.charges.is_empty() {
            return;
        }
        let known = refund.known_places();
        let refunded = redis.at_once(refund).await;
        known.iter().for_each(|place| redis.shortcuts.forget(place));
        match refunded {
            Ok(refunded) => {
                let fits = answer.iter_mut().filter(|taken| taken.fits);
                fits.zip(refunded).for_each(|(taken, now)| *taken = now);
            }
            Err(error) => tracing::debug!(%error, "a refused request stays charged for"),
        }
    });
    join_all(refunds).await;
}

impl Take {
    fn any(&self, is: impl Fn(&Rule) -> bool) -> bool {
        self.charges.iter().any(|charge| is(&charge.rule))
    }

    /// Of which some process may know something.
    fn known_places(&self) -> SmallVec<[LimitAt; 1]> {
        let known = self.charges.iter().filter(|charge| charge.rule.is_known());
        known.map(place).collect()
    }

    /// The charges of each subject, which are in one slot.
    fn by_subject(&self) -> Vec<Take> {
        let mut parts: Vec<Take> = Vec::new();
        for charge in &self.charges {
            match parts.iter_mut().find(|part| part.charges[0].subject == charge.subject) {
                Some(part) => part.charges.push(charge.clone()),
                None => parts.push(Take::one(self.act, charge.clone())),
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
        let (gives_back, tells) = match self.act {
            Act::Take | Act::Peek => return command,
            Act::Charge => (false, self.any(Rule::is_known)),
            Act::Refund => (true, self.any(Rule::is_known)),
        };
        if !(gives_back || tells) {
            return command;
        }
        let marks = self.charges.iter().map(|charge| charge.charged.filter(|_| gives_back));
        let command = marks.fold(command, |command, mark| {
            command.arg(mark.map(|mark| mark.0.to_string()).unwrap_or_default())
        });
        if !tells {
            return command;
        }
        let places = self.charges.iter().map(|charge| message(&place(charge)));
        places.fold(command.arg(keys.limits_changed()), Command::arg)
    }
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
                    let [end, next] = calendar_ends(calendar, wall_clock());
                    command.arg(end.0).arg(next.0)
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

/// The ends of two windows, of which one is the server's if its clock is at most an hour behind this
/// process's, or a window ahead.
fn calendar_ends(calendar: Calendar, now: Timestamp) -> [Timestamp; 2] {
    const HOUR: u64 = 60 * 60 * 1_000_000;
    let end = calendar.end(Timestamp(now.0.saturating_sub(HOUR)));
    [end, calendar.end(end)]
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
            .arg(self.micros().unwrap_or(0))
            .arg(keys.limits_changed())
            .arg(message(&LimitAt::new(&self.rule, &self.subject)))
            .into()
    }

    async fn through(self, redis: &Redis) -> Result<bool, StoreError> {
        let place = LimitAt::new(&self.rule, &self.subject);
        redis.then_forget(self, &[place]).await
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

impl OnRedis for Reset {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&RESET, &[keys.limit(&self.rule, &self.subject)])
            .arg(keys.limits_changed())
            .arg(message(&LimitAt::new(&self.rule, &self.subject)))
            .into()
    }

    async fn through(self, redis: &Redis) -> Result<bool, StoreError> {
        let place = LimitAt::new(&self.rule, &self.subject);
        redis.then_forget(self, &[place]).await
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

#[cfg(test)]
mod boundaries;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod tables;
