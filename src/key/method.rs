use http::request::Parts;

use super::{Key, KeyError, KeyExtractor};

/// By the request's method; see [`Key::method`] for which are one. In a tuple: writing has another
/// quota than reading.
///
/// ```
/// use http::{Method, Request};
/// use tower_redis_kit::rate_limit::{ByMethod, Key, KeyExtractor};
///
/// let head = Request::post("/").body(()).unwrap().into_parts().0;
/// assert_eq!(ByMethod.key(&head), Ok(Some(Key::method(&Method::POST))));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ByMethod;

impl KeyExtractor for ByMethod {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(Some(Key::method(&head.method)))
    }
}
