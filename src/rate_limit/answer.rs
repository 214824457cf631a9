//! What a refused client reads.

use std::sync::OnceLock;

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

const STATUS: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// 429 with this document, whatever the client accepts.
pub(super) fn problem(document: Bytes) -> Response<Bytes> {
    let mut response = Response::new(document);
    *response.status_mut() = STATUS;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Which limits are used up.
pub(super) fn document(limited: &Limited) -> Bytes {
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
        status: STATUS.as_u16(),
        detail: limited.to_string(),
        violated_policies: limited.violations().map(|violation| violation.limit()).collect(),
    };
    serde_json::to_vec(&problem).unwrap_or_default().into()
}

/// The documents of a limit that refuses alone, of which each is made once: whoever attacks should
/// not be answered at greater cost than others.
#[derive(Clone, Debug, Default)]
pub(super) struct Documents([OnceLock<Bytes>; 3]);

impl Documents {
    pub(super) fn of(&self, limited: &Limited) -> Bytes {
        let place = match (limited.is_blocked(), limited.retry_after()) {
            (true, _) => 0,
            (false, None) => 1,
            (false, Some(_)) => 2,
        };
        self.0[place].get_or_init(|| document(limited)).clone()
    }
}
