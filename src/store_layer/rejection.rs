use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use crate::{StoreError, refusal};

/// A layer or an extractor found no [`Store`](crate::Store) in the request: a mistake in wiring.
///
/// Answered with 500, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingStore;

impl std::fmt::Display for MissingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "no store in the request: add `StoreLayer::new(store)` outside of this layer (in axum, \
             as a later `.layer()` call), or give the layer one by `.with_store(store)`",
        )
    }
}

impl std::error::Error for MissingStore {}

impl IntoResponse for MissingStore {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// 503 with `Retry-After`: so that a handler can use `?` on what it asks the store.
impl IntoResponse for StoreError {
    fn into_response(self) -> Response {
        refusal::unavailable(self)
    }
}
