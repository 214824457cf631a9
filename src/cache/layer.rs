use std::sync::Arc;

use tower_layer::Layer;

use super::WithCache;
use crate::Store;

/// Stores responses and answers with them. See the [module](super) for an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheLayer {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_body: usize,
    pub(super) store: Option<Store>,
}

impl CacheLayer {
    /// A cache of responses of up to 1 MiB.
    pub fn new() -> CacheLayer {
        CacheLayer { settings: Arc::new(Settings { max_body: 1 << 20, store: None }) }
    }

    /// How long a stored body may be, in bytes. A longer one passes and is not stored. 1 MiB unless
    /// set.
    pub fn max_body(mut self, bytes: usize) -> CacheLayer {
        Arc::make_mut(&mut self.settings).max_body = bytes;
        self
    }

    /// Stores in this store instead of the request's.
    pub fn with_store(mut self, store: Store) -> CacheLayer {
        Arc::make_mut(&mut self.settings).store = Some(store);
        self
    }
}

impl Default for CacheLayer {
    fn default() -> CacheLayer {
        CacheLayer::new()
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = WithCache<S>;

    fn layer(&self, inner: S) -> WithCache<S> {
        WithCache::new(inner, self.settings.clone())
    }
}
