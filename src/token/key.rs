use http::request::Parts;

use super::Token;
use crate::key::{Key, KeyError, KeyExtractor};
use crate::store::keys::Subject;

/// By the subject of the verified token: all tokens of one user are one caller.
///
/// The [`RevocationLayer`](super::RevocationLayer) goes around the limit. Without a token there is
/// no key, nor with one that has no [subject](Token::subject): give them another by
/// [`or`](KeyExtractor::or). The key is that of the subject's name, so that code can name it as
/// well.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::Request;
/// use tower_redis_kit::rate_limit::{Key, KeyExtractor};
/// use tower_redis_kit::token::{Token, TokenSubject};
///
/// let token = Token::new("its id", SystemTime::now() + Duration::from_secs(60)).subject("ada");
/// // As the layer does with a token that was verified.
/// let head = Request::get("/").extension(token).body(()).unwrap().into_parts().0;
/// assert_eq!(TokenSubject.key(&head), Ok(Some(Key::named("ada"))));
/// ```
///
/// # Security
/// A limit that is not inside of the layer sees no token and so limits nobody: nothing tells it
/// from a request without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenSubject;

impl KeyExtractor for TokenSubject {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        let subject = head.extensions.get::<Token>().and_then(|token| token.subject);
        // The fingerprint of the name alone, as is that of a named key.
        Ok(subject.map(|subject| Key(Subject::Named(subject))))
    }
}
