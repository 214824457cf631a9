//! Why a request is refused, and the response to it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::{Blocked, Key, KeyError, Limited, MissingKey, WithoutKey, answer, fields};
use crate::observe::{self, Limit as Event};
use crate::refusal::{refusal, unavailable};
use crate::store::keys::Subject;
use crate::{MissingStore, StoreError};

pub(super) enum Refusal {
    /// With the problem document, where a limit has it ready.
    Limited(Limited, Option<Bytes>),
    Unavailable(StoreError),
    MissingStore(MissingStore),
    Key(KeyError),
    MissingKey(MissingKey),
    Blocked,
}

/// What words a refusal in the place of the problem document.
pub(super) type RefuseWith = dyn Fn(&Limited, &Parts) -> Response<Bytes> + Send + Sync;

impl Refusal {
    /// `append` puts the limits' fields into the answer to who is limited, which tells to wait for so
    /// many seconds.
    pub(super) fn response(
        self,
        head: Parts,
        refuse_with: Option<&RefuseWith>,
        append: impl FnOnce(&mut HeaderMap, Option<u64>),
    ) -> Response<Bytes> {
        match self {
            Refusal::Limited(limited, document) => {
                let mut response = match refuse_with {
                    Some(refuse_with) => refuse_with(&limited, &head),
                    None => answer::problem(document.unwrap_or_else(|| answer::document(&limited))),
                };
                let wait = fields::retry_after(response.headers_mut(), limited.retry_after());
                append(response.headers_mut(), wait);
                if response.extensions().is_empty() {
                    // The request's map is there: it is not needed any more.
                    *response.extensions_mut() = head.extensions;
                    response.extensions_mut().clear();
                }
                response.extensions_mut().insert(limited);
                response
            }
            Refusal::Unavailable(error) => unavailable(error),
            Refusal::MissingStore(missing) => refusal(StatusCode::INTERNAL_SERVER_ERROR, missing),
            Refusal::Key(error) => error.refusal(),
            Refusal::MissingKey(missing) => refusal(StatusCode::FORBIDDEN, missing),
            Refusal::Blocked => refusal(StatusCode::FORBIDDEN, Blocked),
        }
    }
}

impl WithoutKey {
    /// Whom a limit counts, if it concerns the request. A shadow refuses nobody.
    pub(super) fn subject(
        self,
        key: Result<Option<Key>, KeyError>,
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
