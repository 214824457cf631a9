use std::convert::Infallible;
use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};

use super::layer::Settings;
use super::{Claims, Fallback, Token, Unauthorized, Verifier, bearer};
use crate::gate::{Gate, Plan, Planned, Respond};
use crate::observe;
use crate::policy::revocation::Revocations;
use crate::refusal::{refusal, unavailable};
use crate::store_layer::find;
use crate::{MissingStore, StoreError};

/// One request and its token.
pub(super) struct TokenGate<V> {
    settings: Arc<Settings<V>>,
    token: Option<Token>,
}

pub(super) enum Refusal {
    Unauthorized(Unauthorized),
    Unavailable(StoreError),
    MissingStore(MissingStore),
}

impl<V: Verifier> TokenGate<V> {
    pub(super) fn new(settings: Arc<Settings<V>>) -> TokenGate<V> {
        TokenGate { settings, token: None }
    }

    /// Verifies the token and puts what it says into the request.
    pub(super) fn plan(&mut self, head: &mut Parts) -> Planned<Self> {
        let Settings { verifier, optional, store, .. } = &*self.settings;
        let token = match bearer::token(&head.headers) {
            Err(Unauthorized::Missing) if *optional => return Ok(Plan::Pass),
            token => token.map_err(unauthorized)?,
        };
        let invalid = |_| unauthorized(Unauthorized::Invalid);
        let (mut token, claims) = verifier.verify(token).map_err(invalid)?;
        let store = find(store.as_ref(), &head.extensions).map_err(Refusal::MissingStore)?;
        let now = store.now();
        if !token.validity.is_revocable(now) {
            return Err(unauthorized(Unauthorized::TooLongLived));
        }
        token.validity = token.validity.as_of(now);
        let asking = Plan::Ask(store.ask(token.check()));
        head.extensions.insert(token);
        head.extensions.insert(Claims(claims));
        self.token = Some(token);
        Ok(asking)
    }
}

impl<V: Verifier> Gate for TokenGate<V> {
    type Answer = Revocations;
    type Refusal = Refusal;
    type Waited = Infallible;

    fn resume(&mut self, never: Infallible) -> Planned<Self> {
        match never {}
    }

    fn open(&mut self, answer: Result<Revocations, StoreError>) -> Result<(), Refusal> {
        let (outcome, opened) = match (answer, self.settings.fallback) {
            (Ok(known), _) if self.token.is_none_or(|token| token.validity.is_revoked(known)) => {
                (observe::Token::Revoked, Err(Refusal::Unauthorized(Unauthorized::Revoked)))
            }
            (Ok(_), _) => (observe::Token::Allowed, Ok(())),
            (Err(_), Fallback::Allow) => (observe::Token::Unchecked, Ok(())),
            (Err(error), Fallback::Refuse) => {
                (observe::Token::Refused, Err(Refusal::Unavailable(error)))
            }
        };
        observe::token(outcome);
        opened
    }
}

impl<V: Verifier, B: Default> Respond<B> for TokenGate<V> {
    type Body = B;

    fn refuse(&self, reason: Refusal, _: &mut Parts) -> Response<B> {
        match reason {
            Refusal::Unauthorized(reason) => reason.response(self.settings.realm.as_deref()),
            Refusal::Unavailable(error) => unavailable(error),
            Refusal::MissingStore(missing) => refusal(StatusCode::INTERNAL_SERVER_ERROR, missing),
        }
    }

    fn leave(&mut self, response: Response<B>) -> Response<B> {
        response
    }
}

/// Nothing that the store has to be asked about.
fn unauthorized(reason: Unauthorized) -> Refusal {
    observe::token(observe::Token::Invalid);
    Refusal::Unauthorized(reason)
}
