use std::array;
use std::mem;
use std::sync::{Mutex, MutexGuard};

use smallvec::SmallVec;

use super::shelf::{Full, Overflow, Shelf};
use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Ask, Done, Look, Standing, State, Taken, Verdict};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::keys::Subject;
use crate::store::limit_at::LimitAt;
use crate::store::verbs::{Block, Charge, Reset, Rule, Take, Verb};

/// What all limits have counted, in parts with a lock each, so that callers seldom wait for each
/// other. All limits of a subject are in one part.
#[derive(Debug)]
pub(super) struct Limits {
    parts: Box<[Mutex<Part>; PARTS]>,
}

type Part = Shelf<LimitAt, State>;

const PARTS: usize = 16;

impl Limits {
    pub(super) fn new(capacity: usize) -> Limits {
        // Forgetting the limit that was used least recently is little harm, but for one that is
        // shut: whoever is could open it with keys that he makes up.
        let part = || Shelf::new(capacity / PARTS, Overflow::Evict).sparing(State::shut_until);
        Limits { parts: Box::new(array::from_fn(|_| Mutex::new(part()))) }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = MutexGuard<'_, Part>> {
        self.parts.iter().map(lock)
    }

    fn part_of(subject: &Subject) -> usize {
        usize::from(subject.any_byte()) % PARTS
    }

    fn part(&self, subject: &Subject) -> MutexGuard<'_, Part> {
        lock(&self.parts[Limits::part_of(subject)])
    }
}

impl<R: AsRef<Rule>> OnMemory for Take<R> {
    fn on_memory(self, memory: &Memory) -> Result<<Take as Verb>::Answer, StoreError> {
        Ok(all(&self, &memory.limits, memory)?)
    }
}

impl Memory {
    /// One limit alone: most often its state is changed where it is. A log's weight changes with
    /// it, so that it is only looked at there.
    #[inline]
    pub(in crate::store) fn judge<T>(
        &self,
        act: Act,
        rule: &Rule,
        subject: &Subject,
        cost: u32,
        then: impl FnOnce(Verdict) -> T,
    ) -> Result<T, StoreError> {
        let part = &mut *self.limits.part(subject);
        // Read under the lock: concurrent callers see time go one way.
        let ask = Ask { act, now: self.now(), cost, charged: None };
        let found = found(part, rule, subject, ask.now);
        if let Some(slot) = found
            && let (state, expires) = part.slot(slot)
            && (!matches!(state, State::Log(_)) || act == Act::Peek)
        {
            return Ok(rule.counting.judge(state, expires, &ask, then));
        }
        Ok(then(judge_new(part, rule, subject, &ask, found)?))
    }
}

/// What has to be shelved.
#[inline(never)]
fn judge_new(
    part: &mut Part,
    rule: &Rule,
    subject: &Subject,
    ask: &Ask,
    found: Option<usize>,
) -> Result<Verdict, Full> {
    let mut it = open(part, rule, ask, found)?;
    let taken = it.act(part, rule, ask);
    it.shelve(part, LimitAt::new(rule, subject), ask.now);
    Ok(rule.counting.verdict(&taken, ask.cost))
}

fn ask<R>(charge: &Charge<R>, act: Act, now: Timestamp) -> Ask {
    Ask { act, now, cost: charge.cost, charged: charge.charged }
}

/// Where the state of a limit is. One whose time is over is unused: what was only looked at
/// meanwhile was brought up, and lasts no longer for that.
#[inline]
fn found(part: &mut Part, rule: &Rule, subject: &Subject, now: Timestamp) -> Option<usize> {
    let slot = part.position(&LimitAt::lent(rule, subject), now)?;
    let (state, expires) = part.slot(slot);
    if *expires <= now {
        *state = rule.counting.unused(now);
    }
    Some(slot)
}

