//! The permits that this process holds of a store, and the one task that renews them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::{Alarm, Bell, now};
use super::keys::Subject;
use super::life::Running;
use super::returns::Return;
use super::under_way::Counted;
use super::verbs::{
    AcquirePermit, Acquired, Claim, Holder, ReleasePermit, RenewPermits, Semaphore,
};
use super::{Asking, Store, StoreError};
use crate::observe;

/// A permit that is asked for or held, until this is dropped: then it is given back, unless it is
/// certain that it was never taken.
#[derive(Debug)]
pub(crate) struct Permit {
    store: Store,
    claim: Claim,
    asked: Instant,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Nothing is taken.
    Vacant,
    /// It may be taken, or will be when what was sent arrives, and nobody renews it.
    InDoubt {
        may_come_later: bool,
    },
    Held,
}

impl Permit {
    /// What asks for one, and what holds it then.
    pub(crate) fn claim(
        store: &Store,
        semaphore: Arc<Semaphore>,
        subject: Subject,
    ) -> (Permit, AcquirePermit) {
        let claim = Claim::new(semaphore, subject);
        let acquire = AcquirePermit(claim.clone());
        let status = Status::InDoubt { may_come_later: true };
        (Permit { store: store.clone(), claim, asked: now(), status }, acquire)
    }

    /// What came of asking. What is held is renewed from now on.
    pub(crate) fn settle(&mut self, answer: &Result<Acquired, StoreError>) {
        self.status = Status::after(answer);
        if self.status == Status::Held {
            self.store.shared.permits.begin(&self.store, &self.claim, self.asked);
        }
    }

    /// What this process has under way by it, for when the store cannot answer later.
    pub(crate) fn count_here(&self) -> Counted {
        self.store.shared.under_way.count(&self.claim.semaphore, self.claim.subject)
    }

    /// In its place, while the store cannot answer, if there is room; and how many are under way.
    pub(crate) fn admit_here(&self) -> (Option<Counted>, u32) {
        self.store.shared.under_way.admit(&self.claim.semaphore, self.claim.subject)
    }

    /// Whoever asked has gone. The answer is waited for, so that what gives the permit back does not
    /// overtake what takes it, on another connection.
    pub(crate) fn abandon(mut self, asking: Asking<Acquired>) {
        let store = self.store.clone();
        store.finish(asking, move |answer| {
            self.status = match Status::after(&answer) {
                // There is nobody to renew it for.
                Status::Held => Status::InDoubt { may_come_later: false },
                status => status,
            };
            drop(self);
        });
    }
}

