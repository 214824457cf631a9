use std::fmt;
use std::time::Duration;

use crate::policy::micros;

/// Times without attempts, each after the one before.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Steps {
    micros: [u64; MOST_STEPS],
    count: usize,
}

const MOST_STEPS: usize = 8;

const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Steps {
    pub(super) fn new(steps: &[Duration]) -> Steps {
        assert!(
            (1..=MOST_STEPS).contains(&steps.len()),
            "a lockout has 1 to {MOST_STEPS} steps (got {})",
            steps.len()
        );
        let mut lengths = [0; MOST_STEPS];
        for (to, step) in lengths.iter_mut().zip(steps) {
            assert!(
                *step >= Duration::from_secs(1) && *step <= LONGEST,
                "a lockout lasts a second to a year (got {step:?})"
            );
            *to = micros(*step);
        }
        Steps { micros: lengths, count: steps.len() }
    }

    /// The time for the `level`th time in a row, in microseconds.
    pub(crate) fn micros(&self, level: u32) -> u64 {
        let index = (level.max(1) as usize).min(self.count) - 1;
        self.micros[index]
    }

    pub(crate) fn longest(&self) -> u64 {
        self.all().iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn all(&self) -> &[u64] {
        &self.micros[..self.count]
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().iter().map(|step| Duration::from_micros(*step))).finish()
    }
}
