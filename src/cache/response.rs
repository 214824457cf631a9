//! Makes responses of what is stored, and says in `Cache-Status` (RFC 9211) what the cache did.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AGE, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;

use super::CacheBody;
use crate::observe;
use crate::policy::caching::{StoredResponse, is_not_modified};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went to its handler (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, for other values of the fields in its `Vary`.
    VaryMiss,
    /// What is stored is not fresh any more.
    Stale,
    /// What is stored is fresh, but not as fresh as the request wants it.
    Request,
    /// The method is none that a stored response answers.
    Method,
    /// The request wants no part of a cache, or the store cannot answer.
    Bypass,
}

impl Forwarded {
    pub(super) fn note(self, headers: &mut HeaderMap, stored: bool) {
        observe::cache(self.event());
        let value = match (self, stored) {
            (Forwarded::UriMiss, true) => "tower-redis-kit; fwd=uri-miss; stored",
            (Forwarded::UriMiss, false) => "tower-redis-kit; fwd=uri-miss",
            (Forwarded::VaryMiss, true) => "tower-redis-kit; fwd=vary-miss; stored",
            (Forwarded::VaryMiss, false) => "tower-redis-kit; fwd=vary-miss",
            (Forwarded::Stale, true) => "tower-redis-kit; fwd=stale; stored",
            (Forwarded::Stale, false) => "tower-redis-kit; fwd=stale",
            (Forwarded::Request, true) => "tower-redis-kit; fwd=request; stored",
            (Forwarded::Request, false) => "tower-redis-kit; fwd=request",
            (Forwarded::Method, _) => "tower-redis-kit; fwd=method",
            (Forwarded::Bypass, _) => "tower-redis-kit; fwd=bypass",
        };
        // The cache nearest to the handler comes first (RFC 9211, 2).
        headers.append(CACHE_STATUS, HeaderValue::from_static(value));
    }

    /// What it is counted as.
    fn event(self) -> observe::Cache {
        match self {
            Forwarded::UriMiss | Forwarded::VaryMiss | Forwarded::Request => observe::Cache::Miss,
            Forwarded::Stale => observe::Cache::Stale,
            Forwarded::Method => observe::Cache::Change,
            Forwarded::Bypass => observe::Cache::Bypass,
        }
    }
}

/// A hit: the stored response, or 304 where the client has it already.
pub(super) fn reuse<B: Body>(
    request: &HeaderMap,
    stored: Arc<StoredResponse>,
    age: Duration,
) -> Response<CacheBody<B>> {
    observe::cache(observe::Cache::Hit);
    let not_modified = stored.status == StatusCode::OK && is_not_modified(request, &stored.headers);
    // One that came over the network has no other owner, and is taken apart.
    let StoredResponse { status, mut headers, body, freshness, .. } = Arc::unwrap_or_clone(stored);
    headers.insert(AGE, age.as_secs().into());
    let left = freshness.lifetime.saturating_sub(age).as_secs_f64().ceil() as u64;
    let hit = format!("tower-redis-kit; hit; ttl={left}");
    headers.append(CACHE_STATUS, HeaderValue::try_from(hit).expect("digits are header characters"));
    // Of a 304 it is the length that the 200 would have (RFC 9110, 8.6): a server that knows of no
    // length would state that of the empty body.
    if status != StatusCode::NO_CONTENT {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
    }
    let (status, body) = if not_modified {
        headers.remove(CONTENT_TYPE);
        (StatusCode::NOT_MODIFIED, CacheBody::empty())
    } else {
        (status, CacheBody::stored(body))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// RFC 9111, 5.2.1.7: the client wants a stored response or none, and there is none.
pub(super) fn only_if_cached<B: Body>() -> Response<CacheBody<B>> {
    observe::cache(observe::Cache::Miss);
    let mut response = Response::new(CacheBody::empty());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}
