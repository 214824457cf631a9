use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};
use serde::{Deserialize, Serialize};

use super::{Freshness, Vary, is_storable_field};
use crate::policy::Timestamp;

/// A response as the cache keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) vary: Vary,
    pub(crate) freshness: Freshness,
    pub(crate) stored_at: Timestamp,
    /// Tells this stored response from every other one for the same URI. Further variants are
    /// stored under it, so they are out of reach as soon as this one is gone.
    pub(crate) generation: u64,
}

const FORMAT: u8 = 1;

/// Everything but the body, which follows it in the encoded form.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    status: u16,
    #[serde(borrow)]
    headers: Vec<(&'a str, &'a [u8])>,
    #[serde(borrow)]
    vary: Vec<&'a str>,
    vary_values: [u8; 32],
    lifetime: Duration,
    age_on_arrival: Duration,
    stored_at: u64,
    generation: u64,
}

impl StoredResponse {
    /// The head of a response to store; the body comes when it is complete.
    pub(crate) fn new(
        head: &response::Parts,
        vary: Vary,
        freshness: Freshness,
        stored_at: Timestamp,
        generation: u64,
    ) -> StoredResponse {
        let kept = head.headers.iter().filter(|(name, _)| is_storable_field(name, &head.headers));
        StoredResponse {
            status: head.status,
            headers: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: Bytes::new(),
            vary,
            freshness,
            stored_at,
            generation,
        }
    }

    /// RFC 9111, 4.2.3: what it had aged when it came, and its time here.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        self.freshness.age_on_arrival.saturating_add(now.since(self.stored_at))
    }

    /// Bytes that it takes, roughly.
    pub(crate) fn weight(&self) -> usize {
        let fields =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 96);
        self.body.len() + fields.sum::<usize>() + size_of::<StoredResponse>()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = Head {
            status: self.status.as_u16(),
            headers: self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect(),
            vary: self.vary.names().iter().map(HeaderName::as_str).collect(),
            vary_values: *self.vary.values(),
            lifetime: self.freshness.lifetime,
            age_on_arrival: self.freshness.age_on_arrival,
            stored_at: self.stored_at.0,
            generation: self.generation,
        };
        let mut bytes =
            postcard::to_extend(&head, vec![FORMAT]).expect("a head writes into memory");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// `None` for bytes that are no response of ours. Body and values are slices of `bytes`, not
    /// copies.
    pub(crate) fn decode(bytes: Bytes) -> Option<StoredResponse> {
        let encoded = bytes.strip_prefix(&[FORMAT])?;
        let (head, body) = postcard::take_from_bytes::<Head<'_>>(encoded).ok()?;
        // Room as well for what a hit adds: Age, Cache-Status, Content-Length.
        let mut headers = HeaderMap::try_with_capacity(head.headers.len() + 3).ok()?;
        for (name, value) in head.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value)).ok()?;
            headers.try_append(name, value).ok()?;
        }
        let names = head.vary.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        Some(StoredResponse {
            status: StatusCode::from_u16(head.status).ok()?,
            headers,
            vary: Vary::from_parts(names.collect::<Option<_>>()?, head.vary_values),
            freshness: Freshness { lifetime: head.lifetime, age_on_arrival: head.age_on_arrival },
            stored_at: Timestamp(head.stored_at),
            generation: head.generation,
            body: bytes.slice(bytes.len() - body.len()..),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored() -> StoredResponse {
        let response = http::Response::builder()
            .status(404)
            .header("content-type", "text/plain")
            .header("x-raw", HeaderValue::from_bytes(b"\xff").unwrap())
            .header("vary", "accept")
            .header("set-cookie", "secret=1")
            .body(())
            .unwrap();
        let (head, ()) = response.into_parts();
        let vary = Vary::of(&head.headers, &HeaderMap::new()).unwrap();
        let freshness =
            Freshness { lifetime: Duration::from_secs(60), age_on_arrival: Duration::from_secs(3) };
        let mut stored = StoredResponse::new(&head, vary, freshness, Timestamp(5_000_000), 7);
        stored.body = Bytes::from_static(b"not here");
        stored
    }

    #[test]
    fn a_stored_response_survives_the_store() {
        assert_eq!(StoredResponse::decode(stored().encode().into()), Some(stored()));
        assert!(!stored().headers.contains_key("set-cookie"));
    }

    #[test]
    fn its_age_counts_from_where_it_was_made() {
        assert_eq!(stored().age(Timestamp(15_000_000)), Duration::from_secs(13));
    }

    #[test]
    fn more_fields_than_a_response_can_have_are_none() {
        let name = HeaderName::from_static("x-many");
        let mut many = stored();
        for _ in 0..30_000 {
            many.headers.append(&name, HeaderValue::from_static(""));
        }
        assert_eq!(StoredResponse::decode(many.encode().into()), None);
    }

    #[test]
    fn an_age_beyond_all_bounds_stays_within_them() {
        let mut old = stored();
        old.freshness.age_on_arrival = Duration::MAX;
        assert_eq!(old.age(Timestamp(u64::MAX)), Duration::MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_something_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            StoredResponse::decode(bytes.into());
        }

        #[test]
        fn a_damaged_response_never_panics(at in 0usize..120, byte in any::<u8>()) {
            let mut bytes = stored().encode();
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            StoredResponse::decode(bytes.into());
        }
    }
}
