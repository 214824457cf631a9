//! Days and months, as the calendar of a time zone has them.

use std::fmt;

use crate::policy::Timestamp;

/// A unit of the calendar in a time zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Calendar {
    pub(crate) unit: Unit,
    pub(crate) zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    Day,
    Month,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Zone {
    Utc,
    #[cfg(feature = "time-zones")]
    Named(super::zone::Named),
}

const DAY: u64 = 24 * 60 * 60 * 1_000_000;

impl Calendar {
    /// Where the unit that contains `now` ends.
    pub(crate) fn end(self, now: Timestamp) -> Timestamp {
        match (self.zone, self.unit) {
            (Zone::Utc, Unit::Day) => Timestamp((now.0 / DAY + 1) * DAY),
            (Zone::Utc, Unit::Month) => Timestamp(next_month(now.0 / DAY) * DAY),
            #[cfg(feature = "time-zones")]
            (Zone::Named(zone), unit) => zone.end(unit, now),
        }
    }
}

/// The day since 1970 on which the month after that of `day` begins.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013. Years begin in March
/// there, so that the leap day is the last of one.
fn next_month(day: u64) -> u64 {
    // From 0000-03-01, in eras of 400 years.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (year, next) = if month == 11 { (year + 1, 0) } else { (year, month + 1) };
    let begins = year * 365 + year / 4 - year / 100 + year / 400 + (153 * next + 2) / 5;
    era * 146_097 + begins - 719_468
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {:?}", self.unit, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_where_the_calendar_says() {
        let end = |day| next_month(day);
        // 1970: January, February.
        assert_eq!([end(0), end(30), end(31)], [31, 31, 59]);
        // 2000-02-01 and 2000-02-29, a leap day of a year that ends an era.
        assert_eq!([end(10_988), end(11_016), end(11_017)], [11_017, 11_017, 11_048]);
        // 2026-12-31: into the next year.
        assert_eq!(end(20_818), 20_819);
        // 2100 has no leap day: its February begins on day 47_513.
        assert_eq!(end(47_513), 47_513 + 28);
    }

    #[test]
    fn every_month_has_28_to_31_days_and_twelve_are_a_year() {
        let (mut day, mut months) = (0, 0);
        while months < 12 * 400 {
            let next = next_month(day);
            assert!((28..=31).contains(&(next - day)));
            assert_eq!(next_month(next - 1), next);
            (day, months) = (next, months + 1);
        }
        assert_eq!(day, 146_097);
    }
}
