use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use tower_layer::Layer;

use super::fallback::Local;
use super::{Fallback, KeyExtractor, RateLimit, fields};
use crate::Store;
use crate::policy::Quota;
use crate::policy::gcra::Gcra;

/// Limits how many requests each caller may make. See the [module](super) for an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) policy_field: HeaderValue,
    quota: Quota,
    pub(super) gcra: Gcra,
    pub(super) key: Arc<dyn KeyExtractor>,
    pub(super) fallback: Fallback,
    pub(super) local: Arc<Local>,
    pub(super) store: Option<Store>,
}

impl RateLimitLayer {
    /// A limit of this name and quota for each key.
    ///
    /// Layers of the same name share their counts, also among processes on one Redis. The key is
    /// [`PeerIp`](super::PeerIp), a [`Header`](super::Header), or a closure from the request's head.
    ///
    /// # Panics
    /// When `name` is empty, longer than 64 bytes, or has a byte other than letters, digits, `-`,
    /// `_` and `.`: it is part of keys and response fields.
    pub fn new(name: &str, quota: Quota, key: impl KeyExtractor) -> RateLimitLayer {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!(
            (1..=64).contains(&name.len()) && name.bytes().all(plain),
            "a limit's name is 1 to 64 letters, digits or any of - _ . (got {name:?})"
        );
        RateLimitLayer {
            settings: Arc::new(Settings {
                name: name.into(),
                policy_field: fields::policy(name, quota),
                quota,
                gcra: Gcra::new(quota),
                key: Arc::new(key),
                fallback: Fallback::default(),
                local: Arc::new(Local::new(quota)),
                store: None,
            }),
        }
    }

    /// What to do while the store cannot answer. [`Fallback::Local`] unless set.
    pub fn fallback(mut self, fallback: Fallback) -> RateLimitLayer {
        Arc::make_mut(&mut self.settings).fallback = fallback;
        self
    }

    /// Counts in this store instead of the request's.
    pub fn with_store(mut self, store: Store) -> RateLimitLayer {
        Arc::make_mut(&mut self.settings).store = Some(store);
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, self.settings.clone())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("quota", &self.quota)
            .field("fallback", &self.fallback)
            .field("local", &self.local)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
