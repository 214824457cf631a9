use http::header::HOST;
use http::request::Parts;

use crate::axum_parts::original_uri;
use crate::policy::caching::{StoredResponse, Vary};
use crate::store::keys::Fingerprint;

/// What a response is stored under: the target URI (RFC 9111, 2; RFC 9110, 7.1).
pub(super) fn uri(head: &Parts) -> Fingerprint {
    let uri = original_uri(head);
    let authority = match uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => head.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes()),
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let scheme = uri.scheme_str().unwrap_or("");
    Fingerprint::of(&[scheme.as_bytes(), &authority.to_ascii_lowercase(), target.as_bytes()])
}

/// What a further variant of a response is stored under. Made of the first variant's generation: it
/// is out of reach once that is gone.
pub(super) fn variant(uri: &Fingerprint, first: &StoredResponse, vary: &Vary) -> Fingerprint {
    Fingerprint::of(&[uri.as_bytes(), &first.generation.to_be_bytes(), vary.values()])
}
