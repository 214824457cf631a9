//! What clients are told of their limits: the fields of every response, and `Retry-After`.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::layer::Settings;
use super::limit::LimitSettings;
use super::{Unit, single};
use crate::policy::limiting::Decision;
use crate::store::keys::Subject;

pub(super) static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How clients are told what remains: a draft of the IETF
/// (draft-ietf-httpapi-ratelimit-headers), by its number, as each writes something else.
///
/// Layers around one another speak best alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fields {
    /// Lists, to which every limit appends: `RateLimit-Policy: "api";q=100;w=60` and
    /// `RateLimit: "api";r=99;t=1`.
    ///
    /// By -11 as well as -10. These write the same and mean by `t` something else: -10 the time
    /// until there is more, -11 the time in which `r` may be used. What is sent is true of both: see
    /// [the module](super#answers).
    #[default]
    #[doc(alias = "Draft10")]
    Draft11,
    /// `RateLimit-Policy: 100;w=60`, a list, and `RateLimit: limit=100, remaining=99, reset=1` of
    /// the limit that is closest to being used up.
    Draft7,
    /// `RateLimit-Policy: 100;w=60`, a list, and `RateLimit-Limit`, `RateLimit-Remaining` and
    /// `RateLimit-Reset` of the limit that is closest to being used up.
    Draft6,
    /// Nothing.
    None,
}

/// What clients are told of one limit.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) limit: &'a LimitSettings,
    pub(super) subject: &'a Subject,
    pub(super) decision: &'a Decision,
}

/// Appends: a limit inside of this one has fields of its own. No `t` is later than what `wait` says,
/// the response's [`Retry-After`](told_wait), which is when to come back.
pub(super) fn append<'a>(
    headers: &mut HeaderMap,
    wait: impl FnOnce(&HeaderMap) -> Option<u64>,
    settings: &Settings,
    told: impl Iterator<Item = Told<'a>> + Clone,
) {
    match settings.fields {
        Fields::Draft11 => {
            let wait = wait(headers);
            for told in told.clone() {
                headers.append(&RATELIMIT_POLICY, told.limit.policy_field.clone());
                headers.append(&RATELIMIT, state(told, wait));
            }
        }
        Fields::Draft7 => single::draft7(headers, told.clone()),
        Fields::Draft6 => single::draft6(headers, told.clone()),
        Fields::None => {}
    }
    if settings.legacy_fields {
        single::legacy(headers, told);
    }
}

/// `"api";q=100;w=60`, the same in every response.
pub(super) fn policy(name: &str, quota: u32, window: Option<Duration>, unit: Unit) -> HeaderValue {
    let mut field = Value::default();
    field.name(name).text(";q=").number(quota.into());
    if let Some(window) = whole_seconds(window) {
        field.text(";w=").number(window);
    }
    match unit {
        Unit::Requests | Unit::Other => {}
        Unit::ContentBytes => _ = field.text(";qu=\"content-bytes\""),
        Unit::ConcurrentRequests => _ = field.text(";qu=\"concurrent-requests\""),
    }
    field.whole()
}

/// Without the `t` that would be later than the response's `Retry-After`, which a limit that did not
/// refuse may have: clients obey that one, and the draft does not want the two to disagree.
fn state(Told { limit, subject, decision }: Told<'_>, wait: Option<u64>) -> HeaderValue {
    let mut field = Value::default();
    field.name(&limit.name).text(";r=").number(decision.remaining);
    let time = time(decision);
    if wait.is_none_or(|wait| time <= wait) {
        field.text(";t=").number(time);
    }
    if let Some(partition) = &limit.partition {
        partition.key(subject, |key| _ = field.text(";pk=:").text(key).text(":"));
    }
    field.whole()
}

/// Seconds until the whole quota is there again or, after a refusal, until the request may be
/// repeated.
pub(super) fn time(it: &Decision) -> u64 {
    let retry_after = if it.allowed { None } else { it.retry_after() };
    seconds(retry_after.unwrap_or_else(|| it.full_after()))
}

