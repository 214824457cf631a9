use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::{Claims, MissingClaims, Token};

impl<S, T> FromRequestParts<S> for Claims<T>
where
    S: Sync,
    T: Clone + Send + Sync + 'static,
{
    type Rejection = MissingClaims;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Claims<T>, MissingClaims> {
        head.extensions.get().cloned().ok_or(MissingClaims)
    }
}

impl<S, T> OptionalFromRequestParts<S> for Claims<T>
where
    S: Sync,
    T: Clone + Send + Sync + 'static,
{
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Claims<T>>, Infallible> {
        Ok(head.extensions.get().cloned())
    }
}

impl<S: Sync> FromRequestParts<S> for Token {
    type Rejection = MissingClaims;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Token, MissingClaims> {
        head.extensions.get().copied().ok_or(MissingClaims)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Token {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Token>, Infallible> {
        Ok(head.extensions.get().copied())
    }
}
