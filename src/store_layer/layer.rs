use tower_layer::Layer;

use super::ProvideStore;
use crate::Store;

/// Gives every request the [`Store`], for the layers inside of it and for handlers.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_redis_kit::{Store, StoreLayer};
///
/// async fn up(store: Store) -> String {
///     store.health().is_up().to_string()
/// }
///
/// let app: Router = Router::new()
///     .route("/up", get(up))
///     // Last, so that it is outermost: layers inside of it find the store.
///     .layer(StoreLayer::new(Store::memory()));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct StoreLayer {
    store: Store,
}

impl StoreLayer {
    /// Provides `store`.
    pub fn new(store: Store) -> StoreLayer {
        StoreLayer { store }
    }
}

impl<S> Layer<S> for StoreLayer {
    type Service = ProvideStore<S>;

    fn layer(&self, inner: S) -> ProvideStore<S> {
        ProvideStore::new(inner, self.store.clone())
    }
}
