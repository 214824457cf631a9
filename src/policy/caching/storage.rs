use std::time::{Duration, SystemTime};

use http::header::{
    AGE, AUTHORIZATION, CONNECTION, CONTENT_RANGE, DATE, EXPIRES, SET_COOKIE, TRAILER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, response};

use super::CacheControl;
use super::cache_control::delta_seconds;
use crate::policy::Timestamp;

/// No response is kept longer.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A response's freshness when it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// RFC 9111, 4.2.1: how old it may become.
    pub(crate) lifetime: Duration,
    /// RFC 9111, 4.2.3: how old it was when it came.
    pub(crate) age_on_arrival: Duration,
}

impl Freshness {
    /// How long the stored response stays fresh.
    pub(crate) fn time_to_live(&self) -> Duration {
        self.lifetime.saturating_sub(self.age_on_arrival)
    }
}

/// How fresh a response that anyone may reuse is, or `None` when it must not be stored.
///
/// `personal` says that the handler looked at who is asking, by a session; such an
/// answer is stored only when it calls itself `public`.
pub(crate) fn storable(
    method: &Method,
    request: &HeaderMap,
    response: &response::Parts,
    personal: bool,
    now: Timestamp,
) -> Option<Freshness> {
    let asked = CacheControl::of(request);
    let answered = CacheControl::of(&response.headers);
    // RFC 9111, 3: the conditions for storing.
    if method != Method::GET
        || !is_storable_status(response.status)
        || asked.no_store
        || answered.no_store
        || answered.private
        // Would have to be validated before each reuse.
        || answered.no_cache
        || [SET_COOKIE, CONTENT_RANGE, TRAILER].iter().any(|name| response.headers.contains_key(name))
    {
        return None;
    }
    // RFC 9111, 3.5.
    let for_all = answered.public || answered.s_maxage.is_some();
    if request.contains_key(AUTHORIZATION) && !for_all && !answered.must_revalidate {
        return None;
    }
    if personal && !answered.public {
        return None;
    }
    let freshness = Freshness {
        lifetime: freshness_lifetime(&response.headers, answered, now)?.min(LONGEST),
        age_on_arrival: age_on_arrival(&response.headers)?,
    };
    (freshness.time_to_live() > Duration::ZERO).then_some(freshness)
}

