use std::time::Duration;

use super::named;
use crate::Store;
use crate::policy::monitoring::{MemoryLimit, Mode};
use crate::store::verbs::{CheckRevoked, ReadInfo, RevokeToken};

pub(super) async fn a_store_tells_how_it_is_doing(store: Store) {
    let (there, absent) = (named("a token"), named("another"));
    store.ask(RevokeToken { token: there, time_to_live: Duration::from_secs(60) }).await.unwrap();
    let before = store.info().await.unwrap();
    assert!(before.software.is_some());
    assert_eq!(before.nodes.is_empty(), before.mode != Some(Mode::Cluster));
    assert!(!before.is_withheld);
    assert!(before.memory.used.unwrap().0 > 0);
    assert!(matches!(before.memory.limit, Some(MemoryLimit::At(_) | MemoryLimit::Unlimited)));
    for token in [there, absent, absent] {
        store.ask(CheckRevoked { token, subject: None }).await.unwrap();
    }
    let after = store.info().await.unwrap();
    assert!(after.uptime >= before.uptime && after.uptime.is_some());
    // Other facts use the same server.
    let interval = after.since(&before, Duration::from_secs(1)).unwrap();
    let lookups = interval.lookups.unwrap();
    assert!(lookups.hits >= 1 && lookups.misses >= 2, "{lookups:?}");
    assert_eq!(interval.evicted, Some(0));
}

pub(super) async fn settings_are_asked_for_only_when_wanted(store: Store) {
    let reported = store.ask(ReadInfo { with_settings: false }).await.unwrap();
    assert!(!reported.settings_refused);
    assert_eq!(reported.info.unwrap().persistence.snapshots, None);
}
