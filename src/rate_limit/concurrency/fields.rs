use http::HeaderMap;

use super::layer::Settings;
use crate::rate_limit::Fields;
use crate::rate_limit::fields::{RATELIMIT, RATELIMIT_POLICY, Value};

/// Appends: a limit inside of this one has fields of its own. Older drafts know of no limits but
/// those of time.
pub(super) fn append(headers: &mut HeaderMap, settings: &Settings, remaining: Option<u64>) {
    let Some(remaining) = remaining.filter(|_| settings.fields == Fields::Draft11) else { return };
    let mut state = Value::default();
    state.name(&settings.semaphore.name).text(";r=").number(remaining);
    headers.append(&RATELIMIT_POLICY, settings.policy_field.clone());
    headers.append(&RATELIMIT, state.whole());
}
