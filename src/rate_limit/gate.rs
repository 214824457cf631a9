use std::borrow::Cow;
use std::cmp::Ordering;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::request::Parts;
use http::{Extensions, Method, Response};
use smallvec::SmallVec;

use super::body::Tail;
use super::choice::Choice;
use super::fields::Told;
use super::layer::Settings;
use super::limit::LimitSettings;
use super::refusal::{Found, Refusal};
use super::settle::{Offered, Settlement};
use super::{
    Allowances, Charge, Fallback, KeyFuture, Limit, LimitBody, Limited, Limits, Violation, fields,
};
use crate::gate::{Gate, Plan, Planned, Respond};
use crate::observe::{self, Limit as Event};
use crate::policy::limiting::{Act, Decision, Standing, Verdict};
use crate::store::Asking;
use crate::store::keys::Subject;
use crate::store::verbs::{self, Lent, Take, Verb};
use crate::store_layer::find;
use crate::{Store, StoreError};

/// One request at some limits.
pub(super) struct LimitGate {
    settings: Arc<Settings>,
    /// The request's limits, unless it meets those of all.
    chosen: Option<Limits>,
    /// What waits for a key.
    waiting: Option<Box<Waiting>>,
    asked: SmallVec<[Asked; 1]>,
    /// Who is asked, unless the answer was there at once.
    store: Option<Store>,
    /// If a limit settles.
    offered: Option<Offered>,
}

/// One limit that a request meets, and what came of it.
struct Asked {
    /// Which of the request's limits it is.
    at: usize,
    subject: Subject,
    cost: u32,
    /// What was decided, and when the store charged it; not, if it is this process alone that
    /// counted.
    verdict: Option<Verdict>,
}

/// What is known of a request whose keys are not.
struct Waiting {
    store: Store,
    costs: SmallVec<[u32; 1]>,
}

type Keys = Vec<Found>;

impl LimitGate {
    pub(super) fn new(settings: Arc<Settings>) -> LimitGate {
        let (chosen, waiting, asked) = (None, None, SmallVec::new());
        LimitGate { settings, chosen, waiting, asked, store: None, offered: None }
    }

    pub(super) fn plan(&mut self, settings: &Settings, head: &mut Parts) -> Planned<Self> {
        if settings.allowed.as_ref().is_some_and(|allowed| allowed.matches(head)) {
            return Ok(LimitGate::pass(settings, head));
        }
        if settings.blocked.as_ref().is_some_and(|blocked| blocked.matches(head)) {
            observe::blocked();
            return Err(Refusal::Blocked);
        }
        let limits = match settings.limits.choose(head) {
            None => return Ok(LimitGate::pass(settings, head)),
            Some(Cow::Borrowed(limits)) => limits,
            Some(Cow::Owned(limits)) => self.chosen.insert(limits),
        };
        // Whether or not a limit is met: its handler is the same.
        let charge = limits.settle().then(|| offer_charge(head));
        let store = find(settings.store.as_ref(), &head.extensions);
        let store = store.map_err(Refusal::MissingStore)?;
        let is_head = head.method == Method::HEAD;
        self.offered = charge.map(|charge| Offered { charge, store: store.clone(), is_head });
        let first = limits
            .iter()
            .enumerate()
            .find_map(|(at, limit)| Some((at, limit.settings().key.later(head)?)));
        if let Some(first) = first {
            let keys = keys(head, limits, first);
            let costs = limits.iter().map(|limit| limit.settings().cost(head)).collect();
            self.waiting = Some(Box::new(Waiting { store: store.clone(), costs }));
            return Ok(Plan::Wait(keys));
        }
        for (at, limit) in limits.iter().enumerate() {
            let limit = limit.settings();
            if let Some(subject) = limit.subject(limit.key.key(head))? {
                let cost = limit.cost(head);
                self.asked.push(Asked { at, subject, cost, verdict: None });
            }
        }
        self.ask(store)
    }

    /// No limit is met.
    fn pass(settings: &Settings, head: &mut Parts) -> Plan<<Take as Verb>::Answer, Keys> {
        if settings.limits.may_settle() {
            offer_charge(head);
        }
        Plan::Pass
    }

