use std::num::NonZeroU32;
use std::time::Duration;

#[cfg(feature = "time-zones")]
use super::UnknownTimeZone;
use super::calendar::{Unit, Zone};
use super::{
    Calendar, Counting, FixedWindow, Gcra, Lockout, Opening, SlidingLog, SlidingWindow, Steps,
};
use crate::policy::micros;

/// How much is allowed in how much time, and how that is counted.
///
/// `per_second(5)` means five a second. It is counted by GCRA unless something else is said: what
/// was used comes back evenly, and after a pause a whole burst may come at once, which equals the
/// quota unless [`burst`](Quota::burst) says otherwise.
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::rate_limit::Quota;
///
/// let quota = Quota::per_minute(100).burst(20);
/// assert_eq!(quota.limit(), 100);
/// assert_eq!(quota.period(), Duration::from_secs(60));
/// assert_eq!(quota.burst_size(), 20);
///
/// // Other ways to count:
/// let exact = Quota::per_minute(100).sliding_log();
/// let plan = Quota::per_calendar_month(10_000);
/// let log_in = Quota::per_hour(5).lockout([Duration::from_secs(60), Duration::from_secs(300)]);
/// ```
///
/// | | allows in a window of any place | memory at each key | |
/// |---|---|---|---|
/// | GCRA | burst + quota | one number | the default |
/// | [`guaranteed`](Quota::guaranteed) | quota | one number | half at once, and slower after it |
/// | [`fixed_window`](Quota::fixed_window) | twice the quota, around an edge | two numbers | easy to explain; calendar days and months |
/// | [`sliding_window`](Quota::sliding_window) | nearly twice, in the worst case | three numbers | close to exact where traffic is even |
/// | [`sliding_log`](Quota::sliding_log) | quota, exactly | two numbers for each admitted request | small quotas |
/// | [`lockout`](Quota::lockout) | quota, then none for a while | four numbers | log-ins |
///
/// The state of one algorithm is none to another: a limit that changes from one to another begins
/// anew. A limit whose numbers change goes on with what was counted: see
/// [`LiveLimits`](crate::rate_limit::LiveLimits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Quota {
    limit: NonZeroU32,
    period: Duration,
    burst: Option<NonZeroU32>,
    algorithm: Algorithm,
}

/// How a quota is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Gcra,
    Guaranteed,
    FixedWindow,
    AlignedWindow,
    Calendar(Calendar),
    SlidingWindow,
    SlidingLog,
    Lockout(Steps),
}

/// Longest period, and longest time that a whole burst takes to come back: keeps every time that a
/// script computes far below 2^53 µs.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A log has an entry for each request: some 20 MiB.
const LONGEST_LOG: u32 = 1_000_000;

impl Quota {
    /// `limit` requests in each `period`. From the configuration, a quota is
    /// [parsed](Quota#impl-FromStr-for-Quota).
    ///
    /// # Panics
    /// When `limit` is 0, or `period` is shorter than a microsecond or longer than ten years.
    pub const fn new(limit: u32, period: Duration) -> Quota {
        let Some(limit) = NonZeroU32::new(limit) else {
            panic!("a quota of 0 allows nothing: give a limit of at least 1");
        };
        assert!(
            Quota::is_possible(limit.get(), period),
            "a quota's period is at least a microsecond and at most ten years"
        );
        Quota { limit, period, burst: None, algorithm: Algorithm::Gcra }
    }

