//! One question to the store, and what becomes of it where there is no answer.

use super::{Limiter, Shared};
use crate::StoreError;
use crate::observe::{self, Limit as Event};
use crate::policy::limiting::{Act, Decision, Verdict};
use crate::rate_limit::{Allowance, Fallback, Key};
use crate::store::verbs::{Charge, Take};

impl Limiter {
    /// A take that takes no waiting, as most do: then nothing is put together to be waited for.
    #[inline]
    pub(super) fn at_once(&self, key: &Key, cost: u32) -> Option<Result<Allowance, StoreError>> {
        let Shared { store, rule, name, .. } = &*self.shared;
        let allowance = |verdict: Verdict| Allowance::new(name, verdict.decision);
        match store.judge(Act::Take, rule, &key.0, cost, allowance)? {
            Err(error) => Some(self.without(key, cost, error)),
            Ok(allowance) => {
                observe::rate_limit(name, Event::of(allowance.is_allowed()));
                Some(Ok(allowance))
            }
        }
    }

    /// Any other take.
    pub(super) async fn later(&self, key: Key, cost: u32) -> Result<Allowance, StoreError> {
        let answer = self.ask(Act::Take, key, cost).await;
        let (event, decision) = self.outcome(&key, cost, answer)?;
        Ok(self.allowance(event, decision))
    }

    pub(super) async fn act(&self, act: Act, key: Key, cost: u32) -> Result<Decision, StoreError> {
        let Shared { store, rule, .. } = &*self.shared;
        match store.judge(act, rule, &key.0, cost, |verdict| verdict.decision) {
            Some(answer) => answer,
            None => self.ask(act, key, cost).await,
        }
    }

    async fn ask(&self, act: Act, key: Key, cost: u32) -> Result<Decision, StoreError> {
        let Shared { store, rule, .. } = &*self.shared;
        let taken = store.ask(Take::one(act, Charge::new(rule, key.0, cost))).await?;
        Ok(rule.counting.verdict(&taken[0], cost).decision)
    }

    #[cold]
    fn without(&self, key: &Key, cost: u32, error: StoreError) -> Result<Allowance, StoreError> {
        let (event, decision) = self.fall_back(key, cost, error)?;
        Ok(self.allowance(event, decision))
    }

    /// A take that is not told yet.
    pub(super) async fn attempt(
        &self,
        key: Key,
        cost: u32,
    ) -> Result<(Event, Decision), StoreError> {
        let answer = self.act(Act::Take, key, cost).await;
        self.outcome(&key, cost, answer)
    }

    /// What comes of a take, whether or not the store has answered, and what it counts as.
    #[inline]
    pub(super) fn outcome(
        &self,
        key: &Key,
        cost: u32,
        answer: Result<Decision, StoreError>,
    ) -> Result<(Event, Decision), StoreError> {
        match answer {
            Ok(decision) => Ok((Event::of(decision.allowed), decision)),
            Err(error) => self.fall_back(key, cost, error),
        }
    }

    #[cold]
    fn fall_back(
        &self,
        key: &Key,
        cost: u32,
        error: StoreError,
    ) -> Result<(Event, Decision), StoreError> {
        let Shared { store, name, quota, fallback, .. } = &*self.shared;
        match fallback {
            Fallback::Local => {
                let decision = store.local(name, *quota).take(key.0, cost);
                Ok((Event::here(decision.allowed), decision))
            }
            Fallback::Allow => Ok((Event::Unchecked, Decision::unchecked(quota.burst_size()))),
            Fallback::Refuse => {
                observe::rate_limit(name, Event::Refused);
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn allowance(&self, event: Event, decision: Decision) -> Allowance {
        observe::rate_limit(&self.shared.name, event);
        Allowance::new(&self.shared.name, decision)
    }
}
