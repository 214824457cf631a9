use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};

use super::Sse;

/// [`Sse::response`].
impl IntoResponse for Sse {
    fn into_response(self) -> Response {
        self.response().map(Body::new)
    }
}
