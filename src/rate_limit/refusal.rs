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
    /// `append` puts the limits' fields into the answer to who is limited.
    pub(super) fn response(
        self,
        head: &Parts,
        refuse_with: Option<&RefuseWith>,
        append: impl FnOnce(&mut HeaderMap),
    ) -> Response<Bytes> {
        match self {
            Refusal::Limited(limited, document) => {
                let mut response = match refuse_with {
                    Some(refuse_with) => refuse_with(&limited, head),
                    None => answer::problem(document.unwrap_or_else(|| answer::document(&limited))),
                };
                fields::retry_after(response.headers_mut(), limited.retry_after());
                append(response.headers_mut());
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
        let key = key.inspect_err(|error| tracing::error!("{error}"));
        match (key, self) {
            (Ok(Some(key)), _) => Ok(Some(key.0)),
            (Ok(None), WithoutKey::Pass) => Ok(None),
            (Ok(None), WithoutKey::Refuse) if is_shadow => {
                observe::rate_limit(limit, Event::ShadowLimited);
                Ok(None)
            }
            (Err(_), _) if is_shadow => Ok(None),
            (Err(error), _) => Err(Refusal::Key(error)),
            (Ok(None), WithoutKey::Refuse) => {
                observe::rate_limit(limit, Event::WithoutKey);
                Err(Refusal::MissingKey(MissingKey { limit: limit.clone() }))
            }
        }
    }
}
