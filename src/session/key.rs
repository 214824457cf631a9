use std::sync::Arc;

use http::request::Parts;
use serde_json::Value;

use super::{Session, SessionError};
use crate::key::{Key, KeyError, KeyExtractor, KeyFuture};

/// By a field of the session, such as the user's id: all sessions of one user are one caller.
///
/// The [`SessionLayer`](super::SessionLayer) goes around the limit. The session is loaded once, for
/// the limit and the handler. Who has no session, or none with this field, has no key: give them
/// another by [`or`](KeyExtractor::or).
///
/// A text has the key of this name, and a number that of its digits, so that code can name a user
/// as well. Anything else has a key of its own; `null` is no value.
///
/// ```
/// use axum::Router;
/// use tower_redis_kit::rate_limit::{ClientIp, KeyExtractor, Quota, RateLimitLayer};
/// use tower_redis_kit::session::{SessionField, SessionLayer};
/// use tower_redis_kit::{Store, StoreLayer};
///
/// // Users by their account, everybody else by address.
/// let caller = SessionField::new("user_id").or(ClientIp::hops(1));
/// let app: Router = Router::new()
///     .layer(RateLimitLayer::new("api", Quota::per_minute(60), caller))
///     .layer(SessionLayer::new())
///     .layer(StoreLayer::new(Store::memory()));
/// ```
///
/// # When the store cannot answer
/// [`KeyError::Unavailable`]; with [`Fallback::Anonymous`](super::Fallback) there is no field, as
/// for handlers, and so no key.
#[derive(Clone, Debug)]
pub struct SessionField {
    field: Arc<str>,
}

impl SessionField {
    /// By the field of this name.
    #[must_use]
    pub fn new(field: &str) -> SessionField {
        SessionField { field: field.into() }
    }
}

impl KeyExtractor for SessionField {
    /// Not without waiting.
    fn key(&self, _: &Parts) -> Result<Option<Key>, KeyError> {
        Err(KeyError::Miswired("a session's field has to be waited for: ask `later` before `key`"))
    }

    fn later(&self, head: &Parts) -> Option<KeyFuture> {
        let session = head.extensions.get::<Session>().cloned();
        let field = self.field.clone();
        Some(Box::pin(async move {
            let session = session.ok_or(KeyError::Miswired(
                "no session in the request: add `SessionLayer::new()` outside of this layer (in \
                 axum, as a later `.layer()` call)",
            ))?;
            match session.look(&field).await {
                Ok(value) => Ok(value.as_ref().and_then(key)),
                Err(SessionError::Store(error)) => Err(KeyError::Unavailable(error)),
                // Nothing else goes wrong when a session is loaded.
                Err(_) => Ok(None),
            }
        }))
    }
}

fn key(value: &Value) -> Option<Key> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Key::named(text)),
        Value::Number(number) => Some(Key::named(number.to_string())),
        other => Some(Key::tagged("session", other.to_string().as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_numbers_are_names_and_nothing_else_is() {
        assert_eq!(key(&json!("ada")), Some(Key::named("ada")));
        assert_eq!(key(&json!(7)), Some(Key::named("7")));
        assert_eq!(key(&json!(-7)), Some(Key::named("-7")));
        assert_eq!(key(&json!(null)), None);
        for other in [json!(true), json!(["ada"]), json!({"id": 7})] {
            assert_eq!(key(&other), key(&other));
            assert_ne!(key(&other), Some(Key::named(other.to_string())));
        }
        assert_ne!(key(&json!({"id": 7})), key(&json!({"id": 8})));
    }
}
