//! What a layer costs whatever it does, and what it costs to tell clients of a limit or to refuse
//! them: axum calls each layer by a box, and a response that is longer is written and read.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode};
use tower::util::MapResponseLayer;

/// A layer that does nothing.
pub(crate) fn layer() -> Router {
    crate::ok().layer(MapResponseLayer::new(|response: Response| response))
}

/// One that says of every request what is never worked out.
pub(crate) fn fields() -> Router {
    crate::ok().layer(MapResponseLayer::new(|mut response: Response| {
        let headers = response.headers_mut();
        headers.append("ratelimit-policy", HeaderValue::from_static("\"load\";q=1;w=1"));
        headers.append("ratelimit", HeaderValue::from_static("\"load\";r=999999;t=1"));
        response
    }))
}

/// A handler that refuses everybody in the words of a limit, which are never worked out.
pub(crate) fn refusal() -> Router {
    const DOCUMENT: &str = r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"detail":"the limit \"load\" is used up","violated-policies":["load"]}"#;
    let fields = [
        ("content-type", "application/problem+json"),
        ("retry-after", "3600"),
        ("ratelimit-policy", "\"load\";q=1;w=3600"),
        ("ratelimit", "\"load\";r=0;t=3600"),
    ];
    Router::new().route("/", get(async move || (StatusCode::TOO_MANY_REQUESTS, fields, DOCUMENT)))
}
