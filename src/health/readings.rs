use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Contents, Interval, ServerInfo};
use crate::policy::monitoring::{Demands, Observed};
use crate::stopwatch::Stopwatch;
use crate::store::verbs::ReadInfo;
use crate::{Health, Store, StoreError};

/// What was read of one store, by whoever asked first in each second.
#[derive(Default)]
pub(super) struct Readings {
    /// Held by the one request that asks. Those that find it held wait for what it reads, which the
    /// store's deadline bounds.
    flight: tokio::sync::Mutex<()>,
    latest: Mutex<Latest>,
}

/// What is known at a moment.
#[derive(Clone, Default)]
pub(super) struct Latest {
    pub(super) reading: Option<Arc<Reading>>,
    pub(super) asked: Option<Asked>,
    /// The connection on which settings are kept from this user.
    settings_refused: Option<u64>,
}

/// The latest time that the server was asked.
#[derive(Clone)]
pub(super) struct Asked {
    since: Stopwatch,
    /// `None` while the answer is awaited, or when nobody awaits it any more.
    pub(super) outcome: Option<Result<(), StoreError>>,
}

pub(super) struct Reading {
    pub(super) info: ServerInfo,
    pub(super) interval: Option<Interval>,
    pub(super) read: Stopwatch,
}

/// How long a reading is good for.
const FRESH: Duration = Duration::from_secs(1);

/// How long it is when it says that nothing is to be read: the server notes each refusal.
const WITHHELD: Duration = Duration::from_secs(60);

impl Readings {
    /// What is known, once the server has been asked if that is due and it is there.
    pub(super) async fn latest(&self, store: &Store, demands: &Demands) -> (Health, Latest) {
        if store.health().is_up() && self.lock().is_due() {
            let _flight = self.flight.lock().await;
            // Somebody else may have asked while this waited, and found that nobody is there.
            let health = store.health();
            if health.is_up() && self.lock().is_due() {
                self.ask(store, demands, health.generation()).await;
            }
        }
        let latest = self.lock().clone();
        (store.health(), latest)
    }

    async fn ask(&self, store: &Store, demands: &Demands, connection: u64) {
        let wanted = demands.contents == Contents::Lasting;
        let with_settings = wanted && self.lock().settings_refused != Some(connection);
        self.lock().asked = Some(Asked { since: Stopwatch::start(), outcome: None });
        let reported = store.read_info(ReadInfo { with_settings }).await;
        let mut latest = self.lock();
        if reported.as_ref().is_ok_and(|reported| reported.settings_refused) {
            latest.settings_refused = Some(connection);
        }
        let outcome = reported.and_then(|reported| reported.info).map(|info| latest.take_in(info));
        if let Some(asked) = &mut latest.asked {
            asked.outcome = Some(outcome);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// Whoever left while waiting for the answer has asked all the same, so that coming and leaving
    /// does not make anybody ask more often; only while nothing is known is it asked again.
    fn is_due(&self) -> bool {
        let Some(Asked { since, outcome }) = &self.asked else { return true };
        let fresh = match &self.reading {
            None if outcome.is_none() => return true,
            Some(reading) if reading.info.is_withheld => WITHHELD,
            _ => FRESH,
        };
        since.elapsed() >= fresh
    }

    fn take_in(&mut self, info: ServerInfo) {
        let before = self.reading.as_deref();
        let interval = before.and_then(|it| info.since(&it.info, it.read.elapsed()));
        self.reading = Some(Arc::new(Reading { info, interval, read: Stopwatch::start() }));
    }

    /// What to judge by.
    pub(super) fn observed(&self, health: &Health) -> Observed<'_> {
        let failed = self.asked.as_ref().is_some_and(|asked| matches!(asked.outcome, Some(Err(_))));
        match &self.reading {
            _ if !health.is_up() => Observed::Away,
            Some(reading) if !failed => {
                let Reading { info, interval, .. } = &**reading;
                Observed::Answered { info, interval: interval.as_ref() }
            }
            _ => Observed::NoAnswer,
        }
    }
}
