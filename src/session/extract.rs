use axum_core::extract::FromRequestParts;
use http::request::Parts;

use super::{MissingSession, Session};

/// The request's session. Loads nothing yet.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = MissingSession;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Session, MissingSession> {
        head.extensions.get().cloned().ok_or(MissingSession)
    }
}
