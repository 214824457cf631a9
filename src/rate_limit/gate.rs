use std::cmp::Ordering;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use http::request::Parts;
use http::{Extensions, Method, Response};
use smallvec::SmallVec;

use super::body::Tail;
use super::layer::Settings;
use super::limit::LimitSettings;
use super::refusal::Refusal;
use super::settle::{Offered, Settlement};
use super::{
    Allowances, Charge, Fallback, Key, KeyError, KeyFuture, LimitBody, Limited, Limits, Violation,
    fields,
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
    /// What waits for a key.
    waiting: Option<Box<Waiting>>,
    asked: SmallVec<[Asked; 1]>,
    /// Who is asked, unless the answer was there at once.
    store: Option<Store>,
    /// If a limit settles.
    offered: Option<Offered>,
}

/// One limit that a request meets, and what came of it.
pub(super) struct Asked {
    pub(super) limit: Arc<LimitSettings>,
    pub(super) subject: Subject,
    cost: u32,
    /// What was decided, and when the store charged it; not, if it is this process alone that
    /// counted.
    verdict: Option<Verdict>,
}

/// What is known of a request whose keys are not.
struct Waiting {
    store: Store,
    limits: Limits,
    costs: SmallVec<[u32; 1]>,
}

type Keys = Vec<Result<Option<Key>, KeyError>>;

impl LimitGate {
    pub(super) fn new(settings: Arc<Settings>) -> LimitGate {
        LimitGate { settings, waiting: None, asked: SmallVec::new(), store: None, offered: None }
    }

