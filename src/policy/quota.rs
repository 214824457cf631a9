use std::num::NonZeroU32;
use std::time::Duration;

use super::micros;

/// How much is allowed in how much time, and how much of it at once.
///
/// `per_second(5)` means five a second. The burst, the number of requests that may come at the
/// same instant after a pause, equals the quota unless [`burst`](Quota::burst) says otherwise.
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::rate_limit::Quota;
///
/// let quota = Quota::per_minute(100).burst(20);
/// assert_eq!(quota.limit(), 100);
/// assert_eq!(quota.period(), Duration::from_secs(60));
/// assert_eq!(quota.burst_size(), 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Quota {
    limit: NonZeroU32,
    period: Duration,
    burst: NonZeroU32,
}

/// Longest period, and longest time that a whole burst takes to come back: keeps every time that a
/// script computes far below 2^53 µs.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

impl Quota {
    /// `limit` requests in each `period`.
    ///
    /// # Panics
    /// When `limit` is 0, or `period` is shorter than a microsecond or longer than ten years.
    pub const fn new(limit: u32, period: Duration) -> Quota {
        let Some(limit) = NonZeroU32::new(limit) else {
            panic!("a quota of 0 allows nothing: give a limit of at least 1");
        };
        assert!(
            period.as_nanos() >= 1_000 && period.as_nanos() <= LONGEST.as_nanos(),
            "a quota's period is at least a microsecond and at most ten years"
        );
        Quota { limit, period, burst: limit }
    }

    /// `limit` requests a second.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub const fn per_second(limit: u32) -> Quota {
        Quota::new(limit, Duration::from_secs(1))
    }

    /// `limit` requests a minute.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub const fn per_minute(limit: u32) -> Quota {
        Quota::new(limit, Duration::from_secs(60))
    }

    /// `limit` requests an hour.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub const fn per_hour(limit: u32) -> Quota {
        Quota::new(limit, Duration::from_secs(60 * 60))
    }

    /// `limit` requests in 24 hours.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub const fn per_day(limit: u32) -> Quota {
        Quota::new(limit, Duration::from_secs(24 * 60 * 60))
    }

    /// At most `burst` requests at once.
    ///
    /// # Panics
    /// When `burst` is 0, or so large that it would take more than ten years to come back.
    pub const fn burst(mut self, burst: u32) -> Quota {
        let Some(burst) = NonZeroU32::new(burst) else {
            panic!("a burst of 0 allows nothing: give a burst of at least 1");
        };
        let refill = micros(self.period) as u128 * burst.get() as u128 / self.limit.get() as u128;
        assert!(refill <= LONGEST.as_micros(), "a burst comes back within ten years");
        self.burst = burst;
        self
    }

    /// The number of requests in each period.
    pub const fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// The time in which the limit applies.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// The number of requests that may come at once.
    pub const fn burst_size(&self) -> u32 {
        self.burst.get()
    }
}
