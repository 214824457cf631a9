use http::request::Parts;

use super::{Key, MissingPeer};

/// Tells from a request's head who is asking.
///
/// A closure will do: `|head: &http::request::Parts| head.headers.get("x-tenant").cloned()`.
/// It gives whatever is [`Into<Key>`](Key): an address, a text, a header's value. `None` means that
/// this limit does not concern the request: it passes.
pub trait KeyExtractor: Send + Sync + 'static {
    /// The key of a request.
    ///
    /// # Errors
    /// When the server was wired so that the key cannot be known.
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer>;
}

impl<F, K> KeyExtractor for F
where
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    K: Into<Key>,
{
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer> {
        Ok(self(head).map(Into::into))
    }
}