impl Status {
    fn after(answer: &Result<Acquired, StoreError>) -> Status {
        match answer {
            Ok(Acquired { is_held: true, .. }) => Status::Held,
            Ok(Acquired { is_held: false, .. }) => Status::Vacant,
            Err(error) if error.was_not_done() => Status::Vacant,
            Err(error) => Status::InDoubt { may_come_later: error.has_no_answer() },
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let permit = match self.status {
            Status::Vacant => None,
            Status::InDoubt { may_come_later } => {
                Some(Return::new(self.claim.clone(), self.asked, may_come_later))
            }
            Status::Held => self.store.shared.permits.end(self.claim.holder),
        };
        if let Some(permit) = permit {
            self.store.give_back(permit);
        }
    }
}

/// The permits that this process holds of one store.
#[derive(Default)]
pub(crate) struct Permits {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: HashMap<Holder, Tenure>,
    alarm: Alarm,
}

/// A permit that is held. As long as it is, so is the store.
struct Tenure {
    store: Store,
    claim: Claim,
    /// When it was last asked for, whatever came of it.
    asked: Instant,
    /// Whether that has had no answer.
    in_doubt: bool,
    /// When it is to be renewed.
    due: Instant,
    /// Its lease ran out while the store could not be asked, and then there was none free.
    is_lost: bool,
    is_renewing: bool,
    /// It ended while it was renewed: who renews gives it back, or the renewal might come after
    /// that.
    is_over: bool,
}

/// As many as travel together: some milliseconds of a server's time.
const BATCH: usize = 128;

impl Permits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Permits>, store: &Store, claim: &Claim, asked: Instant) {
        let due = asked + renewal(claim);
        let mut state = self.state();
        let tenure = Tenure {
            store: store.clone(),
            claim: claim.clone(),
            asked,
            in_doubt: false,
            due,
            is_lost: false,
            is_renewing: false,
            is_over: false,
        };
        state.held.insert(claim.holder, tenure);
        // Without a task the permit lasts as long as its lease.
        let _ =
            state.alarm.set(store, due, |bell, running| keep(Arc::downgrade(self), bell, running));
    }

    /// A permit is not needed any more: what is to be given back now.
    fn end(&self, holder: Holder) -> Option<Return> {
        let mut state = self.state();
        let has_renewer = state.alarm.has_task();
        let Entry::Occupied(mut tenure) = state.held.entry(holder) else { return None };
        if tenure.get().is_renewing && has_renewer {
            tenure.get_mut().is_over = true;
            return None;
        }
        Some(tenure.remove().over().1)
    }

    /// Renews what is due, or soon will be.
    async fn renew(&self) {
        let Some((store, due)) = self.due() else { return };
        for claims in due.chunks(BATCH) {
            let asked = now();
            match store.ask(RenewPermits(claims.to_vec())).await {
                Ok(answers) => {
                    for (claim, answer) in claims.iter().zip(answers) {
                        self.renewed(claim, asked, answer);
                    }
                }
                Err(error) => {
                    for claim in claims {
                        self.renewed(claim, asked, Err(error.clone()));
                    }
                }
            }
        }
    }

    fn due(&self) -> Option<(Store, Vec<Claim>)> {
        let (now, mut state) = (now(), self.state());
        let due = state.held.values_mut().filter(|it| it.due <= now + retry(&it.claim));
        let claims: Vec<_> = due
            .map(|tenure| {
                tenure.is_renewing = true;
                tenure.claim.clone()
            })
            .collect();
        let store = state.held.get(&claims.first()?.holder)?.store.clone();
        Some((store, claims))
    }

    fn renewed(&self, claim: &Claim, asked: Instant, answer: Result<Acquired, StoreError>) {
        let mut state = self.state();
        let Entry::Occupied(mut entry) = state.held.entry(claim.holder) else { return };
        let tenure = entry.get_mut();
        if !answer.as_ref().is_err_and(StoreError::was_not_done) {
            tenure.asked = asked;
            tenure.in_doubt = answer.as_ref().is_err_and(StoreError::has_no_answer);
        }
        if tenure.is_over {
            let (store, permit) = entry.remove().over();
            drop(state);
            store.give_back(permit);
            return;
        }
        tenure.is_renewing = false;
        match answer {
            Ok(Acquired { is_held, .. }) => {
                if !is_held && !tenure.is_lost {
                    observe::permit_lost(&claim.semaphore.name);
                }
                // What is lost is asked for again in its time: others may have left by then.
                tenure.is_lost = !is_held;
                tenure.due = asked + renewal(claim);
            }
            Err(_) => tenure.due = asked + retry(claim),
        }
    }

    /// Whether there is more to do.
    fn go_on(&self) -> bool {
        let mut state = self.state();
        let next = state.held.values().map(|tenure| tenure.due).min();
        state.alarm.go_on(next)
    }

    /// The store ends: nobody could give them back afterwards.
    fn end_all(&self) {
        let held = std::mem::take(&mut self.state().held);
        for tenure in held.into_values() {
            tenure.store.tell(ReleasePermit(tenure.claim));
        }
    }
}

impl Tenure {
    fn over(self) -> (Store, Return) {
        (self.store, Return::new(self.claim, self.asked, self.in_doubt))
    }
}

/// What the task does. It ends when nothing is held any more, and with the store, which it does not
/// keep.
async fn keep(permits: Weak<Permits>, mut bell: Bell, running: Running) {
    loop {
        tokio::select! {
            is_due = bell.rings() => if !is_due { return },
            () = running.ending() => {
                if let Some(permits) = permits.upgrade() {
                    permits.end_all();
                }
                return;
            }
        }
        let Some(permits) = permits.upgrade() else { return };
        permits.renew().await;
        if !permits.go_on() {
            return;
        }
    }
}

/// From one renewal to the next: two may fail before the lease is over.
fn renewal(claim: &Claim) -> Duration {
    claim.semaphore.lease / 3
}

/// From a renewal that failed to the next; and how much sooner than due one is renewed along with
/// others, so that they stay together.
fn retry(claim: &Claim) -> Duration {
    claim.semaphore.lease / 12
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").field("held", &self.state().held.len()).finish_non_exhaustive()
    }
}