/// A window that is no whole number of seconds cannot be stated.
pub(super) fn whole_seconds(window: Option<Duration>) -> Option<u64> {
    window.filter(|window| window.subsec_nanos() == 0).map(|window| window.as_secs())
}

/// Unless the response has one that is no earlier. Says which it has then.
pub(super) fn retry_after(headers: &mut HeaderMap, wait: Option<Duration>) -> Option<u64> {
    let (told, wait) = (told_wait(headers), wait.map(seconds));
    let later = wait.filter(|&wait| told.is_none_or(|told| told < wait));
    if let Some(wait) = later {
        let digits = HeaderValue::from_str(itoa::Buffer::new().format(wait));
        headers.insert(RETRY_AFTER, digits.expect("digits are header characters"));
    }
    later.or(told)
}

/// A response's `Retry-After`. A date is taken for now: by whose clock it is, nobody knows.
pub(super) fn told_wait(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER).map(|told| number(told).unwrap_or(0))
}

pub(super) fn number(value: &HeaderValue) -> Option<u64> {
    // A sign, which `parse` takes, is none.
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|it| it.is_ascii_digit()));
    digits?.parse().ok()
}

/// Rounded up: who comes back at the second stated is not too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A value in the making, on the stack: the longest name and every parameter fit.
pub(super) struct Value {
    bytes: [u8; LONGEST],
    length: usize,
}

/// A name of 64 bytes, and what may stand beside it: three integers, a partition key.
const LONGEST: usize = 192;

impl Value {
    /// An item that is a string; a limit's name has no character that is escaped.
    pub(super) fn name(&mut self, name: &str) -> &mut Value {
        self.text("\"").text(name).text("\"")
    }

    // Once for all: what is in a request's way should be little code.
    #[inline(never)]
    pub(super) fn text(&mut self, text: &str) -> &mut Value {
        let end = self.length + text.len();
        self.bytes[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
        self
    }

    /// An integer, which has at most 15 digits (RFC 9651, 3.3.1).
    pub(super) fn number(&mut self, number: u64) -> &mut Value {
        self.text(itoa::Buffer::new().format(number.min(999_999_999_999_999)))
    }

    pub(super) fn whole(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.bytes[..self.length])
            .expect("a limit's name is made of header characters")
    }
}

impl Default for Value {
    fn default() -> Value {
        Value { bytes: [0; LONGEST], length: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_states_whole_seconds_or_no_window() {
        let policy = |window| policy("a", 9, window, Unit::Requests);
        assert_eq!(policy(Some(Duration::from_secs(60))), "\"a\";q=9;w=60");
        assert_eq!(policy(Some(Duration::from_millis(1_500))), "\"a\";q=9");
        assert_eq!(policy(None), "\"a\";q=9");
    }

    #[test]
    fn a_policy_names_what_it_counts() {
        let policy = |unit| policy("a", 9, None, unit);
        assert_eq!(policy(Unit::ContentBytes), "\"a\";q=9;qu=\"content-bytes\"");
        assert_eq!(policy(Unit::ConcurrentRequests), "\"a\";q=9;qu=\"concurrent-requests\"");
        assert_eq!(policy(Unit::Other), "\"a\";q=9");
    }

    #[test]
    fn times_are_rounded_up() {
        assert_eq!(seconds(Duration::from_micros(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::ZERO), 0);
    }

    #[test]
    fn a_number_has_at_most_fifteen_digits() {
        let number = |number| Value::default().number(number).whole();
        assert_eq!(number(u64::MAX), "999999999999999");
        assert_eq!(number(0), "0");
    }

    #[test]
    fn the_later_retry_after_stays() {
        let after = |told: &'static str, wait| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(told));
            retry_after(&mut headers, wait);
            headers[RETRY_AFTER].clone()
        };
        let wait = Some(Duration::from_millis(4_001));
        assert_eq!(after("60", wait), "60");
        assert_eq!(after("4", wait), "5");
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT", wait), "5");
        assert_eq!(after("4", None), "4");
        assert_eq!(after("+60", wait), "5");
    }
}
