use std::pin::Pin;

use http::request::Parts;

use super::{Key, KeyError, Or};

/// A key that has to be waited for.
pub type KeyFuture = Pin<Box<dyn Future<Output = Result<Option<Key>, KeyError>> + Send>>;

/// Tells from a request's head who is asking.
///
/// A closure will do: `|head: &http::request::Parts| head.headers.get("x-tenant").cloned()`.
/// It gives whatever is [`Into<Key>`](Key): an address, a text, a header's value. `None` means that
/// this limit does not concern the request.
///
/// Two or three extractors in a tuple make a key of all of their keys: each address has a quota of
/// its own on each route.
///
/// ```
/// use http::Request;
/// use tower_redis_kit::rate_limit::{ByMethod, Header, Key, KeyExtractor};
///
/// let by_key_and_method = (Header::new("x-api-key"), ByMethod);
/// let head = |request: http::request::Builder| request.body(()).unwrap().into_parts().0;
///
/// let request = head(Request::post("/").header("x-api-key", "k"));
/// let key = Key::all([Key::named("k"), Key::method(&http::Method::POST)]);
/// assert_eq!(by_key_and_method.key(&request), Ok(Some(key)));
/// assert_eq!(by_key_and_method.key(&head(Request::post("/"))), Ok(None));
/// ```
pub trait KeyExtractor: Send + Sync + 'static {
    /// The key of a request. `Ok(None)`: this limit does not concern it.
    ///
    /// # Errors
    /// When the server was wired so that the key cannot be known.
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError>;

    /// The key of a request where it has to be waited for, as for a session's field. Asked before
    /// [`key`](KeyExtractor::key): with `None`, which it is unless said otherwise, that is asked.
    fn later(&self, head: &Parts) -> Option<KeyFuture> {
        let _ = head;
        None
    }

    /// Who the second extractor says, where this one says nobody: users by their account, everybody
    /// else by address.
    ///
    /// ```
    /// use http::Request;
    /// use tower_redis_kit::rate_limit::{Header, Key, KeyExtractor, PeerAddr, PeerIp};
    ///
    /// let caller = Header::new("x-api-key").or(PeerIp);
    /// let from = PeerAddr("192.0.2.1:4711".parse().unwrap());
    /// let head = |request: http::request::Builder| {
    ///     request.extension(from).body(()).unwrap().into_parts().0
    /// };
    /// let with_key = head(Request::get("/").header("x-api-key", "k"));
    /// assert_eq!(caller.key(&with_key), Ok(Some(Key::named("k"))));
    /// assert_eq!(caller.key(&head(Request::get("/"))), Ok(Some(Key::address(from.0.ip()))));
    /// ```
    ///
    /// # Security
    /// A client chooses which of the two it is counted by if it can leave out what the first looks
    /// at, or make it up: verify an API key before a limit lets it stand for its sender. See [`Key`]
    /// on two sources of names.
    fn or<E: KeyExtractor>(self, other: E) -> Or<Self, E>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }
}

impl<F, K> KeyExtractor for F
where
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    K: Into<Key>,
{
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(self(head).map(Into::into))
    }
}
