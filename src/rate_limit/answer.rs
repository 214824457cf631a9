//! What a refused client reads.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::Limited;

/// A problem of RFC 9457, of a type that draft-ietf-httpapi-ratelimit-headers defines.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    violated_policies: Vec<&'a str>,
}

/// 429, and which limits are used up, whatever the client accepts.
pub(super) fn problem(limited: &Limited) -> Response<Bytes> {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let (kind, title) = match limited.is_blocked() {
        true => (
            "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
            "Request not satisfied due to detection of abnormal request pattern",
        ),
        false => (
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "Request cannot be satisfied as assigned quota has been exceeded",
        ),
    };
    let problem = Problem {
        kind,
        title,
        status: status.as_u16(),
        detail: limited.to_string(),
        violated_policies: limited.violations().map(|violation| violation.limit()).collect(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
