use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::{MissingStore, find};
use crate::Store;

/// The request's store; without a [`StoreLayer`](crate::StoreLayer), 500 that names the fix.
impl<S: Sync> FromRequestParts<S> for Store {
    type Rejection = MissingStore;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Store, MissingStore> {
        find(None, &head.extensions).cloned()
    }
}

/// The request's store, if it has one.
impl<S: Sync> OptionalFromRequestParts<S> for Store {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Store>, Infallible> {
        Ok(head.extensions.get().cloned())
    }
}
