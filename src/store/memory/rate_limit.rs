use std::mem;
use std::sync::{Mutex, MutexGuard};

use smallvec::SmallVec;

use super::shelf::{Full, Overflow, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Ask, Done, Standing, State, Taken};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::keys::{Fingerprint, Subject};
use crate::store::verbs::{Block, Charge, Reset, Rule, Take, Verb};

/// What all limits have counted, in parts with a lock each, so that callers seldom wait for each
/// other. All limits of a subject are in one part.
#[derive(Debug)]
pub(super) struct Limits {
    parts: Box<[Mutex<Part>]>,
}

type Part = Shelf<Id, State>;

/// A limit, by its name and algorithm, and a subject.
type Id = (Fingerprint, Subject);

const PARTS: usize = 16;

impl Limits {
    pub(super) fn new(capacity: usize) -> Limits {
        // Forgetting the limit that was used least recently is little harm.
        let part = |_| Mutex::new(Shelf::new(capacity / PARTS, Overflow::Evict));
        Limits { parts: (0..PARTS).map(part).collect() }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = MutexGuard<'_, Part>> {
        self.parts.iter().map(lock)
    }

    fn part_of(&self, subject: &Subject) -> usize {
        usize::from(subject.any_byte()) % self.parts.len()
    }

    fn part(&self, subject: &Subject) -> MutexGuard<'_, Part> {
        lock(&self.parts[self.part_of(subject)])
    }
}

impl<R: AsRef<Rule>> OnMemory for Take<R> {
    fn on_memory(self, memory: &Memory) -> Result<<Take as Verb>::Answer, StoreError> {
        let limits = &memory.limits;
        let [charge] = &*self.charges else { return Ok(all(&self, limits, memory)?) };
        let part = &mut *limits.part(&charge.subject);
        // Read under the lock: concurrent callers see time go one way.
        let ask = ask(charge, self.act, memory.now());
        Ok(SmallVec::from_buf([one(part, charge, &ask)?]))
    }
}

fn ask<R>(charge: &Charge<R>, act: Act, now: Timestamp) -> Ask {
    Ask { act, now, cost: charge.cost, charged: charge.charged }
}

fn id(rule: &Rule, subject: Subject) -> Id {
    (rule.id, subject)
}

/// Where the state of a limit is. One whose time is over is unused: what was only looked at meanwhile
/// was brought up, and lasts no longer for that.
#[inline]
fn found(part: &mut Part, charge: &Charge<impl AsRef<Rule>>, now: Timestamp) -> Option<usize> {
    let rule = charge.rule.as_ref();
    let slot = part.position(&id(rule, charge.subject), now)?;
    let (state, expires) = part.slot(slot);
    if *expires <= now {
        *state = rule.counting.unused(now);
    }
    Some(slot)
}

/// One limit alone: most often its state is changed where it is.
fn one(part: &mut Part, charge: &Charge<impl AsRef<Rule>>, ask: &Ask) -> Result<Taken, Full> {
    let rule = charge.rule.as_ref();
    let found = found(part, charge, ask.now);
    if let Some(slot) = found
        && let (state, expires) = part.slot(slot)
        && !matches!(state, State::Log(_))
    {
        let Done { taken, expires: ends } = rule.counting.apply(state, ask);
        *expires = ends.unwrap_or(*expires);
        return Ok(taken);
    }
    let mut it = open(part, charge, ask, found)?;
    let taken = it.act(part, rule, ask);
    it.shelve(part, charge, ask.now);
    Ok(taken)
}

