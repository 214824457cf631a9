use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;

/// The place of an entry in a [log](crate::toolbox::Log): when it was appended, by the store's
/// clock, and which of that millisecond's it was. Later entries have higher ids.
///
/// As text, and in JSON, it is the milliseconds since 1970, a `-` and a number.
///
/// ```
/// use tower_redis_kit::toolbox::LogId;
///
/// let id: LogId = "1735689600000-1".parse().unwrap();
/// assert!(id > LogId::START);
/// assert_eq!(id.to_string(), "1735689600000-1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    millis: u64,
    sequence: u64,
}

impl LogId {
    /// Before every entry.
    pub const START: LogId = LogId { millis: 0, sequence: 0 };

    /// The id of what is appended now, after this one. Never goes back, even if the clock does.
    pub(crate) fn next(self, now: Timestamp) -> LogId {
        let millis = now.0 / 1_000;
        if millis > self.millis {
            LogId { millis, sequence: 0 }
        } else {
            LogId { sequence: self.sequence + 1, ..self }
        }
    }

    /// When the entry was appended, to the millisecond.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        // The greatest that a `SystemTime` holds everywhere is far beyond any clock.
        let since_epoch = Duration::from_millis(self.millis.min(u64::MAX >> 16));
        SystemTime::UNIX_EPOCH + since_epoch
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// A text is no [`LogId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLogId(());

impl FromStr for LogId {
    type Err = InvalidLogId;

    fn from_str(text: &str) -> Result<LogId, InvalidLogId> {
        let digits = |text: &str| {
            let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| are_digits).ok_or(InvalidLogId(()))
        };
        let (millis, sequence) = text.split_once('-').ok_or(InvalidLogId(()))?;
        Ok(LogId { millis: digits(millis)?, sequence: digits(sequence)? })
    }
}

impl fmt::Display for InvalidLogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a log's entry is two numbers with a - in between")
    }
}

impl std::error::Error for InvalidLogId {}

impl Serialize for LogId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(millis: u64, sequence: u64) -> LogId {
        LogId { millis, sequence }
    }

    #[test]
    fn ids_rise_even_when_the_clock_goes_back() {
        let first = LogId::START.next(Timestamp(7_999));
        assert_eq!(first, id(7, 0));
        assert_eq!(first.next(Timestamp(7_000)), id(7, 1));
        assert_eq!(first.next(Timestamp(3_000)), id(7, 1));
        assert_eq!(first.next(Timestamp(8_000)), id(8, 0));
        assert_eq!(LogId::START.next(Timestamp(0)), id(0, 1));
        assert_eq!(first.time(), SystemTime::UNIX_EPOCH + Duration::from_millis(7));
        let _ = id(u64::MAX, 0).time();
    }

    #[test]
    fn what_is_no_id_is_an_error() {
        for text in ["", "-", "7", "7-", "-7", "+7-1", "7-+1", "7--1", "7-1-1", "x-1", " 7-1"] {
            assert!(text.parse::<LogId>().is_err(), "{text:?}");
        }
        assert!("18446744073709551616-0".parse::<LogId>().is_err());
    }

    proptest! {
        #[test]
        fn every_id_comes_back_from_its_text(millis: u64, sequence: u64) {
            let id = id(millis, sequence);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<LogId>(&json).unwrap(), id);
        }
    }
}