    fn ask(&mut self, store: &Store) -> Planned<Self> {
        let limits = limits(&self.settings, &self.chosen);
        let asking = match &mut *self.asked {
            [] => return Ok(Plan::Pass),
            [asked] => {
                let rule = &limits[asked.at].settings().rule;
                let Asked { subject, cost, verdict, .. } = asked;
                let note = |it| *verdict = Some(it);
                if let Some(judged) = store.judge(Act::Take, rule, subject, *cost, note) {
                    return self.judged(store, judged);
                }
                store.ask(Take::one(Act::Take, asked.to_store(rule)))
            }
            all => {
                let charges =
                    all.iter().map(|asked| asked.to_store(&limits[asked.at].settings().rule));
                store.ask(Take::new(Act::Take, charges))
            }
        };
        let is_known = matches!(asking, Asking::Answered(Some(Ok(_))));
        self.store = (!is_known).then(|| store.clone());
        Ok(Plan::Ask(asking))
    }

    /// Of the only limit there was a verdict at once.
    #[inline]
    fn judged(&mut self, store: &Store, judged: Result<(), StoreError>) -> Planned<Self> {
        match judged {
            Ok(()) => self.met().for_each(|(limit, asked)| asked.observe(limit)),
            Err(error) => {
                self.store = Some(store.clone());
                self.go_on_without(error)?;
            }
        }
        self.verdict().map(|()| Plan::Pass)
    }

    /// What the layer does while the store cannot answer.
    #[cold]
    fn go_on_without(&mut self, error: StoreError) -> Result<(), Refusal> {
        match self.settings.fallback {
            Fallback::Local => {
                let Some(store) = self.store.take() else { return Ok(()) };
                let limits = limits(&self.settings, &self.chosen);
                for asked in &mut self.asked {
                    let limit = limits[asked.at].settings();
                    let here = store.local(&limit.name, limit.quota);
                    let decision = here.take(asked.subject, asked.cost);
                    observe::rate_limit(&limit.name, event(limit, &decision, false));
                    asked.verdict = Some(Verdict { decision, done: None });
                    if !decision.allowed && !limit.rule.is_shadow {
                        break;
                    }
                }
            }
            Fallback::Refuse if self.met().any(|(limit, _)| !limit.rule.is_shadow) => {
                self.met().for_each(|(it, _)| observe::rate_limit(&it.name, Event::Refused));
                return Err(Refusal::Unavailable(error));
            }
            Fallback::Allow | Fallback::Refuse => {
                self.met().for_each(|(it, _)| observe::rate_limit(&it.name, Event::Unchecked));
            }
        }
        Ok(())
    }

    /// Whether no limit refuses.
    fn verdict(&self) -> Result<(), Refusal> {
        match self.refusals().next() {
            None => Ok(()),
            Some(_) => Err(Refusal::Limited),
        }
    }

    fn refusals(&self) -> impl Iterator<Item = Told<'_>> {
        self.told().filter(|it| !it.decision.allowed)
    }

    fn limited(&self, head: &mut Parts) -> Response<Bytes> {
        let mut limited = Limited { violations: SmallVec::new() };
        let mut documents = None;
        for Told { limit, decision, .. } in self.refusals() {
            limited.violations.push(Violation::new(limit.name.clone(), decision));
            documents = Some(&limit.documents);
        }
        let documents = documents.filter(|_| limited.violations.len() == 1);
        limited.response(head, self.settings.refuse_with.as_deref(), documents, |headers, wait| {
            fields::append(headers, |_| wait, &self.settings, self.told());
        })
    }

    fn met(&self) -> impl Iterator<Item = (&Arc<LimitSettings>, &Asked)> + Clone {
        let limits = limits(&self.settings, &self.chosen);
        self.asked.iter().map(|asked| (limits[asked.at].settings(), asked))
    }

    /// The limits that clients know of, and that something is known of.
    fn told(&self) -> impl Iterator<Item = Told<'_>> + Clone {
        self.met().filter(|(limit, _)| !limit.rule.is_shadow).filter_map(|(limit, asked)| {
            Some(Told { limit, subject: &asked.subject, decision: asked.decision()? })
        })
    }

    /// What is to be settled when the response has ended.
    fn settlement<B>(&mut self, response: &Response<B>) -> Option<Box<Settlement>> {
        let offered = self.offered.take()?;
        let reserved = self.met().filter_map(|(limit, asked)| {
            // What this process counted by itself, nobody can give back.
            let charged = Some(asked.verdict?.done?);
            limit.settle.as_ref()?;
            let charge = asked.to_store(&limit.rule).owned();
            Some((limit.clone(), verbs::Charge { charged, ..charge }))
        });
        let reserved: Vec<_> = reserved.collect();
        (!reserved.is_empty()).then(|| Box::new(Settlement::new(offered, response, reserved)))
    }
}