    pub(super) fn plan(&mut self, settings: &Settings, head: &mut Parts) -> Planned<Self> {
        if settings.allowed.as_ref().is_some_and(|allowed| allowed.matches(head)) {
            return Ok(LimitGate::pass(settings, head));
        }
        if settings.blocked.as_ref().is_some_and(|blocked| blocked.matches(head)) {
            observe::blocked();
            return Err(Refusal::Blocked);
        }
        let Some(limits) = settings.limits.choose(head) else {
            return Ok(LimitGate::pass(settings, head));
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
            let (store, limits) = (store.clone(), limits.into_owned());
            let keys = keys(head, &limits, first);
            let costs = limits.iter().map(|limit| limit.settings().cost(head)).collect();
            self.waiting = Some(Box::new(Waiting { store, limits, costs }));
            return Ok(Plan::Wait(keys));
        }
        for limit in limits.iter() {
            let key = limit.settings().key.key(head);
            self.meet(limit.settings(), key, limit.settings().cost(head))?;
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

    /// One more limit, unless it does not concern the request.
    fn meet(
        &mut self,
        limit: &Arc<LimitSettings>,
        key: Result<Option<Key>, KeyError>,
        cost: u32,
    ) -> Result<(), Refusal> {
        let subject = limit.without_key.subject(key, &limit.name, limit.rule.is_shadow)?;
        let Some(subject) = subject else { return Ok(()) };
        self.asked.push(Asked { limit: limit.clone(), subject, cost, verdict: None });
        Ok(())
    }

    fn ask(&mut self, store: &Store) -> Planned<Self> {
        let asking = match &mut *self.asked {
            [] => return Ok(Plan::Pass),
            [asked] => {
                let Asked { limit, subject, cost, verdict } = asked;
                let note = |it| *verdict = Some(it);
                if let Some(judged) = store.judge(Act::Take, &limit.rule, subject, *cost, note) {
                    return self.judged(store, judged);
                }
                store.ask(Take::one(Act::Take, asked.to_store()))
            }
            all => store.ask(Take::new(Act::Take, all.iter().map(|asked| asked.to_store()))),
        };
        let is_known = matches!(asking, Asking::Answered(Some(Ok(_))));
        self.store = (!is_known).then(|| store.clone());
        Ok(Plan::Ask(asking))
    }

    /// Of the only limit there was a verdict at once.
    #[inline]
    fn judged(&mut self, store: &Store, judged: Result<(), StoreError>) -> Planned<Self> {
        match judged {
            Ok(()) => self.asked.iter().for_each(Asked::observe),
            Err(error) => {
                self.store = Some(store.clone());
                self.go_on_without(error)?;
            }
        }
        self.refusal().map_or(Ok(Plan::Pass), Err)
    }

    /// What the layer does while the store cannot answer.
    #[cold]
    fn go_on_without(&mut self, error: StoreError) -> Result<(), Refusal> {
        match self.settings.fallback {
            Fallback::Local => {
                let Some(store) = self.store.take() else { return Ok(()) };
                for asked in &mut self.asked {
                    let here = store.local(&asked.limit.name, asked.limit.quota);
                    let decision = here.take(asked.subject, asked.cost);
                    observe::rate_limit(&asked.limit.name, event(&asked.limit, &decision, false));
                    asked.verdict = Some(Verdict { decision, done: None });
                    if !decision.allowed && !asked.limit.rule.is_shadow {
                        break;
                    }
                }
            }
            Fallback::Refuse if self.asked.iter().any(|asked| !asked.limit.rule.is_shadow) => {
                for asked in &self.asked {
                    observe::rate_limit(&asked.limit.name, Event::Refused);
                }
                return Err(Refusal::Unavailable(error));
            }
            Fallback::Allow | Fallback::Refuse => {
                for asked in &self.asked {
                    observe::rate_limit(&asked.limit.name, Event::Unchecked);
                }
            }
        }
        Ok(())
    }

    /// If a limit refuses.
    fn refusal(&self) -> Option<Refusal> {
        let mut violations = self.violations();
        let (first, _) = violations.next()?;
        let is_alone = violations.next().is_none();
        let limited = self.limited();
        let document = is_alone.then(|| first.limit.documents.of(&limited));
        Some(Refusal::Limited(limited, document))
    }

    fn violations(&self) -> impl Iterator<Item = (&Asked, &Decision)> {
        self.asked
            .iter()
            .filter_map(|asked| Some((asked, asked.decision()?)))
            .filter(|(asked, decision)| !decision.allowed && !asked.limit.rule.is_shadow)
    }

    fn limited(&self) -> Limited {
        let violation = |(asked, decision): (&Asked, &Decision)| {
            Violation::new(asked.limit.name.clone(), decision)
        };
        Limited { violations: self.violations().map(violation).collect() }
    }

    /// What is to be settled when the response has ended.
    fn settlement<B>(&mut self, response: &Response<B>) -> Option<Box<Settlement>> {
        let offered = self.offered.take()?;
        let reserved = self.asked.iter().filter_map(|asked| {
            // What this process counted by itself, nobody can give back.
            let charged = Some(asked.verdict?.done?);
            asked.limit.settle.as_ref()?;
            Some((asked.limit.clone(), verbs::Charge { charged, ..asked.to_store().owned() }))
        });
        let reserved: Vec<_> = reserved.collect();
        (!reserved.is_empty()).then(|| Box::new(Settlement::new(offered, response, reserved)))
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
    fn observe(&self) {
        if let Some(decision) = self.decision() {
            observe::rate_limit(&self.limit.name, event(&self.limit, decision, true));
        }
    }

    /// What is known of it.
    pub(super) fn decision(&self) -> Option<&Decision> {
        self.verdict.as_ref().map(|verdict| &verdict.decision)
    }

    fn to_store(&self) -> verbs::Charge<Lent<'_>> {
        verbs::Charge::new(&self.limit.rule, self.subject, self.cost)
    }
}

impl Gate for LimitGate {
    type Answer = <Take as Verb>::Answer;
    type Refusal = Refusal;
    type Waited = Keys;

    fn resume(&mut self, keys: Keys) -> Planned<Self> {
        let Some(waiting) = self.waiting.take() else { return Ok(Plan::Pass) };
        let Waiting { store, limits, costs } = *waiting;
        for ((limit, key), cost) in limits.iter().zip(keys).zip(costs) {
            self.meet(limit.settings(), key, cost)?;
        }
        self.ask(&store)
    }

    fn open(&mut self, answer: Result<Self::Answer, StoreError>) -> Result<(), Refusal> {
        match answer {
            Ok(taken) => {
                for (asked, taken) in self.asked.iter_mut().zip(taken) {
                    if taken.standing != Standing::Unknown {
                        let verdict = asked.limit.rule.counting.verdict(&taken, asked.cost);
                        asked.verdict = Some(verdict);
                        asked.observe();
                    }
                }
            }
            Err(error) => self.go_on_without(error)?,
        }
        self.refusal().map_or(Ok(()), Err)
    }

    fn tell(&self, extensions: &mut Extensions) {
        if self.settings.tells_handlers {
            let allowances = extensions.get_or_insert_default::<Allowances>();
            for (Asked { limit, .. }, decision) in fields::shown(&self.asked) {
                allowances.tell(&limit.name, limit.rule.counting.capacity(), *decision);
            }
        }
    }

    /// A batch that is charged for is kept for others.
    fn abandon(&mut self, asking: Asking<Self::Answer>) {
        let leases = self.asked.iter().any(|asked| asked.limit.rule.batch > 1);
        if let Some(store) = self.store.take().filter(|_| leases) {
            store.finish(asking, drop);
        }
    }
}

impl<B> Respond<B> for LimitGate {
    type Body = LimitBody<B>;

    fn refuse(&self, reason: Refusal, head: &Parts) -> Response<LimitBody<B>> {
        let append = |headers: &mut _| fields::append(headers, &self.settings, &self.asked);
        reason.response(head, self.settings.refuse_with.as_deref(), append).map(LimitBody::own)
    }

    fn leave(&mut self, mut response: Response<B>) -> Response<LimitBody<B>> {
        fields::append(response.headers_mut(), &self.settings, &self.asked);
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
