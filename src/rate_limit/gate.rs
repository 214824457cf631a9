use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};

use super::layer::Settings;
use super::{Fallback, KeyError, Limited, fields};
use crate::gate::{Gate, Plan};
use crate::observe::{self, Limit};
use crate::policy::gcra::{Decision, Taken};
use crate::refusal::{refusal, unavailable};
use crate::store::verbs::Take;
use crate::store_layer::find;
use crate::{MissingStore, StoreError};

/// One request at one limit.
pub(super) struct LimitGate {
    settings: Arc<Settings>,
    /// What was asked, for the local limit to decide on if the store cannot.
    take: Option<Take>,
    /// What to say in the response's fields.
    decision: Option<Decision>,
}

pub(super) enum Refusal {
    Limited(Decision),
    Unavailable(StoreError),
    MissingStore(MissingStore),
    Key(KeyError),
}

impl LimitGate {
    pub(super) fn new(settings: Arc<Settings>) -> LimitGate {
        LimitGate { settings, take: None, decision: None }
    }

    pub(super) fn plan(&mut self, head: &Parts) -> Result<Plan<Take>, Refusal> {
        let Settings { name, gcra, key, store, .. } = &*self.settings;
        let key = key.key(head).map_err(|error| {
            tracing::error!("{error}");
            Refusal::Key(error)
        })?;
        let Some(key) = key else { return Ok(Plan::Pass) };
        let store = find(store.as_ref(), &head.extensions).map_err(Refusal::MissingStore)?;
        let take = Take { name: name.clone(), subject: key.0, gcra: *gcra, cost: 1 };
        self.take = Some(take.clone());
        Ok(Plan::Ask(store, take))
    }
}

impl Gate for LimitGate {
    type Verb = Take;
    type Refusal = Refusal;

    fn open(&mut self, answer: Result<Taken, StoreError>) -> Result<(), Refusal> {
        let Settings { name, gcra, fallback, local, .. } = &*self.settings;
        let Some(take) = &self.take else { return Ok(()) };
        let is_shared = answer.is_ok();
        let decision = match (answer, fallback) {
            (Ok(taken), _) => gcra.decide(taken, take.cost),
            (Err(_), Fallback::Local) => local.take(take.subject),
            (Err(_), Fallback::Allow) => {
                observe::rate_limit(name, Limit::Unchecked);
                return Ok(());
            }
            (Err(error), Fallback::Refuse) => {
                observe::rate_limit(name, Limit::Refused);
                return Err(Refusal::Unavailable(error));
            }
        };
        observe::rate_limit(name, outcome(&decision, is_shared));
        if !decision.allowed {
            return Err(Refusal::Limited(decision));
        }
        self.decision = Some(decision);
        Ok(())
    }

    fn refuse<B: Default>(&self, reason: Refusal) -> Response<B> {
        let decision = match reason {
            Refusal::Limited(decision) => decision,
            Refusal::Unavailable(error) => return unavailable(error),
            Refusal::MissingStore(missing) => {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, missing);
            }
            Refusal::Key(error) => return error.refusal(),
        };
        let Settings { name, policy_field, .. } = &*self.settings;
        let retry_after = decision.retry_after;
        let limited = Limited { limit: name.clone(), retry_after };
        let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, limited);
        fields::append(response.headers_mut(), name, policy_field, &decision);
        if let Some(wait) = retry_after {
            fields::retry_after(response.headers_mut(), wait);
        }
        response
    }

    fn leave<B>(&self, response: &mut Response<B>) {
        if let Some(decision) = &self.decision {
            let Settings { name, policy_field, .. } = &*self.settings;
            fields::append(response.headers_mut(), name, policy_field, decision);
        }
    }
}

fn outcome(decision: &Decision, is_shared: bool) -> Limit {
    match (decision.allowed, is_shared) {
        (true, true) => Limit::Allowed,
        (false, true) => Limit::Limited,
        (true, false) => Limit::AllowedHere,
        (false, false) => Limit::LimitedHere,
    }
}