/// Whether a stored response keeps this field (RFC 9111, 3.1, and what belongs to one answer only).
pub(crate) fn is_storable_field(name: &HeaderName, response: &HeaderMap) -> bool {
    let hop_by_hop = matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    let of_one_answer =
        matches!(
            name.as_str(),
            "age" | "cache-status" | "ratelimit" | "retry-after" | "set-cookie"
        ) || ["ratelimit-", "x-ratelimit-"].iter().any(|prefix| name.as_str().starts_with(prefix));
    let named_by_connection = || {
        response.get_all(CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
    };
    !hop_by_hop && !of_one_answer && !named_by_connection()
}

/// Final statuses that mean the same to a later request (RFC 9110, 15.1). A 206 needs ranges put
/// together and is never stored.
fn is_storable_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111, 4.2.1. Only what the response states; nothing is guessed from `Last-Modified`. Without
/// a `Date`, it was made when it came (RFC 9110, 6.6.1).
fn freshness_lifetime(
    headers: &HeaderMap,
    answered: CacheControl,
    now: Timestamp,
) -> Option<Duration> {
    if let Some(stated) = answered.s_maxage.or(answered.max_age) {
        return Some(stated);
    }
    let expires = only(headers, EXPIRES)?;
    let expires = httpdate::parse_http_date(expires.to_str().ok()?).ok()?;
    let date = match headers.contains_key(DATE) {
        true => httpdate::parse_http_date(only(headers, DATE)?.to_str().ok()?).ok()?,
        false => SystemTime::UNIX_EPOCH + Duration::from_micros(now.0),
    };
    expires.duration_since(date).ok()
}

/// Zero without an `Age`; `None` for one that cannot be read.
fn age_on_arrival(headers: &HeaderMap) -> Option<Duration> {
    match headers.contains_key(AGE) {
        true => delta_seconds(only(headers, AGE)?.as_bytes()),
        false => Some(Duration::ZERO),
    }
}

fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl_of(request: &[(&str, &str)], response: &[(&str, &str)]) -> Option<u64> {
        let mut asked = http::Request::get("/");
        for (name, value) in request {
            asked = asked.header(*name, *value);
        }
        let mut answered = http::Response::builder();
        for (name, value) in response {
            answered = answered.header(*name, *value);
        }
        let (asked, ()) = asked.body(()).unwrap().into_parts();
        let (answered, ()) = answered.body(()).unwrap().into_parts();
        storable(&asked.method, &asked.headers, &answered, false, NOW)
            .map(|freshness| freshness.time_to_live().as_secs())
    }

    /// Mon, 01 Jan 2024 00:00:30 GMT.
    const NOW: Timestamp = Timestamp(1_704_067_230_000_000);

    fn ttl(response: &[(&str, &str)]) -> Option<u64> {
        ttl_of(&[], response)
    }

    #[test]
    fn only_a_stated_lifetime_is_stored() {
        assert_eq!(ttl(&[]), None);
        assert_eq!(ttl(&[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")]), None);
        assert_eq!(ttl(&[("cache-control", "public")]), None);
        assert_eq!(ttl(&[("cache-control", "max-age=60")]), Some(60));
        assert_eq!(ttl(&[("cache-control", "max-age=60, s-maxage=10")]), Some(10));
        assert_eq!(ttl(&[("cache-control", "max-age=60, s-maxage=0")]), None);
    }

    #[test]
    fn expires_counts_from_date_and_only_without_max_age() {
        let date = ("date", "Mon, 01 Jan 2024 00:00:00 GMT");
        let expires = ("expires", "Mon, 01 Jan 2024 00:01:00 GMT");
        assert_eq!(ttl(&[date, expires]), Some(60));
        assert_eq!(ttl(&[date, expires, ("cache-control", "max-age=5")]), Some(5));
        assert_eq!(ttl(&[date, ("expires", "0")]), None);
        assert_eq!(ttl(&[expires]), Some(30));
    }

    #[test]
    fn what_forbids_storing_wins() {
        for forbidden in ["no-store", "private", "no-cache", "private=\"x\""] {
            let value = format!("public, max-age=60, {forbidden}");
            assert_eq!(ttl(&[("cache-control", &value)]), None, "{forbidden}");
        }
        let fresh = ("cache-control", "public, max-age=60");
        assert_eq!(ttl(&[fresh, ("set-cookie", "a=b")]), None);
        assert_eq!(ttl_of(&[("cache-control", "no-store")], &[fresh]), None);
    }

    #[test]
    fn an_authorized_answer_is_stored_only_when_it_is_for_all() {
        let authorized = [("authorization", "Bearer x")];
        assert_eq!(ttl_of(&authorized, &[("cache-control", "max-age=60")]), None);
        for allowed in ["public", "must-revalidate", "s-maxage=60"] {
            let value = format!("max-age=60, {allowed}");
            assert_eq!(ttl_of(&authorized, &[("cache-control", &value)]), Some(60), "{allowed}");
        }
    }

    #[test]
    fn age_on_arrival_shortens_the_lifetime() {
        assert_eq!(ttl(&[("cache-control", "max-age=60"), ("age", "20")]), Some(40));
        assert_eq!(ttl(&[("cache-control", "max-age=60"), ("age", "60")]), None);
        assert_eq!(ttl(&[("cache-control", "max-age=60"), ("age", "soon")]), None);
    }

    #[test]
    fn fields_of_one_answer_or_one_hop_are_not_kept() {
        let headers: HeaderMap =
            [("connection".parse().unwrap(), HeaderValue::from_static("close, X-Hop"))]
                .into_iter()
                .collect();
        let kept = |name: &'static str| is_storable_field(&HeaderName::from_static(name), &headers);
        for name in ["content-type", "etag", "vary", "date"] {
            assert!(kept(name), "{name}");
        }
        for name in [
            "connection",
            "x-hop",
            "set-cookie",
            "ratelimit",
            "ratelimit-reset",
            "x-ratelimit-limit",
            "age",
        ] {
            assert!(!kept(name), "{name}");
        }
    }
}
