//! Time zones by name, from the time zone database.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, PoisonError, RwLock};

use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use super::calendar::Unit;
use crate::policy::Timestamp;

/// A time zone that the database knows.
#[derive(Clone, Copy)]
pub(crate) struct Named(&'static TimeZone);

/// Kept for good, so that a quota is a plain value. There are some six hundred names.
static ZONES: LazyLock<RwLock<HashMap<String, Named>>> = LazyLock::new(RwLock::default);

impl Named {
    pub(crate) fn find(name: &str) -> Option<Named> {
        // Names are compared without regard to case: one zone must not have a million entries.
        let name = name.to_ascii_lowercase();
        if let Some(zone) = ZONES.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Some(*zone);
        }
        let found = TimeZone::get(&name).ok()?;
        let mut zones = ZONES.write().unwrap_or_else(PoisonError::into_inner);
        Some(*zones.entry(name).or_insert_with(|| Named(Box::leak(Box::new(found)))))
    }

    /// Where the day or month that contains `now` ends.
    pub(crate) fn end(self, unit: Unit, now: Timestamp) -> Timestamp {
        let end = || {
            let now = jiff::Timestamp::from_microsecond(i64::try_from(now.0).ok()?).ok()?;
            let here = now.to_zoned(self.0.clone());
            let end: Zoned = match unit {
                Unit::Day => here.start_of_day().ok()?.checked_add(1.day()).ok()?,
                Unit::Month => here.first_of_month().ok()?.checked_add(1.month()).ok()?,
            };
            // Where a day has no midnight, it begins later.
            u64::try_from(end.start_of_day().ok()?.timestamp().as_microsecond()).ok()
        };
        // Beyond the calendar's ends, which is in the year 9999, a window is over at once.
        Timestamp(end().unwrap_or(now.0 + 1).max(now.0 + 1))
    }

    fn name(self) -> Option<&'static str> {
        self.0.iana_name()
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Named) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("a time zone"))
    }
}

/// The time zone database has no such name.
#[cfg_attr(docsrs, doc(cfg(feature = "time-zones")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownTimeZone;

impl fmt::Display for UnknownTimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such time zone: use a name of the IANA database, such as `Europe/Berlin`")
    }
}

impl std::error::Error for UnknownTimeZone {}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().expect("a time");
        Timestamp(at.as_microsecond() as u64)
    }

    #[test]
    fn a_day_has_the_hours_that_it_has_there() {
        let berlin = Named::find("Europe/Berlin").expect("a zone");
        // The clock is put forward on the 29th of March 2026, and back on the 25th of October.
        let end = |at| berlin.end(Unit::Day, micros(at));
        assert_eq!(end("2026-03-28T23:00:00Z"), micros("2026-03-29T22:00:00Z"));
        assert_eq!(end("2026-10-24T22:00:00Z"), micros("2026-10-25T23:00:00Z"));
        assert_eq!(end("2026-06-01T21:59:59.999999Z"), micros("2026-06-01T22:00:00Z"));
        assert_eq!(end("2026-06-01T22:00:00Z"), micros("2026-06-02T22:00:00Z"));
    }

    #[test]
    fn a_month_begins_at_midnight_there() {
        let tokyo = Named::find("asia/tokyo").expect("a zone");
        let end = |at| tokyo.end(Unit::Month, micros(at));
        assert_eq!(end("2026-02-28T14:59:59Z"), micros("2026-02-28T15:00:00Z"));
        assert_eq!(end("2026-02-28T15:00:00Z"), micros("2026-03-31T15:00:00Z"));
        assert_eq!(tokyo, Named::find("Asia/Tokyo").expect("the same"));
    }

    #[test]
    fn a_name_that_is_none_is_not_kept() {
        assert!(Named::find("Europe/Atlantis").is_none());
        assert!(Named::find("").is_none());
    }
}