/// Several limits: all locks are taken, in their order, before anything is looked at.
fn all<R: AsRef<Rule>>(
    take: &Take<R>,
    limits: &Limits,
    memory: &Memory,
) -> Result<<Take<R> as Verb>::Answer, Full> {
    let mut numbers: SmallVec<[usize; 4]> =
        take.charges.iter().map(|charge| Limits::part_of(&charge.subject)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut parts: SmallVec<[_; 4]> =
        numbers.iter().map(|number| lock(&limits.parts[*number])).collect();
    let part = |charge: &Charge<R>| {
        numbers.binary_search(&Limits::part_of(&charge.subject)).unwrap_or_default()
    };
    let now = memory.now();
    let mut opened: SmallVec<[_; 4]> = take
        .charges
        .iter()
        .map(|charge| {
            let part = &mut parts[part(charge)];
            let rule = charge.rule.as_ref();
            let found = found(part, rule, &charge.subject, now);
            open(part, rule, &ask(charge, take.act, now), found)
        })
        .collect();
    let refuses = |charge: &Charge<R>| !charge.rule.as_ref().is_shadow;
    let any = |is: fn(&Result<Open, Full>) -> bool| {
        take.charges.iter().zip(&opened).any(|(charge, it)| refuses(charge) && is(it))
    };
    let is_refused = take.act == Act::Take && any(|it| it.as_ref().is_ok_and(|it| !it.look.fits));
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
            let at = LimitAt::new(charge.rule.as_ref(), &charge.subject);
            it.shelve(&mut parts[part(charge)], at, now);
        }
    }
    if is_full && !is_refused { Err(Full) } else { Ok(taken) }
}

/// A limit while it is worked on.
struct Open {
    /// A copy of what is stored; a log itself, off its shelf meanwhile.
    state: State,
    slot: Option<usize>,
    look: Look,
    /// From when on it says no more than nothing would, if it is to be shelved.
    expires: Option<Timestamp>,
}

/// Looks at a limit, and whether what is asked of it can be done. A log that has no room for one
/// more request stays as it is: without it, nothing would be counted.
fn open(part: &mut Part, rule: &Rule, ask: &Ask, slot: Option<usize>) -> Result<Open, Full> {
    let mut state = match slot.map(|slot| part.slot(slot).0) {
        None => rule.counting.unused(ask.now),
        Some(State::Log(log)) => State::Log(mem::take(log)),
        Some(state) => state.clone(),
    };
    let look = rule.counting.look(&mut state, ask);
    if let State::Log(log) = &mut state
        && matches!(ask.act, Act::Take | Act::Charge)
        && look.fits
        && !part.can_hold(log.next_weight())
    {
        if let Some(slot) = slot {
            *part.slot(slot).0 = State::Log(mem::take(log));
        }
        return Err(Full);
    }
    Ok(Open { state, slot, look, expires: None })
}

impl Open {
    fn act(&mut self, part: &mut Part, rule: &Rule, ask: &Ask) -> Taken {
        let Done { taken, expires } = rule.counting.act(&mut self.state, ask, self.look);
        let is_log = matches!(self.state, State::Log(_));
        match self.slot {
            // Back to where it was: a log as it was, and anything else if it is to be stored.
            Some(slot) if is_log == expires.is_none() => {
                let (state, ends) = part.slot(slot);
                mem::swap(state, &mut self.state);
                *ends = expires.unwrap_or(*ends);
            }
            _ => self.expires = expires,
        }
        taken
    }

    /// Shelves what is new, and a log that has changed, unless there is nothing to remember.
    fn shelve(self, part: &mut Part, at: LimitAt, now: Timestamp) {
        let Some(expires) = self.expires else { return };
        if expires <= now {
            part.remove(&at);
            return;
        }
        let weight = match &self.state {
            State::Log(log) => log.weight(),
            _ => 0,
        };
        // A shelf too small for one entry remembers nothing; the limit then only decides.
        let _ = part.insert(at, self.state, weight, expires, now);
    }
}

impl OnMemory for Block {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let part = &mut *memory.limits.part(&self.subject);
        let (now, time) = (memory.now(), self.micros());
        let at = LimitAt::new(&self.rule, &self.subject);
        let state = part.get(&at, now);
        let was_shut = state.as_ref().is_some_and(|state| state.shut_until() > now);
        match (time, state) {
            (Some(time), _) => {
                let until = Timestamp(now.0 + time);
                let full = |Full| StoreError::new(Kind::Full);
                part.insert(at, State::Blocked { until }, 0, until, now).map_err(full)?;
            }
            // How often it was locked out is remembered.
            (None, Some(State::Failures(failures))) if was_shut => {
                failures.window.used = 0;
                failures.until = Timestamp(0);
            }
            (None, _) if was_shut => drop(part.remove(&at)),
            (None, _) => {}
        }
        Ok(was_shut)
    }
}

impl OnMemory for Reset {
    fn on_memory(self, memory: &Memory) -> Result<bool, StoreError> {
        let part = &mut *memory.limits.part(&self.subject);
        let at = LimitAt::new(&self.rule, &self.subject);
        // What has expired is not there.
        let is_there = part.get(&at, memory.now()).is_some();
        part.remove(&at);
        Ok(is_there)
    }
}

#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests;
