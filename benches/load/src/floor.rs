//! What a layer costs whatever it does, and what it costs to tell clients of a limit: axum calls
//! each layer by a box, and a response that is longer is written and read.

use axum::Router;
use axum::response::Response;
use http::HeaderValue;
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
