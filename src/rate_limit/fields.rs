//! The `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Unit;
use super::gate::Asked;
use super::layer::Settings;
use crate::policy::limiting::Decision;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How clients are told what remains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fields {
    /// `RateLimit-Policy` and `RateLimit`, by draft-ietf-httpapi-ratelimit-headers-10.
    #[default]
    Draft10,
    /// Nothing.
    None,
}

/// Appends: a limit inside of this one has fields of its own.
pub(super) fn append(headers: &mut HeaderMap, settings: &Settings, asked: &[Asked]) {
    if settings.fields == Fields::Draft10 {
        for asked in asked {
            let Some(decision) = asked.decision.filter(|_| !asked.limit.rule.is_shadow) else {
                continue;
            };
            headers.append(RATELIMIT_POLICY, asked.limit.policy_field.clone());
            headers.append(RATELIMIT, state(&asked.limit.name, &decision));
        }
    }
    if settings.legacy_fields {
        legacy(headers, asked);
    }
}

/// `"name";q=5;w=1`, the same in every response. A window that is no whole number of seconds cannot
/// be stated and is left out.
pub(super) fn policy(name: &str, limit: u32, window: Option<Duration>, unit: Unit) -> HeaderValue {
    let mut field = format!("\"{name}\";q={limit}");
    if let Some(window) = window.filter(|window| window.subsec_nanos() == 0) {
        let _ = write!(field, ";w={}", window.as_secs());
    }
    match unit {
        Unit::Requests | Unit::Other => {}
        Unit::ContentBytes => field.push_str(";qu=\"content-bytes\""),
        Unit::ConcurrentRequests => field.push_str(";qu=\"concurrent-requests\""),
    }
    value(field)
}

fn state(name: &str, it: &Decision) -> HeaderValue {
    value(format!("\"{name}\";r={};t={}", it.remaining, seconds(time(it))))
}

/// Until the whole quota is there again, or, after a refusal, until the request may be repeated.
fn time(it: &Decision) -> Duration {
    if it.allowed { it.full_after } else { it.retry_after.unwrap_or(it.full_after) }
}

/// Of the limit that is closest to being used up, and only once: these fields are no lists.
fn legacy(headers: &mut HeaderMap, asked: &[Asked]) {
    let decided = asked.iter().filter_map(|asked| Some((asked, asked.decision?)));
    let Some((asked, decision)) = decided
        .filter(|(asked, _)| !asked.limit.rule.is_shadow)
        .min_by_key(|(_, decision)| (decision.remaining, std::cmp::Reverse(time(decision))))
    else {
        return;
    };
    let told = headers.get(&LEGACY_REMAINING).and_then(|told| told.to_str().ok()?.parse().ok());
    if told.is_some_and(|told: u64| told <= decision.remaining) {
        return;
    }
    headers.insert(LEGACY_LIMIT, asked.limit.quota.limit().into());
    headers.insert(LEGACY_REMAINING, decision.remaining.into());
    headers.insert(LEGACY_RESET, seconds(time(&decision)).into());
}

/// Unless the response has one that is no earlier.
pub(super) fn retry_after(headers: &mut HeaderMap, wait: Option<Duration>) {
    let Some(wait) = wait.map(seconds) else { return };
    let told = headers.get(RETRY_AFTER).and_then(|told| told.to_str().ok()?.parse().ok());
    if told.is_none_or(|told: u64| told < wait) {
        headers.insert(RETRY_AFTER, wait.into());
    }
}

/// Rounded up: who comes back at the second stated is not too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .expect("a limit's name is made of header characters")
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
    fn times_are_rounded_up() {
        assert_eq!(seconds(Duration::from_micros(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::ZERO), 0);
    }
}
