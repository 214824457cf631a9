use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Quota;

/// From the configuration: `100/minute`, `5/30s`, `10000/1day`.
///
/// A number, a slash, and a time: `ms`, `second`, `minute`, `hour` or `day`, also as `s`, `m`, `h`
/// and `d` or in the plural, with a number before it if it is not one.
///
/// ```
/// use std::time::Duration;
/// use tower_redis_kit::rate_limit::Quota;
///
/// assert_eq!("100/minute".parse(), Ok(Quota::per_minute(100)));
/// assert_eq!("5/30s".parse(), Ok(Quota::new(5, Duration::from_secs(30))));
/// let error = "0/second".parse::<Quota>().unwrap_err();
/// assert!(error.to_string().contains("0/second"));
/// ```
impl FromStr for Quota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Quota, InvalidQuota> {
        parse(text).ok_or_else(|| InvalidQuota { text: text.into() })
    }
}

fn parse(text: &str) -> Option<Quota> {
    let (limit, period) = text.split_once('/')?;
    let (limit, period) = (digits(limit.trim())?, period.trim());
    let unit = period.trim_start_matches(|it: char| it.is_ascii_digit());
    let count = match &period[..period.len() - unit.len()] {
        "" => 1,
        count => digits(count)?,
    };
    let millis = match unit.trim_start() {
        "ms" => 1,
        "s" | "second" | "seconds" => 1_000,
        "m" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    let period = Duration::from_millis(u64::from(count) * millis);
    Quota::is_possible(limit, period).then(|| Quota::new(limit, period))
}

/// Without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A text is no quota.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidQuota {
    text: Box<str>,
}

impl fmt::Display for InvalidQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no quota: write `100/minute` or `5/30s`, with at least 1 in at most ten years",
            self.text
        )
    }
}

impl std::error::Error for InvalidQuota {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_read() {
        for (text, limit, millis) in [
            ("1/s", 1, 1_000),
            (" 10 / minute ", 10, 60_000),
            ("10/1 minute", 10, 60_000),
            ("4294967295/250ms", u32::MAX, 250),
            ("7/2hours", 7, 7_200_000),
            ("7/90d", 7, 90 * 86_400_000),
        ] {
            let quota = Quota::new(limit, Duration::from_millis(millis));
            assert_eq!(text.parse(), Ok(quota), "{text}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "/",
            "10",
            "10/",
            "/minute",
            "0/minute",
            "-1/minute",
            "+1/minute",
            "1.5/s",
            "10/0s",
            "10/fortnight",
            "10/1s/2s",
            "10/-1s",
            "10 per minute",
            "4294967296/s",
            "1/4294967296s",
            "1/3661d",
            "1/4294967295d",
            "١/s",
            "10/١s",
            "10/MINUTE",
        ] {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }
}
