use http::HeaderName;
use http::request::Parts;

use super::{Key, KeyExtractor, MissingPeer};

/// By the value of a header, such as an API key. A request without it passes.
///
/// The value is only used as a fingerprint: it is in no key and no log.
#[derive(Clone, Debug)]
pub struct Header {
    name: HeaderName,
}

impl Header {
    /// By the header of this name.
    ///
    /// # Panics
    /// When `name` is not a header name in lower case.
    #[must_use]
    pub fn new(name: &'static str) -> Header {
        Header { name: HeaderName::from_static(name) }
    }
}

impl KeyExtractor for Header {
    fn key(&self, head: &Parts) -> Result<Option<Key>, MissingPeer> {
        Ok(head.headers.get(&self.name).map(Key::named))
    }
}
