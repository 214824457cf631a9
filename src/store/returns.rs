//! Permits that were to be given back when the store did not answer, and the one task that goes on
//! trying.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::alarm::{Alarm, Bell, now};
use super::life::Running;
use super::verbs::{Claim, ReleasePermit};
use super::{Store, StoreError};
use crate::policy::breaker::backoff;

/// A permit that nobody needs any more. May be given back twice: nobody else has its holder's name.
#[derive(Clone, Debug)]
pub(super) struct Return {
    claim: Claim,
    /// When it was last asked for: a lease later it is free by itself.
    asked: Instant,
    /// There was no answer: what takes it may still be on its way.
    may_come_later: bool,
    attempt: u32,
    due: Instant,
}

/// Those that are not certain to be free, of one store. Beyond [`MOST`], the one that has waited
/// longest is left to its lease.
#[derive(Default)]
pub(super) struct Returns {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Return>,
    alarm: Alarm,
}

/// Some two megabytes.
const MOST: usize = 16_384;

/// As many are under way at the same time.
const BATCH: usize = 128;

/// What is due so soon goes along.
const TOGETHER: Duration = Duration::from_millis(20);

/// A server that is late is not to be pressed.
const SOONEST: Duration = Duration::from_millis(50);

impl Return {
    pub(super) fn new(claim: Claim, asked: Instant, may_come_later: bool) -> Return {
        Return { claim, asked, may_come_later, attempt: 0, due: asked }
    }

    /// What is left to do after an answer.
    fn after(mut self, answer: &Result<bool, StoreError>, now: Instant) -> Option<Return> {
        let wait = match answer {
            Ok(was_there) if *was_there || !self.may_come_later => return None,
            // What takes it may come after as long again as until now.
            Ok(_) => now.duration_since(self.asked),
            // Neither passes in time.
            Err(error) if error.is_forbidden() || error.is_shut_down() => return None,
            Err(_) => backoff(self.attempt, fastrand::f64()),
        };
        self.attempt = self.attempt.saturating_add(1);
        self.due = now + wait.max(SOONEST);
        (self.due < self.asked + self.claim.semaphore.lease).then_some(self)
    }
}

impl Store {
    /// Gives a permit back, and waits for no answer: again and again until that is certain to be
    /// done, or the lease is over, or the store ends.
    pub(super) fn give_back(&self, permit: Return) {
        let store = self.clone();
        self.finish(self.ask(ReleasePermit(permit.claim.clone())), move |answer| {
            if let Some(permit) = permit.after(&answer, now()) {
                store.shared.returns.add(&store, permit);
            }
        });
    }
}

impl Returns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, store: &Store, permit: Return) {
        let mut state = self.state();
        let task = |bell, running| give_back(store.clone(), bell, running);
        if state.alarm.set(store, permit.due, task) {
            state.push(permit);
        }
    }

    fn due(&self, all: bool) -> Vec<Return> {
        let (until, mut state) = (now() + TOGETHER, self.state());
        let (due, later) = state.waiting.drain(..).partition(|permit| all || permit.due <= until);
        state.waiting = later;
        Vec::from(due)
    }

    /// Whether there is more to do.
    fn go_on(&self) -> bool {
        let mut state = self.state();
        let next = state.waiting.iter().map(|permit| permit.due).min();
        state.alarm.go_on(next)
    }

    /// The store ends: what is left is free after its lease.
    fn end(&self) {
        *self.state() = State::default();
    }
}

impl State {
    fn push(&mut self, permit: Return) {
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back(permit);
    }
}

/// What the task does. The store lasts as long, and ends after it.
async fn give_back(store: Store, mut bell: Bell, running: Running) {
    let returns = &store.shared.returns;
    loop {
        let is_ending = tokio::select! {
            // The alarm is the store's, which is kept here.
            _ = bell.rings() => false,
            () = running.ending() => true,
        };
        for permits in returns.due(is_ending).chunks(BATCH) {
            let release = |permit: &Return| store.ask(ReleasePermit(permit.claim.clone()));
            let answers = join_all(permits.iter().map(release)).await;
            for (permit, answer) in permits.iter().zip(answers) {
                if let Some(permit) = permit.clone().after(&answer, now()) {
                    returns.add(&store, permit);
                }
            }
        }
        if is_ending {
            return returns.end();
        }
        if !returns.go_on() {
            return;
        }
    }
}

impl fmt::Debug for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returns").field("waiting", &self.state().waiting.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::store::Kind;
    use crate::store::keys::Subject;
    use crate::store::verbs::Semaphore;

    const LEASE: Duration = Duration::from_secs(30);

    fn permit(asked: Instant, may_come_later: bool) -> Return {
        let semaphore = Semaphore { name: "exports".into(), permits: 1, lease: LEASE };
        let subject = Subject::Address(Ipv4Addr::LOCALHOST.into());
        Return::new(Claim::new(Arc::new(semaphore), subject), asked, may_come_later)
    }

    #[test]
    fn it_is_over_when_it_is_certain_or_the_lease_is() {
        let asked = now();
        let soon = asked + Duration::from_millis(200);
        let again = |may_come_later, answer: Result<bool, Kind>, now| {
            permit(asked, may_come_later).after(&answer.map_err(StoreError::new), now)
        };
        for may_come_later in [false, true] {
            let again = |answer, now| again(may_come_later, answer, now).is_some();
            assert!(!again(Ok(true), soon));
            assert!(again(Err(Kind::Unavailable), soon) && again(Err(Kind::Timeout), soon));
            assert!(!again(Err(Kind::NoPermission), soon) && !again(Err(Kind::ShutDown), soon));
            assert!(!again(Err(Kind::Timeout), asked + LEASE));
        }
        assert!(again(false, Ok(false), soon).is_none());
        let later = again(true, Ok(false), soon).expect("it may come");
        assert_eq!(later.due, asked + Duration::from_millis(400), "as long again");
        assert!(again(true, Ok(false), asked + LEASE / 2).is_none());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut state = State::default();
        let asked = now();
        for late in 0..MOST as u64 + 3 {
            state.push(permit(asked + Duration::from_millis(late), true));
        }
        assert_eq!(state.waiting.len(), MOST);
        assert_eq!(state.waiting[0].asked, asked + Duration::from_millis(3));
    }
}
