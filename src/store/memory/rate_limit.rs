use std::mem;
use std::sync::{Mutex, MutexGuard};

use smallvec::SmallVec;

use super::shelf::{Full, Overflow, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::policy::limiting::{Act, State, Taken};
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

/// A limit while it is worked on.
struct Open {
    state: Place,
    fits: bool,
    is_changed: bool,
}

/// Where its state is meanwhile.
enum Place {
    Slot(usize),
    /// A new one, and a log, whose weight changes: they are shelved afterwards.
    Loose(State),
}

impl Place {
    fn get<'a>(&'a mut self, part: &'a mut Part) -> &'a mut State {
        match self {
            Place::Slot(slot) => part.slot(*slot).0,
            Place::Loose(state) => state,
        }
    }
}

fn id(rule: &Rule, subject: Subject) -> Id {
    (rule.id, subject)
}

/// Looks at a limit, and whether what is asked of it can be done. A log that has no room for one more
/// request stays as it is: without it, nothing would be counted.
fn open(
    part: &mut Part,
    charge: &Charge<impl AsRef<Rule>>,
    act: Act,
    now: Timestamp,
) -> Result<Open, Full> {
    let Charge { rule, subject, cost, .. } = charge;
    let Rule { counting, .. } = rule.as_ref();
    let found = part.find(&id(rule.as_ref(), *subject), now);
    let mut place = match found {
        None => Place::Loose(counting.current(None, now)),
        Some(slot) => match part.slot(slot).0 {
            State::Log(log) => Place::Loose(State::Log(mem::take(log))),
            _ => Place::Slot(slot),
        },
    };
    let state = place.get(part);
    counting.bring_up(state, now);
    let fits = match act {
        Act::Take | Act::Peek => counting.admits(state, now, *cost),
        Act::Charge | Act::Refund => !matches!(state, State::Blocked { .. }),
    };
    if let Place::Loose(State::Log(log)) = &mut place
        && matches!(act, Act::Take | Act::Charge)
        && fits
        && !part.can_hold(log.next_weight())
    {
        if let Some(slot) = found {
            *part.slot(slot).0 = State::Log(mem::take(log));
        }
        return Err(Full);
    }
    Ok(Open { state: place, fits, is_changed: false })
}

/// Does the act, if it is to be done. What is only looked at lasts no longer for that.
fn act_on(
    part: &mut Part,
    charge: &Charge<impl AsRef<Rule>>,
    act: Option<Act>,
    it: &mut Open,
    now: Timestamp,
) -> Taken {
    let Charge { rule, cost, charged, .. } = charge;
    let Rule { counting, .. } = rule.as_ref();
    let state = it.state.get(part);
    it.is_changed = true;
    match act {
        Some(Act::Take) if it.fits => counting.charge(state, now, *cost),
        Some(Act::Charge) => counting.charge(state, now, *cost),
        Some(Act::Refund) => counting.refund(state, now, *cost, *charged),
        _ => it.is_changed = false,
    }
    let standing = counting.standing(state, *cost, it.fits);
    if let (Place::Slot(slot), true) = (&it.state, it.is_changed) {
        let (state, expires) = part.slot(*slot);
        *expires = counting.expires(state, now);
    }
    Taken { fits: it.fits, now, standing }
}

/// Shelves what is loose, unless there is nothing to remember.
fn shelve(part: &mut Part, charge: &Charge<impl AsRef<Rule>>, it: Open, now: Timestamp) {
    let Open { state: Place::Loose(state), is_changed, .. } = it else { return };
    if !is_changed && !matches!(state, State::Log(_)) {
        return;
    }
    let rule = charge.rule.as_ref();
    let id = id(rule, charge.subject);
    let expires = rule.counting.expires(&state, now);
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

impl<R: AsRef<Rule>> OnMemory for Take<R> {
    fn on_memory(self, memory: &Memory) -> Result<<Take as Verb>::Answer, StoreError> {
        let limits = &memory.limits;
        let [charge] = &*self.charges else { return Ok(all(&self, limits, memory)?) };
        let part = &mut *limits.part(&charge.subject);
        // Read under the lock: concurrent callers see time go one way.
        let now = memory.now();
        let mut it = open(part, charge, self.act, now)?;
        let taken = act_on(part, charge, Some(self.act), &mut it, now);
        shelve(part, charge, it, now);
        Ok(SmallVec::from_buf([taken]))
    }
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
    // What has expired goes before a slot is held: that moves slots.
    for charge in &take.charges {
        parts[part(charge)].tidy(&id(charge.rule.as_ref(), charge.subject), now);
    }
    let mut opened = Vec::with_capacity(take.charges.len());
    let room = take.charges.iter().try_for_each(|charge| {
        opened.push(open(&mut parts[part(charge)], charge, take.act, now)?);
        Ok(())
    });
    let passes = take.act != Act::Take
        || take
            .charges
            .iter()
            .zip(&opened)
            .all(|(charge, it)| it.fits || charge.rule.as_ref().is_shadow);
    let act = (room.is_ok() && passes).then_some(take.act);
    let taken = take
        .charges
        .iter()
        .zip(&mut opened)
        .map(|(charge, it)| act_on(&mut parts[part(charge)], charge, act, it, now))
        .collect();
    // Only now: shelving moves slots.
    for (charge, it) in take.charges.iter().zip(opened) {
        shelve(&mut parts[part(charge)], charge, it, now);
    }
    room.map(|()| taken)
}

impl OnMemory for Block {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let part = &mut *memory.limits.part(&self.subject);
        let now = memory.now();
        let id = id(&self.rule, self.subject);
        let state = part.find(&id, now).map(|slot| part.slot(slot).0);
        let was_shut = match state {
            Some(State::Blocked { until }) => *until > now,
            Some(State::Failures(failures)) => failures.until > now,
            _ => false,
        };
        match (self.time, state) {
            (Some(time), _) => {
                let until = now.after(time);
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
        let is_there = part.find(&id, memory.now()).is_some();
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
    use crate::policy::limiting::Standing;
    use crate::policy::limiting::tests::{START, tables};

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
                let mut mark = None;
                for row in table.rows {
                    advance_to(START + row.at, &store).await;
                    let charges = [&one, &other].map(|rule| Charge {
                        charged: mark,
                        ..Charge::new(rule.clone(), subject("ada"), row.cost)
                    });
                    let take = Take::new(row.act, charges.into_iter().take(count));
                    let taken = store.ask(take).await.unwrap()[0];
                    table.check(row, &taken);
                    if row.act == Act::Take && taken.fits {
                        mark = Some(taken.mark());
                    }
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

    /// To drop an entry moves another one into its place.
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
