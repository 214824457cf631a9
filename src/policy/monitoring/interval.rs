use std::time::Duration;

use super::{Lookups, ServerInfo};

/// What happened on a server between two readings: see [`ServerInfo::since`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interval {
    /// The time between them.
    pub elapsed: Duration,
    /// Commands that were run.
    pub commands: Option<u64>,
    /// Keys that were looked up.
    pub lookups: Option<Lookups>,
    /// Keys whose time was over.
    pub expired: Option<u64>,
    /// Keys that were dropped to make room.
    pub evicted: Option<u64>,
}

impl Interval {
    /// `None` when a counter went back: these are not two readings of one life of one server.
    pub(super) fn between(
        earlier: &ServerInfo,
        later: &ServerInfo,
        elapsed: Duration,
    ) -> Option<Interval> {
        if earlier.run_id != later.run_id || later.uptime < earlier.uptime {
            return None;
        }
        let (before, after) = (&earlier.traffic, &later.traffic);
        let (hits, misses) = (
            grown(before.lookups.map(|it| it.hits), after.lookups.map(|it| it.hits))?,
            grown(before.lookups.map(|it| it.misses), after.lookups.map(|it| it.misses))?,
        );
        Some(Interval {
            elapsed,
            commands: grown(before.commands, after.commands)?,
            lookups: hits.zip(misses).map(|(hits, misses)| Lookups { hits, misses }),
            expired: grown(before.expired, after.expired)?,
            evicted: grown(before.evicted, after.evicted)?,
        })
    }
}

/// By how much a counter grew, where both are known; `None` when it went back.
fn grown(before: Option<u64>, after: Option<u64>) -> Option<Option<u64>> {
    match (before, after) {
        (Some(before), Some(after)) => after.checked_sub(before).map(Some),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(uptime: u64, hits: u64, evicted: Option<u64>) -> ServerInfo {
        let uptime = Some(Duration::from_secs(uptime));
        let mut info = ServerInfo { uptime, ..ServerInfo::default() };
        info.traffic.lookups = Some(Lookups { hits, misses: 10 });
        info.traffic.evicted = evicted;
        info
    }

    #[test]
    fn an_interval_is_the_difference_of_two_readings() {
        let interval = reading(2, 150, Some(7)).since(&reading(1, 100, Some(7)), SECOND).unwrap();
        assert_eq!(interval.lookups, Some(Lookups { hits: 50, misses: 0 }));
        assert_eq!(interval.evicted, Some(0));
        assert_eq!((interval.commands, interval.expired), (None, None));
        let interval = reading(2, 150, Some(7)).since(&reading(1, 100, None), SECOND).unwrap();
        assert_eq!(interval.evicted, None);
    }

    #[test]
    fn counters_that_went_back_make_no_interval() {
        assert_eq!(reading(2, 99, None).since(&reading(1, 100, None), SECOND), None);
        assert_eq!(reading(1, 200, None).since(&reading(2, 100, None), SECOND), None);
        let mut another = reading(2, 200, None);
        another.run_id = Some("another".to_owned());
        assert_eq!(another.since(&reading(1, 100, None), SECOND), None);
    }
}
