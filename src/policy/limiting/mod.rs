//! How limits count: one file per algorithm, each exact to its definition.
//!
//! A [`Quota`] says what is allowed; a [`Counting`] is that in the numbers which its algorithm
//! computes with. Every `Algorithm` does the same to its state: it brings it up to `now`, says
//! whether a cost fits, charges, refunds, and tells a caller where it stands.

mod algorithm;
mod calendar;
mod counting;
mod decision;
mod fixed_window;
mod gcra;
mod lockout;
mod quota;
mod sliding_log;
mod sliding_window;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod text;
#[cfg(feature = "time-zones")]
mod zone;

pub(crate) use self::calendar::Calendar;
pub(crate) use self::counting::{Act, Ask, Counting, Done, Look, Standing, State, Taken, Verdict};
pub(crate) use self::decision::Decision;
pub(crate) use self::fixed_window::{FixedWindow, Opening, Window};
pub(crate) use self::gcra::{Arrival, Gcra};
pub(crate) use self::lockout::{Failures, Lockout};
pub use self::quota::Quota;
pub(crate) use self::sliding_log::{Log, Logged, SlidingLog};
pub(crate) use self::sliding_window::{SlidingWindow, TwoWindows};
pub(crate) use self::steps::Steps;
pub use self::text::InvalidQuota;
#[cfg(feature = "time-zones")]
pub use self::zone::UnknownTimeZone;
