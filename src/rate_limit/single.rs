//! Fields with room for one limit: of older drafts, and of before there was one.

use std::cmp::Reverse;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{RATELIMIT, RATELIMIT_POLICY, Told, Value, number, time, whole_seconds};

type Names = [HeaderName; 3];

static LEGACY: Names = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

static DRAFT6: Names = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// What is said of one limit.
struct Single {
    quota: u32,
    remaining: u64,
    /// In seconds from now.
    reset: u64,
}

/// Least for the limit that is closest to being used up, and that takes longest to come back.
type Rank = (u64, Reverse<u64>);

pub(super) fn legacy<'a>(headers: &mut HeaderMap, limits: impl Iterator<Item = Told<'a>>) {
    three(headers, &LEGACY, limits);
}

pub(super) fn draft6<'a>(headers: &mut HeaderMap, limits: impl Iterator<Item = Told<'a>> + Clone) {
    policies(headers, limits.clone());
    three(headers, &DRAFT6, limits);
}

pub(super) fn draft7<'a>(headers: &mut HeaderMap, limits: impl Iterator<Item = Told<'a>> + Clone) {
    policies(headers, limits.clone());
    let told = headers.get(&RATELIMIT).and_then(|told| {
        let told = told.to_str().ok()?;
        let member = |key| told.split(", ").find_map(|it| it.strip_prefix(key)?.parse().ok());
        Some((member("remaining=")?, Reverse(member("reset=").unwrap_or(0))))
    });
    if let Some(it) = tighter(headers, limits, told) {
        let mut field = Value::default();
        field.text("limit=").number(it.quota.into());
        field.text(", remaining=").number(it.remaining);
        field.text(", reset=").number(it.reset);
        headers.insert(&RATELIMIT, field.whole());
    }
}

/// `100;w=60`: without a window there is no policy.
fn policies<'a>(headers: &mut HeaderMap, limits: impl Iterator<Item = Told<'a>>) {
    for told in limits {
        let (limit, window) = told.limit.quota.told();
        if let Some(window) = whole_seconds(window) {
            let mut field = Value::default();
            field.number(limit.into()).text(";w=").number(window);
            headers.append(&RATELIMIT_POLICY, field.whole());
        }
    }
}

fn three<'a>(headers: &mut HeaderMap, names: &Names, limits: impl Iterator<Item = Told<'a>>) {
    let [_, remaining, reset] = names.each_ref().map(|name| headers.get(name).and_then(number));
    let told = remaining.map(|remaining| (remaining, Reverse(reset.unwrap_or(0))));
    if let Some(Single { quota, remaining, reset }) = tighter(headers, limits, told) {
        let values: [HeaderValue; 3] = [quota.into(), remaining.into(), reset.into()];
        for (name, value) in names.iter().zip(values) {
            headers.insert(name, value);
        }
    }
}

/// Of these limits, unless the response tells of one already, from further in, that is as close to
/// being used up. No reset is later than the response's `Retry-After`, which is when to come back.
fn tighter<'a>(
    headers: &HeaderMap,
    limits: impl Iterator<Item = Told<'a>>,
    told: Option<Rank>,
) -> Option<Single> {
    let latest = headers.get(RETRY_AFTER).and_then(number).unwrap_or(u64::MAX);
    let all = limits.map(|Told { limit, decision, .. }| Single {
        quota: limit.quota.told().0,
        remaining: decision.remaining,
        reset: time(decision).min(latest),
    });
    let rank = |it: &Single| (it.remaining, Reverse(it.reset));
    all.min_by_key(rank).filter(|it| told.is_none_or(|told| rank(it) < told))
}
