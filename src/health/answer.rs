//! Makes the responses of all pages.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use super::PageBody;

/// The refusal of a method that no page answers.
pub(super) fn refuse(method: &Method) -> Option<Response<PageBody>> {
    if [Method::GET, Method::HEAD].contains(method) {
        return None;
    }
    let mut response = no_store(StatusCode::METHOD_NOT_ALLOWED, PageBody::default());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(response)
}

/// A page, which is only headed when it was asked for by `HEAD`.
pub(super) fn page(
    method: &Method,
    status: StatusCode,
    content: &impl Serialize,
) -> Response<PageBody> {
    let json = serde_json::to_vec(content).expect("a page has texts for keys");
    let length = json.len();
    let body = if *method == Method::HEAD { Bytes::new() } else { json.into() };
    let mut response = no_store(status, PageBody::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, length.into());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // By when a connection that was only interrupted is there again.
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn no_store(status: StatusCode, body: PageBody) -> Response<PageBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
