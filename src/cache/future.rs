use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::Recording;
use super::response::{Forwarded, only_if_cached, reuse};
use super::service::Plan;
use super::{CacheBody, CacheTags, key, tags};
use crate::observe;
use crate::personal::Personal;
use crate::policy::Timestamp;
use crate::policy::caching::{
    CacheControl, Lookup, StoredResponse, Vary, is_fresh_enough, storable,
};
use crate::store::Asking;
use crate::store::keys::Fingerprint;
use crate::store::verbs::{LastPurge, LoadResponse, LoadedResponse, PurgeUri};

pin_project! {
    /// The response of a [`WithCache`](super::WithCache) service.
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
        ResBody: Body,
    {
        #[pin]
        state: State<S, S::Future, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, ReqBody, ResBody>
    where
        ResBody: Body,
    {
        /// Asking the store for a response.
        Looking { asking: Asking<LoadedResponse>, looking: Option<Looking<S, ReqBody>> },
        /// The handler's answer may be stored.
        Calling { #[pin] future: F, miss: Option<Miss> },
        /// The handler's answer is not to be stored.
        Passing { #[pin] future: F, plan: Plan },
        /// Waiting for the store, to which nothing more is to be added, before the answer leaves.
        Settling { settling: Settling, response: Option<Response<CacheBody<ResBody>>> },
        Done { response: Option<Response<CacheBody<ResBody>>> },
    }
}

struct Looking<S, ReqBody> {
    plan: Plan,
    service: S,
    head: Parts,
    body: ReqBody,
    began: Timestamp,
    /// The first variant, when a further one is looked for, and what was known of purges then.
    first: Option<(Arc<StoredResponse>, LastPurge)>,
}

/// A request that goes to its handler, and what its answer is to be stored with.
struct Miss {
    plan: Plan,
    method: Method,
    headers: HeaderMap,
    personal: Personal,
    forwarded: Forwarded,
    /// What is stored for the URI, when that is a response with another `Vary`.
    first: Option<Arc<StoredResponse>>,
    /// `None` when the store did not answer: then nothing is stored.
    seen: Option<LastPurge>,
    began: Timestamp,
}

enum Settling {
    Stored(Asking<bool>),
    Purged(Asking<()>),
}

/// Where a look-up leads.
enum Step {
    Hit(Arc<StoredResponse>),
    Look(Fingerprint),
    Forward(Forwarded, Option<LastPurge>),
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    ResBody: Body,
{
    pub(super) fn looking(plan: Plan, service: S, head: Parts, body: ReqBody) -> Self {
        let began = plan.store.now();
        let asking = plan.store.ask(LoadResponse { response: plan.uri });
        let looking = Some(Looking { plan, service, head, body, began, first: None });
        ResponseFuture { state: State::Looking { asking, looking } }
    }

    pub(super) fn passing(plan: Plan, future: S::Future) -> Self {
        ResponseFuture { state: State::Passing { future, plan } }
    }

    pub(super) fn done(response: Response<CacheBody<ResBody>>) -> Self {
        ResponseFuture { state: State::Done { response: Some(response) } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Output = Result<Response<CacheBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Looking { asking, looking } => {
                    let answer = ready!(Pin::new(&mut *asking).poll(cx));
                    let request = looking.as_mut().expect("not gone to the handler yet");
                    let now = request.plan.store.now();
                    match request.next(answer.ok(), now) {
                        Step::Hit(stored) => {
                            let age = stored.age(now);
                            let response = reuse(&request.head.headers, stored, age);
                            State::Done { response: Some(response) }
                        }
                        Step::Look(response) => {
                            *asking = request.plan.store.ask(LoadResponse { response });
                            continue;
                        }
                        Step::Forward(forwarded, seen) => {
                            match looking.take().and_then(|it| it.call(forwarded, seen)) {
                                Some((future, miss)) => State::Calling { future, miss: Some(miss) },
                                None => State::Done { response: Some(only_if_cached()) },
                            }
                        }
                    }
                }
                StateProj::Calling { future, miss } => {
                    let response = ready!(future.poll(cx))?;
                    miss.take().expect("answered once").keep(response)
                }
                StateProj::Passing { future, plan } => {
                    let mut response = ready!(future.poll(cx))?.map(CacheBody::passing);
                    let changes = plan.lookup == Lookup::Invalidate;
                    let forwarded = if changes { Forwarded::Method } else { Forwarded::Bypass };
                    forwarded.note(response.headers_mut(), false);
                    // RFC 9111, 4.4: an answer that is no error.
                    let status = response.status();
                    let response = Some(response);
                    if changes && (status.is_success() || status.is_redirection()) {
                        let purge = plan.store.ask(PurgeUri { uri: plan.uri });
                        State::Settling { settling: Settling::Purged(purge), response }
                    } else {
                        State::Done { response }
                    }
                }
                StateProj::Settling { settling, response } => {
                    ready!(settling.poll(cx));
                    State::Done { response: response.take() }
                }
                StateProj::Done { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after it was ready")));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, ReqBody> Looking<S, ReqBody> {
    fn next(&mut self, answer: Option<LoadedResponse>, now: Timestamp) -> Step {
        let Some(LoadedResponse { response, last_purge }) = answer else {
            return Step::Forward(Forwarded::Bypass, None);
        };
        // Of two look-ups the first is the one that came before everything.
        let seen = self.first.as_ref().map_or(last_purge, |(_, seen)| *seen);
        let request = &self.head.headers;
        let Some(stored) = response else {
            let forwarded =
                if self.first.is_some() { Forwarded::VaryMiss } else { Forwarded::UriMiss };
            return Step::Forward(forwarded, Some(seen));
        };
        if !stored.vary.matches(request) {
            if self.first.is_some() {
                return Step::Forward(Forwarded::VaryMiss, Some(seen));
            }
            let variant = key::variant(&self.plan.uri, &stored, &stored.vary.in_request(request));
            self.first = Some((stored, seen));
            return Step::Look(variant);
        }
        let age = stored.age(now);
        if age >= stored.freshness.lifetime {
            Step::Forward(Forwarded::Stale, Some(seen))
        } else if self.plan.lookup == Lookup::Stored
            && is_fresh_enough(request, age, stored.freshness.lifetime)
        {
            Step::Hit(stored)
        } else {
            Step::Forward(Forwarded::Request, Some(seen))
        }
    }

    /// Calls the handler; `None` when the client wants that not to be done.
    fn call(mut self, forwarded: Forwarded, seen: Option<LastPurge>) -> Option<(S::Future, Miss)>
    where
        S: Service<Request<ReqBody>>,
    {
        if CacheControl::of(&self.head.headers).only_if_cached {
            return None;
        }
        let miss = Miss {
            method: self.head.method.clone(),
            headers: self.head.headers.clone(),
            personal: self.plan.enter(&mut self.head),
            plan: self.plan,
            forwarded,
            first: self.first.map(|(first, _)| first),
            seen,
            began: self.began,
        };
        Some((self.service.call(Request::from_parts(self.head, self.body)), miss))
    }
}

impl Miss {
    /// The handler's answer, kept as it passes if it may be stored.
    fn keep<S, F, ReqBody, ResBody: Body>(
        self,
        response: Response<ResBody>,
    ) -> State<S, F, ReqBody, ResBody> {
        let forwarded = self.forwarded;
        let (mut head, body) = response.into_parts();
        let recording = self.recording(&head, &body);
        forwarded.note(&mut head.headers, recording.is_some());
        match recording {
            // Nobody reads a body that has ended before it began.
            Some(recording) if body.is_end_stream() => State::Settling {
                settling: Settling::Stored(recording.store()),
                response: Some(Response::from_parts(head, CacheBody::passing(body))),
            },
            Some(recording) => {
                let body = CacheBody::recording(body, recording);
                State::Done { response: Some(Response::from_parts(head, body)) }
            }
            None => {
                let body = CacheBody::passing(body);
                State::Done { response: Some(Response::from_parts(head, body)) }
            }
        }
    }

    fn recording<B: Body>(self, response: &http::response::Parts, body: &B) -> Option<Recording> {
        let Plan { store, uri, settings, .. } = self.plan;
        let (personal, now) = (self.personal, store.now());
        let seen = self.seen?;
        let freshness = storable(&self.method, &self.headers, response, personal.is_marked(), now)?;
        let vary = Vary::of(&response.headers, &self.headers)?;
        let tags = response.extensions.get::<CacheTags>();
        let tags = tags.map_or(&[][..], CacheTags::fingerprints).to_vec();
        let length = response.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let length = length.or_else(|| body.size_hint().exact());
        if tags.len() > tags::MOST || length.is_some_and(|it| it > settings.max_body as u64) {
            return None;
        }
        // A further variant joins the first one; a response chosen by other fields takes its place.
        let key = match self.first {
            Some(first) if first.vary.names() == vary.names() => key::variant(&uri, &first, &vary),
            _ => uri,
        };
        let head = StoredResponse::new(response, vary, freshness, now, fastrand::u64(..));
        let personal = (!CacheControl::of(&response.headers).public).then_some(personal);
        Some(Recording {
            store,
            key,
            uri,
            tags,
            seen,
            began: self.began,
            head,
            personal,
            max_body: settings.max_body,
            length,
            bytes: BytesMut::with_capacity(length.unwrap_or(0) as usize),
        })
    }
}

impl Settling {
    /// The answer leaves in any case; what the store could not do is in the log.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (what, result) = match self {
            Settling::Stored(asking) => {
                let stored = ready!(Pin::new(asking).poll(cx));
                if stored == Ok(true) {
                    observe::cache(observe::Cache::Stored);
                }
                ("a response was not stored", stored.map(drop))
            }
            Settling::Purged(asking) => {
                ("a changed response was not dropped", ready!(Pin::new(asking).poll(cx)))
            }
        };
        if let Err(error) = result {
            tracing::warn!(error = %error, "{what}");
        }
        Poll::Ready(())
    }
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    ResBody: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
