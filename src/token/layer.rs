use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::{CheckToken, Verifier};
use crate::Store;

/// Lets only requests with a valid bearer token pass that was not revoked. See the
/// [module](super) for an example.
#[must_use]
pub struct RevocationLayer<V> {
    settings: Arc<Settings<V>>,
}

pub(super) struct Settings<V> {
    pub(super) verifier: Arc<V>,
    pub(super) optional: bool,
    pub(super) realm: Option<String>,
    pub(super) fallback: Fallback,
    pub(super) store: Option<Store>,
}

/// What becomes of a valid token while the store cannot say whether it was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// 503 with `Retry-After`. Never 401.
    #[default]
    Refuse,
    /// It passes. A revoked token passes as well, for as long as the store is away.
    Allow,
}

impl<V: Verifier> RevocationLayer<V> {
    /// Every request needs a token that `verifier` accepts and that was not revoked.
    pub fn new(verifier: V) -> RevocationLayer<V> {
        RevocationLayer {
            settings: Arc::new(Settings {
                verifier: Arc::new(verifier),
                optional: false,
                realm: None,
                fallback: Fallback::default(),
                store: None,
            }),
        }
    }

    /// Lets requests without a token pass as well. One that is there must still be valid.
    pub fn optional(mut self) -> RevocationLayer<V> {
        Arc::make_mut(&mut self.settings).optional = true;
        self
    }

    /// Names the realm in `WWW-Authenticate`.
    ///
    /// # Panics
    /// When it has a byte other than printable ASCII, or `"` or `\`.
    pub fn realm(mut self, realm: &str) -> RevocationLayer<V> {
        let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
        assert!(realm.bytes().all(plain), "a realm is printable ASCII without quotes: {realm:?}");
        Arc::make_mut(&mut self.settings).realm = Some(realm.to_owned());
        self
    }

    /// What to do while the store cannot answer. [`Fallback::Refuse`] unless set.
    pub fn fallback(mut self, fallback: Fallback) -> RevocationLayer<V> {
        Arc::make_mut(&mut self.settings).fallback = fallback;
        self
    }

    /// Asks this store instead of the request's.
    pub fn with_store(mut self, store: Store) -> RevocationLayer<V> {
        Arc::make_mut(&mut self.settings).store = Some(store);
        self
    }
}

impl<S, V> Layer<S> for RevocationLayer<V> {
    type Service = CheckToken<S, V>;

    fn layer(&self, inner: S) -> CheckToken<S, V> {
        CheckToken::new(inner, self.settings.clone())
    }
}

/// Derived, these would ask the verifier to be `Clone`.
impl<V> Clone for RevocationLayer<V> {
    fn clone(&self) -> RevocationLayer<V> {
        RevocationLayer { settings: self.settings.clone() }
    }
}

impl<V> Clone for Settings<V> {
    fn clone(&self) -> Settings<V> {
        Settings {
            verifier: self.verifier.clone(),
            optional: self.optional,
            realm: self.realm.clone(),
            fallback: self.fallback,
            store: self.store.clone(),
        }
    }
}

impl<V> fmt::Debug for RevocationLayer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl<V> fmt::Debug for Settings<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLayer")
            .field("optional", &self.optional)
            .field("realm", &self.realm)
            .field("fallback", &self.fallback)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
