//! The `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-10).

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::Quota;
use crate::policy::gcra::Decision;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `"name";q=5;w=1`, the same in every response. A window that is no whole number of seconds cannot
/// be stated and is left out.
pub(super) fn policy(name: &str, quota: Quota) -> HeaderValue {
    let window = match (quota.period().as_secs(), quota.period().subsec_nanos()) {
        (seconds, 0) => format!(";w={seconds}"),
        _ => String::new(),
    };
    value(format!("\"{name}\";q={}{window}", quota.limit()))
}

/// Appends: a limit inside of this one has fields of its own.
pub(super) fn append(headers: &mut HeaderMap, name: &str, policy: &HeaderValue, it: &Decision) {
    let time = if it.allowed { it.full_after } else { it.retry_after.unwrap_or(it.full_after) };
    let state = format!("\"{name}\";r={};t={}", it.remaining, seconds(time));
    headers.append(RATELIMIT_POLICY, policy.clone());
    headers.append(RATELIMIT, value(state));
}

pub(super) fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    headers.insert(RETRY_AFTER, seconds(wait).into());
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
        assert_eq!(policy("a", Quota::per_minute(9)), "\"a\";q=9;w=60");
        assert_eq!(policy("a", Quota::new(9, Duration::from_millis(1_500))), "\"a\";q=9");
    }

    #[test]
    fn times_are_rounded_up() {
        assert_eq!(seconds(Duration::from_micros(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::ZERO), 0);
    }
}
