use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use smallvec::smallvec;

use super::fields;
use super::layer::Settings;
use crate::gate::{Gate, Plan, Planned, Respond};
use crate::observe::{self, Limit as Event};
use crate::rate_limit::body::Tail;
use crate::rate_limit::refusal::{Found, Refusal};
use crate::rate_limit::{Fallback, LimitBody, Limited, Violation};
use crate::store::Asking;
use crate::store::Counted;
use crate::store::permits::Permit;
use crate::store::verbs::Acquired;
use crate::store_layer::find;
use crate::{Store, StoreError};

/// One request at a concurrency limit.
pub(super) struct ConcurrencyGate {
    settings: Arc<Settings>,
    /// What it waits for a key with.
    store: Option<Store>,
    /// What it is about to hold.
    asked: Option<Permit>,
    occupied: Option<Box<Occupied>>,
    remaining: Option<u64>,
}

/// What a request that is under way holds: by the store, in this process, or both.
#[derive(Debug)]
pub(in crate::rate_limit) struct Occupied {
    _permit: Option<Permit>,
    _counted: Option<Counted>,
}

/// Nobody knows when a permit will be free.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ConcurrencyGate {
    pub(super) fn new(settings: Arc<Settings>) -> ConcurrencyGate {
        let (store, asked, occupied, remaining) = (None, None, None, None);
        ConcurrencyGate { settings, store, asked, occupied, remaining }
    }

    pub(super) fn plan(&mut self, settings: &Settings, head: &Parts) -> Planned<Self> {
        if settings.allowed.as_ref().is_some_and(|allowed| allowed.matches(head)) {
            return Ok(Plan::Pass);
        }
        let store = find(settings.store.as_ref(), &head.extensions);
        let store = store.map_err(Refusal::MissingStore)?;
        if let Some(later) = settings.key.later(head) {
            self.store = Some(store.clone());
            return Ok(Plan::Wait(later));
        }
        self.ask(store, settings.key.key(head))
    }

    fn ask(&mut self, store: &Store, key: Found) -> Planned<Self> {
        let settings = &self.settings;
        let (name, is_shadow) = (&settings.semaphore.name, settings.is_shadow);
        let subject = settings.without_key.subject(key, name, is_shadow)?;
        let Some(subject) = subject else { return Ok(Plan::Pass) };
        let (permit, acquire) = Permit::claim(store, settings.semaphore.clone(), subject);
        self.asked = Some(permit);
        Ok(Plan::Ask(store.ask(acquire)))
    }

    fn occupy(&mut self, permit: Option<Permit>, counted: Option<Counted>, held: u64) {
        let remaining = u64::from(self.settings.semaphore.permits).saturating_sub(held);
        self.remaining = (!self.settings.is_shadow).then_some(remaining);
        self.occupied = Some(Box::new(Occupied { _permit: permit, _counted: counted }));
    }

    fn refused(&mut self, event: Event) -> Result<(), Refusal> {
        if self.settings.is_shadow {
            self.observe(Event::ShadowLimited);
            return Ok(());
        }
        self.observe(event);
        self.remaining = Some(0);
        Err(Refusal::Limited)
    }

    fn limited(&self, head: &mut Parts) -> Response<Bytes> {
        let Settings { semaphore, refuse_with, documents, .. } = &*self.settings;
        let limit = semaphore.name.clone();
        let violation = Violation { limit, retry_after: Some(RETRY_AFTER), is_blocked: false };
        let limited = Limited { violations: smallvec![violation] };
        limited.response(head, refuse_with.as_deref(), Some(documents), |headers, _| {
            fields::append(headers, &self.settings, self.remaining);
        })
    }

    fn observe(&self, event: Event) {
        observe::rate_limit(&self.settings.semaphore.name, event);
    }
}

impl Gate for ConcurrencyGate {
    type Answer = Acquired;
    type Refusal = Refusal;
    type Waited = Found;

    fn resume(&mut self, key: Found) -> Planned<Self> {
        match self.store.take() {
            Some(store) => self.ask(&store, key),
            None => Ok(Plan::Pass),
        }
    }

    fn open(&mut self, answer: Result<Acquired, StoreError>) -> Result<(), Refusal> {
        let Some(mut permit) = self.asked.take() else { return Ok(()) };
        permit.settle(&answer);
        // Unless it is kept here, the permit is given back, if it may be held.
        match (answer, self.settings.fallback) {
            (Ok(Acquired { is_held: true, held }), fallback) => {
                self.observe(Event::Allowed);
                let counts_here = fallback == Fallback::Local;
                let counted = counts_here.then(|| permit.count_here());
                self.occupy(Some(permit), counted, held);
                Ok(())
            }
            (Ok(Acquired { is_held: false, .. }), _) => self.refused(Event::Limited),
            (Err(_), Fallback::Local) => match permit.admit_here() {
                (Some(counted), count) => {
                    self.observe(Event::AllowedHere);
                    self.occupy(None, Some(counted), count.into());
                    Ok(())
                }
                (None, _) => self.refused(Event::LimitedHere),
            },
            (Err(error), Fallback::Refuse) if !self.settings.is_shadow => {
                self.observe(Event::Refused);
                Err(Refusal::Unavailable(error))
            }
            (Err(_), Fallback::Allow | Fallback::Refuse) => {
                self.observe(Event::Unchecked);
                Ok(())
            }
        }
    }

    fn abandon(&mut self, asking: Asking<Acquired>) {
        if let Some(permit) = self.asked.take() {
            permit.abandon(asking);
        }
    }
}

impl<B> Respond<B> for ConcurrencyGate {
    type Body = LimitBody<B>;

    fn refuse(&self, refusal: Refusal, head: &mut Parts) -> Response<LimitBody<B>> {
        refusal.response(|| self.limited(head)).map(LimitBody::own)
    }

    fn leave(&mut self, mut response: Response<B>) -> Response<LimitBody<B>> {
        fields::append(response.headers_mut(), &self.settings, self.remaining);
        let tail = self.occupied.take().map_or(Tail::Nothing, Tail::Occupied);
        response.map(|body| LimitBody::new(body, tail))
    }
}