/// Those that were chosen for a request, or else those of all.
fn limits<'a>(settings: &'a Settings, chosen: &'a Option<Limits>) -> &'a [Limit] {
    match (chosen, &settings.limits) {
        (Some(limits), _) | (None, Choice::All(limits)) => limits.as_slice(),
        (None, Choice::By(_)) => &[],
    }
}

/// Where the handler says what its request costs, if a limit settles.
fn offer_charge(head: &mut Parts) -> Charge {
    head.extensions.get_or_insert_default::<Charge>().clone()
}

/// What keys there are, when all are known. The first that has to be waited for was asked already.
fn keys(
    head: &Parts,
    limits: &Limits,
    (at, first): (usize, KeyFuture),
) -> Pin<Box<dyn Future<Output = Keys> + Send>> {
    let mut first = Some(first);
    let keys = limits.iter().enumerate().map(|(index, limit)| {
        let key = &limit.settings().key;
        let later = match index.cmp(&at) {
            Ordering::Less => None,
            Ordering::Equal => first.take(),
            Ordering::Greater => key.later(head),
        };
        later.unwrap_or_else(|| Box::pin(ready(key.key(head))))
    });
    Box::pin(join_all(keys.collect::<Vec<_>>()))
}

impl Asked {
    /// Counts what the store has decided.
    fn observe(&self, limit: &LimitSettings) {
        if let Some(decision) = self.decision() {
            observe::rate_limit(&limit.name, event(limit, decision, true));
        }
    }

    /// What is known of it.
    fn decision(&self) -> Option<&Decision> {
        self.verdict.as_ref().map(|verdict| &verdict.decision)
    }

    fn to_store<'a>(&self, rule: Lent<'a>) -> verbs::Charge<Lent<'a>> {
        verbs::Charge::new(rule, self.subject, self.cost)
    }
}

impl Gate for LimitGate {
    type Answer = <Take as Verb>::Answer;
    type Refusal = Refusal;
    type Waited = Keys;

    fn resume(&mut self, keys: Keys) -> Planned<Self> {
        let Some(waiting) = self.waiting.take() else { return Ok(Plan::Pass) };
        let Waiting { store, costs } = *waiting;
        let limits = limits(&self.settings, &self.chosen);
        for (at, (key, cost)) in keys.into_iter().zip(costs).enumerate() {
            if let Some(subject) = limits[at].settings().subject(key)? {
                self.asked.push(Asked { at, subject, cost, verdict: None });
            }
        }
        self.ask(&store)
    }

    fn open(&mut self, answer: Result<Self::Answer, StoreError>) -> Result<(), Refusal> {
        match answer {
            Ok(taken) => {
                let limits = limits(&self.settings, &self.chosen);
                for (asked, taken) in self.asked.iter_mut().zip(taken) {
                    if taken.standing != Standing::Unknown {
                        let limit = limits[asked.at].settings();
                        asked.verdict = Some(limit.rule.counting.verdict(&taken, asked.cost));
                        asked.observe(limit);
                    }
                }
            }
            Err(error) => self.go_on_without(error)?,
        }
        self.verdict()
    }

    fn tell(&self, extensions: &mut Extensions) {
        if self.settings.tells_handlers {
            let allowances = extensions.get_or_insert_default::<Allowances>();
            for Told { limit, decision, .. } in self.told() {
                allowances.tell(&limit.name, limit.rule.counting.capacity(), *decision);
            }
        }
    }

    /// A batch that is charged for is kept for others.
    fn abandon(&mut self, asking: Asking<Self::Answer>) {
        let leases = self.met().any(|(limit, _)| limit.rule.batch > 1);
        if let Some(store) = self.store.take().filter(|_| leases) {
            store.finish(asking, drop);
        }
    }
}

impl<B> Respond<B> for LimitGate {
    type Body = LimitBody<B>;

    fn refuse(&self, reason: Refusal, head: &mut Parts) -> Response<LimitBody<B>> {
        reason.response(|| self.limited(head)).map(LimitBody::own)
    }

    fn leave(&mut self, mut response: Response<B>) -> Response<LimitBody<B>> {
        fields::append(response.headers_mut(), fields::told_wait, &self.settings, self.told());
        let tail = self.settlement(&response).map_or(Tail::Nothing, Tail::Settlement);
        response.map(|body| LimitBody::new(body, tail))
    }
}

fn event(limit: &LimitSettings, decision: &Decision, is_shared: bool) -> Event {
    match decision.allowed {
        false if limit.rule.is_shadow => Event::ShadowLimited,
        allowed if is_shared => Event::of(allowed),
        allowed => Event::here(allowed),
    }
}
