use std::time::Duration;

use tokio::time::Instant;

/// Time that passes in this process: for ages and durations, never compared with the store's clock.
///
/// By tokio's clock, so a test that pauses and advances tokio's time moves it along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is where durations are measured")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
