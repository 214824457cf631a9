//! Responses that a layer makes itself.

use std::fmt;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::store::StoreError;

/// A response with an empty body and the typed reason in its extensions, for a layer further out
/// that wants to word it.
pub(crate) fn refusal<B, R>(status: StatusCode, reason: R) -> Response<B>
where
    B: Default,
    R: Clone + Send + Sync + 'static,
{
    let mut response = Response::new(B::default());
    *response.status_mut() = status;
    response.extensions_mut().insert(reason);
    response
}

/// The developer's mistake in wiring: a 500 that says, like the log, how to mend it.
pub(crate) fn mistake<B, R>(reason: R) -> Response<B>
where
    B: From<String>,
    R: fmt::Display + Clone + Send + Sync + 'static,
{
    tracing::error!("{reason}");
    let mut response = Response::new(B::from(reason.to_string()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response.extensions_mut().insert(reason);
    response
}

/// The store cannot answer, which is nobody's fault who is asking: come back in a second, by when a
/// connection that was only interrupted is there again.
pub(crate) fn unavailable<B: Default>(error: StoreError) -> Response<B> {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, error);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