/// Several limits: all locks are taken, in their order, before anything is looked at.
fn all<R: AsRef<Rule>>(
    take: &Take<R>,
    limits: &Limits,
    memory: &Memory,
) -> Result<<Take<R> as Verb>::Answer, Full> {
    let mut numbers: SmallVec<[usize; 4]> =
        take.charges.iter().map(|charge| limits.part_of(&charge.subject)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut parts: SmallVec<[_; 4]> =
        numbers.iter().map(|number| lock(&limits.parts[*number])).collect();
    let part = |charge: &Charge<R>| {
        numbers.binary_search(&limits.part_of(&charge.subject)).unwrap_or_default()
    };
    let now = memory.now();
    let mut opened: SmallVec<[_; 4]> = take
        .charges
        .iter()
        .map(|charge| {
            let part = &mut parts[part(charge)];
            let found = found(part, charge, now);
            open(part, charge, &ask(charge, take.act, now), found)
        })
        .collect();
    let refuses = |charge: &Charge<R>| !charge.rule.as_ref().is_shadow;
    let any = |is: fn(&Result<Open, Full>) -> bool| {
        take.charges.iter().zip(&opened).any(|(charge, it)| refuses(charge) && is(it))
    };
    let is_refused = take.act == Act::Take && any(|it| it.as_ref().is_ok_and(|it| !it.fits));
    let is_full = any(Result::is_err);
    // To look charges nothing.
    let act = if is_refused || is_full { Act::Peek } else { take.act };
    let taken = take
        .charges
        .iter()
        .zip(&mut opened)
        .map(|(charge, it)| match it {
            Ok(it) => {
                let rule = charge.rule.as_ref();
                it.act(&mut parts[part(charge)], rule, &ask(charge, act, now))
            }
            Err(Full) => Taken { fits: false, now, standing: Standing::Unknown },
        })
        .collect();
    // Only now: shelving moves slots.
    for (charge, it) in take.charges.iter().zip(opened) {
        if let Ok(it) = it {
            it.shelve(&mut parts[part(charge)], charge, now);
        }
    }
    if is_full && !is_refused { Err(Full) } else { Ok(taken) }
}

/// A limit while it is worked on.
struct Open {
    place: Place,
    fits: bool,
    /// From when on what is loose says no more than nothing would, if it is to be shelved.
    expires: Option<Timestamp>,
}

/// Where its state is meanwhile.
enum Place {
    Slot(usize),
    /// A new one, and a log, whose weight changes: they are shelved afterwards.
    Loose(State),
}

/// Looks at a limit, and whether what is asked of it can be done. A log that has no room for one more
/// request stays as it is: without it, nothing would be counted.
fn open(
    part: &mut Part,
    charge: &Charge<impl AsRef<Rule>>,
    ask: &Ask,
    found: Option<usize>,
) -> Result<Open, Full> {
    let rule = charge.rule.as_ref();
    let mut place = match found {
        None => Place::Loose(rule.counting.unused(ask.now)),
        Some(slot) => match part.slot(slot).0 {
            State::Log(log) => Place::Loose(State::Log(mem::take(log))),
            _ => Place::Slot(slot),
        },
    };
    let fits = rule.counting.look(place.state(part), ask);
    if let Place::Loose(State::Log(log)) = &mut place
        && matches!(ask.act, Act::Take | Act::Charge)
        && fits
        && !part.can_hold(log.next_weight())
    {
        if let Some(slot) = found {
            *part.slot(slot).0 = State::Log(mem::take(log));
        }
        return Err(Full);
    }
    Ok(Open { place, fits, expires: None })
}

impl Place {
    fn state<'a>(&'a mut self, part: &'a mut Part) -> &'a mut State {
        match self {
            Place::Slot(slot) => part.slot(*slot).0,
            Place::Loose(state) => state,
        }
    }
}

impl Open {
    fn act(&mut self, part: &mut Part, rule: &Rule, ask: &Ask) -> Taken {
        let state = self.place.state(part);
        let Done { taken, expires } = rule.counting.act(state, ask, self.fits);
        self.expires = match state {
            // It was taken off its shelf.
            State::Log(_) => Some(rule.counting.expires(state, ask.now)),
            _ => expires,
        };
        if let (Place::Slot(slot), Some(expires)) = (&self.place, expires) {
            *part.slot(*slot).1 = expires;
        }
        taken
    }

    /// Shelves what is loose, unless there is nothing to remember.
    fn shelve(self, part: &mut Part, charge: &Charge<impl AsRef<Rule>>, now: Timestamp) {
        let (Place::Loose(state), Some(expires)) = (self.place, self.expires) else { return };
        let id = id(charge.rule.as_ref(), charge.subject);
        if expires <= now {
            part.remove(&id);
            return;
        }
        let weight = match &state {
            State::Log(log) => log.weight(),
            _ => 0,
        };
        // A shelf too small for one entry remembers nothing; the limit then only decides.
        let _ = part.insert(id, state, weight, expires, now);
    }
}

impl OnMemory for Block {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let part = &mut *memory.limits.part(&self.subject);
        let (now, time) = (memory.now(), self.micros());
        let id = id(&self.rule, self.subject);
        let state = part.get(&id, now);
        let was_shut = match state {
            Some(State::Blocked { until }) => *until > now,
            Some(State::Failures(failures)) => failures.until > now,
            _ => false,
        };
        match (time, state) {
            (Some(time), _) => {
                let until = Timestamp(now.0 + time);
                let full = |Full| StoreError::new(Kind::Full);
                part.insert(id, State::Blocked { until }, 0, until, now).map_err(full)?;
            }
            // How often it was locked out is remembered.
            (None, Some(State::Failures(failures))) if was_shut => {
                failures.window.used = 0;
                failures.until = Timestamp(0);
            }
            (None, _) if was_shut => drop(part.remove(&id)),
            (None, _) => {}
        }
        Ok(was_shut)
    }
}

impl OnMemory for Reset {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let part = &mut *memory.limits.part(&self.subject);
        let id = id(&self.rule, self.subject);
        // What has expired is not there.
        let is_there = part.get(&id, memory.now()).is_some();
        part.remove(&id);
        Ok(is_there)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::Store;
    use crate::policy::Quota;
    use crate::policy::limiting::tests::{Marks, START, tables};

