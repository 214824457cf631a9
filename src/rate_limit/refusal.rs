//! Why a request is refused, and the response to it.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::answer::Documents;
use super::{Blocked, Key, KeyError, Limited, MissingKey, WithoutKey, answer, fields};
use crate::observe::{self, Limit as Event};
use crate::refusal::{refusal, unavailable};
use crate::store::keys::Subject;
use crate::{MissingStore, StoreError};

pub(super) enum Refusal {
    /// Some limit is used up: whoever decided that knows which.
    Limited,
    Unavailable(StoreError),
    MissingStore(MissingStore),
    Key(KeyError),
    MissingKey(MissingKey),
    Blocked,
}

/// What an extractor says.
pub(super) type Found = Result<Option<Key>, KeyError>;

/// What words a refusal in the place of the problem document.
pub(super) type RefuseWith = dyn Fn(&Limited, &Parts) -> Response<Bytes> + Send + Sync;

impl Refusal {
    /// `limited` answers where a limit is used up.
    pub(super) fn response(self, limited: impl FnOnce() -> Response<Bytes>) -> Response<Bytes> {
        match self {
            Refusal::Limited => limited(),
            Refusal::Unavailable(error) => unavailable(error),
            Refusal::MissingStore(missing) => refusal(StatusCode::INTERNAL_SERVER_ERROR, missing),
            Refusal::Key(error) => error.refusal(),
            Refusal::MissingKey(missing) => refusal(StatusCode::FORBIDDEN, missing),
            Refusal::Blocked => refusal(StatusCode::FORBIDDEN, Blocked),
        }
    }
}

impl Limited {
    /// The answer. `documents` are of the only limit that refuses; `append` puts the limits' fields
    /// into it, beside which it tells to wait for so many seconds.
    pub(super) fn response(
        self,
        head: &mut Parts,
        refuse_with: Option<&RefuseWith>,
        documents: Option<&Documents>,
        append: impl FnOnce(&mut HeaderMap, Option<u64>),
    ) -> Response<Bytes> {
        let mut response = match (refuse_with, documents) {
            (Some(refuse_with), _) => refuse_with(&self, head),
            (None, Some(documents)) => answer::problem(documents.of(&self)),
            (None, None) => answer::problem(answer::document(&self)),
        };
        let wait = fields::retry_after(response.headers_mut(), self.retry_after());
        append(response.headers_mut(), wait);
        if response.extensions().is_empty() {
            // The request's map is there: it is not needed any more.
            head.extensions.clear();
            *response.extensions_mut() = mem::take(&mut head.extensions);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl WithoutKey {
    /// Whom a limit counts, if it concerns the request. A shadow refuses nobody.
    pub(super) fn subject(
        self,
        key: Found,
        limit: &Arc<str>,
        is_shadow: bool,
    ) -> Result<Option<Subject>, Refusal> {
        match key {
            Ok(Some(key)) => Ok(Some(key.0)),
            Ok(None) => self.nobody(limit, is_shadow).map(|()| None),
            Err(error) => {
                tracing::error!("{error}");
                if is_shadow { Ok(None) } else { Err(Refusal::Key(error)) }
            }
        }
    }

    fn nobody(self, limit: &Arc<str>, is_shadow: bool) -> Result<(), Refusal> {
        match self {
            WithoutKey::Pass => Ok(()),
            WithoutKey::Refuse if is_shadow => {
                observe::rate_limit(limit, Event::ShadowLimited);
                Ok(())
            }
            WithoutKey::Refuse => {
                observe::rate_limit(limit, Event::WithoutKey);
                Err(Refusal::MissingKey(MissingKey { limit: limit.clone() }))
            }
        }
    }
}
