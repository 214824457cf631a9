use std::time::Duration;

/// A point in time by the store's clock: microseconds since the Unix epoch.
///
/// Redis's `TIME` has this resolution, and the value stays below 2^53 until the year 2255, so Lua's
/// doubles hold it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(pub(crate) u64);

impl Timestamp {
    pub(crate) fn after(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(micros(wait)))
    }

    /// The time from `earlier` to here; zero when `earlier` is later, as after a clock went back.
    pub(crate) fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }

    /// The same in microseconds.
    pub(crate) fn micros_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whole microseconds, rounded up: a wait must not end early.
pub(crate) const fn micros(duration: Duration) -> u64 {
    let rest = duration.subsec_nanos().div_ceil(1_000);
    duration.as_secs().saturating_mul(1_000_000).saturating_add(rest as u64)
}
