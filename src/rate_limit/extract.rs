use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::{Allowances, Charge, MissingAllowances, MissingCharge};

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

impl<S: Sync> FromRequestParts<S> for Allowances {
    type Rejection = MissingAllowances;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Allowances, MissingAllowances> {
        head.extensions.get().cloned().ok_or(MissingAllowances)
    }
}

/// Where a layer tells handlers, if one does.
impl<S: Sync> OptionalFromRequestParts<S> for Allowances {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Allowances>, Infallible> {
        Ok(head.extensions.get().cloned())
    }
}
