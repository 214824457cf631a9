use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponseParts, ResponseParts};
use http::request::Parts;

use super::{Cache, CacheTags};
use crate::MissingStore;
use crate::store_layer::find;

/// The cache of the [`CacheLayer`](super::CacheLayer) around this route, or the one in the
/// request's store.
impl<S: Sync> FromRequestParts<S> for Cache {
    type Rejection = MissingStore;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Cache, MissingStore> {
        match head.extensions.get::<Cache>() {
            Some(cache) => Ok(cache.clone()),
            None => find(None, &head.extensions).cloned().map(Cache::new),
        }
    }
}

/// Adds to the tags that the response has.
impl IntoResponseParts for CacheTags {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let tags = match response.extensions_mut().remove::<CacheTags>() {
            Some(before) => before.and(self),
            None => self,
        };
        response.extensions_mut().insert(tags);
        Ok(response)
    }
}
