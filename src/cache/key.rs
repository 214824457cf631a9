use http::header::HOST;
use http::request::Parts;

use crate::policy::caching::{StoredResponse, Vary};
use crate::store::keys::Fingerprint;
use crate::store_layer::target;

/// What a response is stored under: the target URI (RFC 9111, 2; RFC 9110, 7.1), without its scheme,
/// which HTTP/1.1 does not send: a change that comes by it has to find what HTTP/2 had stored.
pub(super) fn uri(head: &Parts) -> Fingerprint {
    let uri = target(head);
    let authority = match uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => head.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes()),
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Fingerprint::of(&[b"uri", &authority.to_ascii_lowercase(), target.as_bytes()])
}

/// What a further variant of a response is stored under. Made of the first variant's generation: it
/// is out of reach once that is gone.
pub(super) fn variant(uri: &Fingerprint, first: &StoredResponse, vary: &Vary) -> Fingerprint {
    Fingerprint::of(&[uri.as_bytes(), &first.generation.to_be_bytes(), vary.values()])
}