    fn subject(name: &str) -> Subject {
        Subject::Named(Fingerprint::of(&[name.as_bytes()]))
    }

    /// Moves the clock of the store, which is tokio's.
    async fn advance_to(at: u64, store: &Store) {
        tokio::time::advance(Timestamp(at).since(store.now())).await;
        assert_eq!(store.now(), Timestamp(at));
    }

    /// By itself, and with another limit that refuses nobody.
    #[tokio::test(start_paused = true)]
    async fn the_store_decides_as_the_tables_say() {
        for table in tables::all() {
            for count in [1, 2] {
                let store = Store::memory();
                let one = Arc::new(Rule::new("one", table.quota.counting(), false));
                let other = Arc::new(Rule::new("other", Quota::per_second(1).counting(), true));
                let mut marks = Marks::default();
                for row in table.rows {
                    advance_to(START + row.at, &store).await;
                    let charges = [&one, &other].map(|rule| Charge {
                        charged: marks.of(row),
                        ..Charge::new(rule.clone(), subject("ada"), row.cost)
                    });
                    let take = Take::new(row.act, charges.into_iter().take(count));
                    let taken = store.ask(take).await.unwrap()[0];
                    table.check(row, &taken);
                    marks.note(row, &taken);
                }
            }
        }
    }

    /// By itself, and with another limit beside it.
    #[tokio::test(start_paused = true)]
    async fn a_log_that_has_no_room_is_not_forgotten() {
        for count in [1, 2] {
            let store = Store::builder().memory_capacity(1 << 20).memory();
            let log = Quota::per_day(1_000_000).sliding_log();
            let log = Arc::new(Rule::new("log", log.counting(), false));
            let other = Arc::new(Rule::new("other", Quota::per_day(1).counting(), true));
            let take = |act| {
                let charges =
                    [&log, &other].map(|rule| Charge::new(rule.clone(), subject("ada"), 1));
                store.ask(Take::new(act, charges.into_iter().take(count)))
            };
            let mut admitted = 0;
            while take(Act::Take).await.is_ok() {
                admitted += 1;
                tokio::time::advance(Duration::from_micros(1)).await;
            }
            assert!(admitted > 100, "{admitted}");
            for _ in 0..3 {
                assert!(take(Act::Take).await.unwrap_err().is_full());
            }
            let standing = take(Act::Peek).await.unwrap()[0].standing;
            let Standing::Logged(logged) = standing else { panic!("a log: {standing:?}") };
            assert_eq!(logged.used, admitted);
        }
    }

    /// Nobody is let pass by the fallback whom a limit refuses.
    #[tokio::test(start_paused = true)]
    async fn a_log_that_has_no_room_does_not_hide_the_refusal_of_another_limit() {
        let store = Store::builder().memory_capacity(1 << 20).memory();
        let log = Quota::per_day(1_000_000).sliding_log();
        let log = Arc::new(Rule::new("log", log.counting(), false));
        let other = Arc::new(Rule::new("other", Quota::per_day(1).counting(), false));
        let take = |rules: &[&Arc<Rule>]| {
            let charges = rules.iter().map(|&rule| Charge::new(rule.clone(), subject("ada"), 1));
            store.ask(Take::new(Act::Take, charges.collect::<Vec<_>>()))
        };
        while take(&[&log]).await.is_ok() {
            tokio::time::advance(Duration::from_micros(1)).await;
        }
        assert!(take(&[&log, &other]).await.unwrap_err().is_full());
        assert!(take(&[&other]).await.unwrap()[0].fits);
        let taken = take(&[&log, &other]).await.unwrap();
        assert!(taken.iter().all(|taken| !taken.fits));
        assert_eq!(taken[0].standing, Standing::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_has_expired_leaves_the_others_of_a_decision_alone() {
        let store = Store::memory();
        let rule = |name, quota: Quota| Arc::new(Rule::new(name, quota.counting(), false));
        let short = rule("short", Quota::per_second(5).fixed_window());
        let long = rule("long", Quota::per_day(5).fixed_window());
        let take = |rules: &[&Arc<Rule>]| {
            let charges = rules.iter().map(|&rule| Charge::new(rule.clone(), subject("ada"), 1));
            store.ask(Take::new(Act::Take, charges.collect::<Vec<_>>()))
        };
        take(&[&short, &long]).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let taken = take(&[&long, &short]).await.unwrap();
        let remaining = [&long, &short].map(|rule| rule.counting).into_iter().zip(&taken);
        let remaining: Vec<_> =
            remaining.map(|(counting, taken)| counting.decide(taken, 1).remaining).collect();
        assert_eq!(remaining, [3, 4]);
    }
}
