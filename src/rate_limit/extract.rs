use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::{Charge, MissingCharge};

impl<S: Sync> FromRequestParts<S> for Charge {
    type Rejection = MissingCharge;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Charge, MissingCharge> {
        head.extensions.get().cloned().ok_or(MissingCharge)
    }
}

/// Where a limit settles, if one does.
impl<S: Sync> OptionalFromRequestParts<S> for Charge {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Charge>, Infallible> {
        Ok(head.extensions.get().cloned())
    }
}
