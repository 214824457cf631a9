use std::time::SystemTime;

use tokio::time::Instant;

use crate::policy::{Timestamp, micros};

/// The in-process store's clock: wall time at the start, monotonic from there on.
///
/// It is tokio's clock, so a test that pauses and advances tokio's time moves the store along.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the in-process store's clock")]
    pub(super) fn new() -> Clock {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Clock { started: Instant::now(), started_at: micros(since_epoch.unwrap_or_default()) }
    }

    pub(super) fn started_at(&self) -> Timestamp {
        Timestamp(self.started_at)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the in-process store's clock")]
    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        let elapsed = Instant::now().duration_since(self.started);
        // As for all of `as_micros`, without its 128 bits.
        let micros = elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros());
        Timestamp(self.started_at + micros)
    }
}
