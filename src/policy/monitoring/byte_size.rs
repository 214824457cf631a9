use std::fmt;

/// A number of bytes, which prints itself for people.
///
/// ```
/// use tower_redis_kit::health::ByteSize;
///
/// assert_eq!(ByteSize(1_536).to_string(), "1.50 KiB");
/// assert_eq!(ByteSize(999).to_string(), "999 B");
/// assert_eq!(ByteSize(2 << 30).to_string(), "2.00 GiB");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(
    /// The number of bytes.
    pub u64,
);

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1_024 {
            return write!(f, "{} B", self.0);
        }
        let mut size = self.0 as f64 / 1_024.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        // What rounds to 1024 of one unit is 1 of the next.
        while size >= 1_023.995 {
            let Some(larger) = units.next() else { break };
            size /= 1_024.0;
            unit = Some(larger);
        }
        write!(f, "{size:.2} {}", unit.unwrap_or(&"B"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_largest_unit_that_fits() {
        let table = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (256 << 20, "256.00 MiB"),
            (u64::MAX, "16.00 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