    /// What [`new`](Quota::new) does not panic for.
    pub(super) const fn is_possible(limit: u32, period: Duration) -> bool {
        limit > 0 && period.as_nanos() >= 1_000 && period.as_nanos() <= LONGEST.as_nanos()
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

    /// `limit` requests in each day of the calendar, from midnight to midnight in UTC, or in
    #[cfg_attr(feature = "time-zones", doc = "[another time zone](Quota::in_time_zone).")]
    #[cfg_attr(not(feature = "time-zones"), doc = "another time zone (feature `time-zones`).")]
    /// A [fixed window](Quota::fixed_window).
    ///
    /// # Panics
    /// When `limit` is 0.
    pub const fn per_calendar_day(limit: u32) -> Quota {
        Quota::new(limit, DAY).by_calendar(Unit::Day)
    }

    /// `limit` requests in each month of the calendar. As for
    /// [`per_calendar_day`](Quota::per_calendar_day).
    ///
    /// # Panics
    /// When `limit` is 0.
    pub const fn per_calendar_month(limit: u32) -> Quota {
        Quota::new(limit, Duration::from_secs(31 * 24 * 60 * 60)).by_calendar(Unit::Month)
    }

    const fn by_calendar(mut self, unit: Unit) -> Quota {
        self.algorithm = Algorithm::Calendar(Calendar { unit, zone: Zone::Utc });
        self
    }

    /// Days and months of the calendar begin at midnight in this time zone of the IANA database,
    /// such as `Europe/Berlin`. A day has 23 or 25 hours there when the clock is changed.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::Quota;
    ///
    /// let daily = Quota::per_calendar_day(1_000).in_time_zone("Europe/Berlin").unwrap();
    /// assert!(Quota::per_calendar_day(1).in_time_zone("Europe/Atlantis").is_err());
    /// ```
    ///
    /// # Errors
    /// When the database has no such name.
    ///
    /// # Panics
    /// When the quota is not of a calendar's days or months.
    #[cfg(feature = "time-zones")]
    #[cfg_attr(docsrs, doc(cfg(feature = "time-zones")))]
    pub fn in_time_zone(mut self, name: &str) -> Result<Quota, UnknownTimeZone> {
        let Algorithm::Calendar(calendar) = &mut self.algorithm else {
            panic!("only `per_calendar_day` and `per_calendar_month` have a time zone");
        };
        let zone = super::zone::Named::find(name).ok_or(UnknownTimeZone)?;
        calendar.zone = Zone::Named(zone);
        Ok(self)
    }

    /// Counted as a token bucket, which is another name for GCRA, and so for what a quota is counted
    /// by anyway: a bucket of [`burst`](Quota::burst) tokens that fills at the quota's rate.
    pub const fn token_bucket(mut self) -> Quota {
        self.algorithm = Algorithm::Gcra;
        self
    }

    /// Never more than the limit in any window of the period's length, at GCRA's cost: with a burst
    /// of b, requests come back at (limit − b) in each period. The burst is half the limit unless
    /// set.
    ///
    /// # Panics
    /// When the burst is the whole limit: then nothing would come back. A limit of 1 has no choice.
    /// And when the burst would take more than ten years to come back.
    pub const fn guaranteed(mut self) -> Quota {
        assert!(
            self.limit.get() == 1 || self.burst_or(0) < self.limit.get(),
            "a guaranteed quota needs a burst below its limit: what is above comes back"
        );
        self.algorithm = Algorithm::Guaranteed;
        self.checked()
    }

    /// Counted in windows that begin with a key's first request after the last one's end.
    ///
    /// # Panics
    /// When a burst was set: only GCRA has one.
    pub const fn fixed_window(self) -> Quota {
        self.counted(Algorithm::FixedWindow)
    }

    /// Counted in windows that begin at multiples of the period, for all keys at the same time: on
    /// the minute, on the hour.
    ///
    /// # Panics
    /// When a burst was set: only GCRA has one.
    pub const fn aligned_window(self) -> Quota {
        self.counted(Algorithm::AlignedWindow)
    }

    /// Counted in two windows of which the older one fades: previous × (rest of this window) + this
    /// window's.
    ///
    /// It takes the previous window's requests for evenly spread. Where they all came at its end, up
    /// to nearly twice the limit may come within one period; where they came at its beginning, some
    /// are refused that [`sliding_log`](Quota::sliding_log) would admit.
    ///
    /// # Panics
    /// When a burst was set: only GCRA has one.
    pub const fn sliding_window(self) -> Quota {
        self.counted(Algorithm::SlidingWindow)
    }

    /// Counted exactly: never more than the limit in any window, and nothing refused that would
    /// fit. Each admitted request takes some 20 bytes until it is a period old. In process a key
    /// has room for some 130,000, by the [capacity](crate::StoreBuilder::memory_capacity) that a
    /// store has unless set: what comes beyond them goes by the layer's fallback.
    ///
    /// # Panics
    /// When the limit is above a million, or a burst was set: only GCRA has one.
    pub const fn sliding_log(self) -> Quota {
        assert!(self.limit.get() <= LONGEST_LOG, "a log has a limit of at most a million");
        self.counted(Algorithm::SlidingLog)
    }

    /// With the last of its attempts, a key is locked out: for the first of `steps`, the next time
    /// for the second, and so on; the last one is repeated. After it, all attempts are there again.
    ///
    /// Attempts add up within the quota's period from the first one on. What is refused changes
    /// nothing, so nobody can push the end out. How often a key was locked out is forgotten when
    /// nothing was counted for the period, or the longest of the steps, whichever is longer. In
    /// process a lockout is forgotten before that only where nearly all that the
    /// [memory](crate::StoreBuilder::memory_capacity) holds is shut.
    ///
    /// To count failures alone, [settle](crate::rate_limit::Limit::settle) the attempts.
    ///
    /// # Panics
    /// When there are no steps or more than 8, one of them is shorter than a second or longer than
    /// a year, or a burst was set.
    pub fn lockout<const N: usize>(self, steps: [Duration; N]) -> Quota {
        self.counted(Algorithm::Lockout(Steps::new(&steps)))
    }

    const fn counted(mut self, algorithm: Algorithm) -> Quota {
        assert!(
            self.burst.is_none(),
            "only GCRA, which a quota is counted by unless told otherwise, has a burst"
        );
        self.algorithm = algorithm;
        self
    }

    /// At most `burst` requests at once. One above the limit is told to clients as a quota of its
    /// own, at the same rate: `per_second(5).burst(20)` as 20 in 4 seconds.
    ///
    /// # Panics
    /// When `burst` is 0, or so large that it would take more than ten years to come back, or the
    /// quota is not counted by GCRA.
    pub const fn burst(mut self, burst: u32) -> Quota {
        let Some(burst) = NonZeroU32::new(burst) else {
            panic!("a burst of 0 allows nothing: give a burst of at least 1");
        };
        assert!(
            matches!(self.algorithm, Algorithm::Gcra | Algorithm::Guaranteed),
            "only GCRA, which a quota is counted by unless told otherwise, has a burst"
        );
        self.burst = Some(burst);
        match self.algorithm {
            Algorithm::Guaranteed => self.guaranteed(),
            _ => self.checked(),
        }
    }

    const fn checked(self) -> Quota {
        let refill = micros(self.period) as u128 * self.burst_size() as u128 / self.rate() as u128;
        assert!(refill <= LONGEST.as_micros(), "a burst comes back within ten years");
        self
    }

    /// How many requests come back in each period.
    const fn rate(&self) -> u32 {
        match self.algorithm {
            Algorithm::Guaranteed => match self.limit.get().saturating_sub(self.burst_size()) {
                // With a limit of 1 the next one fits exactly when the first is a period old.
                0 => 1,
                rate => rate,
            },
            _ => self.limit.get(),
        }
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
        match self.algorithm {
            // A limit of 1 has no choice.
            Algorithm::Guaranteed if self.limit.get() == 1 => 1,
            Algorithm::Guaranteed => self.burst_or(self.limit.get() / 2),
            _ => self.burst_or(self.limit.get()),
        }
    }

    const fn burst_or(&self, other: u32) -> u32 {
        match self.burst {
            Some(burst) => burst.get(),
            None => other,
        }
    }

    /// What is told to clients: how much in which window, where that has a length. Never less than
    /// may remain: a burst above the limit is the same rate, said of the time in which it comes
    /// back.
    pub(crate) fn told(&self) -> (u32, Option<Duration>) {
        let (limit, burst) = (self.limit.get(), self.burst_size());
        if burst > limit {
            let nanos = self.period.as_nanos() * u128::from(burst) / u128::from(limit);
            // Ten years at most.
            return (burst, u64::try_from(nanos).ok().map(Duration::from_nanos));
        }
        let is_month =
            matches!(self.algorithm, Algorithm::Calendar(Calendar { unit: Unit::Month, .. }));
        (limit, (!is_month).then_some(self.period))
    }

    pub(crate) fn counting(&self) -> Counting {
        let (limit, period) = (self.limit.get(), micros(self.period));
        match self.algorithm {
            Algorithm::Gcra | Algorithm::Guaranteed => {
                Counting::Gcra(Gcra::new(self.rate(), period, self.burst_size()))
            }
            Algorithm::FixedWindow => {
                Counting::FixedWindow(FixedWindow::new(limit, Opening::FirstRequest(period)))
            }
            Algorithm::AlignedWindow => {
                Counting::FixedWindow(FixedWindow::new(limit, Opening::Multiples(period)))
            }
            Algorithm::Calendar(calendar) => {
                Counting::FixedWindow(FixedWindow::new(limit, Opening::Calendar(calendar)))
            }
            Algorithm::SlidingWindow => Counting::SlidingWindow(SlidingWindow::new(limit, period)),
            Algorithm::SlidingLog => Counting::SlidingLog(SlidingLog::new(limit, period)),
            Algorithm::Lockout(steps) => Counting::Lockout(Lockout::new(limit, period, steps)),
        }
    }

    /// This quota for one process, by GCRA: a rate and a burst that are no more generous in any
    /// window than the quota itself. The time that one request is worth, and the burst.
    pub(crate) fn in_process(&self) -> (Duration, u32) {
        let guaranteed =
            |period| Quota { algorithm: Algorithm::Guaranteed, burst: None, period, ..*self };
        let by_gcra = match self.algorithm {
            Algorithm::Gcra | Algorithm::Guaranteed => *self,
            // Who has tried too often is shut out for no longer than its longest step.
            Algorithm::Lockout(steps) => {
                guaranteed(self.period.max(Duration::from_micros(steps.longest())))
            }
            _ => guaranteed(self.period),
        };
        // Rounded up: never more generous.
        let nanos = by_gcra.period.as_nanos().div_ceil(u128::from(by_gcra.rate())).max(1);
        (Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)), by_gcra.burst_size())
    }
}
