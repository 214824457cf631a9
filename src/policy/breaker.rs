//! When a connection is given up, and how long to wait before the next attempt.

use std::time::Duration;

/// Deadlines missed in a row before a connection counts as hung.
pub(crate) const DEADLINES: u32 = 3;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// The longest wait before an attempt to connect: service is to be whole 200 ms after Redis is, and
/// what is left of that is for connecting. An attempt that is refused costs one packet each way.
const LONGEST_DIAL: Duration = Duration::from_millis(150);

/// How a call on a connection failed, as far as the connection's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure<'a> {
    /// Nothing came within the deadline, for the `n`th time in a row.
    Deadline { in_a_row: u32 },
    /// The socket failed or closed.
    Disconnected,
    /// The server replied with an error of this code (`READONLY`, `WRONGTYPE`, …).
    ErrorReply { code: &'a str },
}

/// Whether a connection should be given up after `failure`.
///
/// An error reply speaks of the connection only when every other command on it would fare the
/// same: a role or a password has changed, or the server is not ready. `WRONGTYPE`, `NOPERM` and a
/// plain `ERR` speak of one command, and giving up for them would let one bad key take every
/// request down.
pub(crate) fn gives_up(failure: Failure<'_>) -> bool {
    match failure {
        Failure::Deadline { in_a_row } => in_a_row >= DEADLINES,
        Failure::Disconnected => true,
        Failure::ErrorReply { code } => {
            matches!(code, "READONLY" | "NOAUTH" | "WRONGPASS" | "MASTERDOWN" | "LOADING")
        }
    }
}

/// The wait before attempt `attempt` (0 is the first after a failure): full jitter over an
/// exponential bound. `random` is in `0.0..1.0`.
///
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
pub(crate) fn backoff(attempt: u32, random: f64) -> Duration {
    jittered(attempt, LONGEST, random)
}

/// As [`backoff`], before an attempt to connect.
pub(crate) fn dial_backoff(attempt: u32, random: f64) -> Duration {
    jittered(attempt, LONGEST_DIAL, random)
}

fn jittered(attempt: u32, longest: Duration, random: f64) -> Duration {
    let bound = FIRST.saturating_mul(1 << attempt.min(16)).min(longest);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_command_does_not_give_the_connection_up() {
        for code in ["WRONGTYPE", "NOPERM", "ERR", "OOM", "NOSCRIPT", "BUSY"] {
            assert!(!gives_up(Failure::ErrorReply { code }), "{code}");
        }
        for code in ["READONLY", "NOAUTH", "MASTERDOWN", "LOADING"] {
            assert!(gives_up(Failure::ErrorReply { code }), "{code}");
        }
    }

    #[test]
    fn the_third_deadline_in_a_row_gives_up() {
        assert_eq!(
            [1, 2, 3].map(|in_a_row| gives_up(Failure::Deadline { in_a_row })),
            [false, false, true]
        );
    }

    #[test]
    fn backoff_grows_from_ten_to_five_hundred_milliseconds() {
        assert_eq!(backoff(0, 1.0), Duration::from_millis(10));
        assert_eq!(backoff(3, 1.0), Duration::from_millis(80));
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_millis(500));
        assert_eq!(backoff(9, 0.0), Duration::ZERO);
        assert_eq!(dial_backoff(3, 1.0), Duration::from_millis(80));
        assert_eq!(dial_backoff(u32::MAX, 1.0), Duration::from_millis(150));
    }
}
