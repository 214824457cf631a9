use std::time::Duration;

use tokio::task::JoinSet;

use super::named;
use crate::Store;
use crate::store::verbs::{AcquireLock, Holder, ReleaseLock, RenewLock};

const MINUTE: Duration = Duration::from_secs(60);

async fn acquire(store: &Store, lock: &str, holder: Holder, time_to_live: Duration) -> Option<u64> {
    store.ask(AcquireLock { name: named(lock), holder, time_to_live }).await.unwrap()
}

async fn renew(store: &Store, lock: &str, holder: Holder, time_to_live: Duration) -> bool {
    store.ask(RenewLock { name: named(lock), holder, time_to_live }).await.unwrap()
}

async fn release(store: &Store, lock: &str, holder: Holder) -> bool {
    store.ask(ReleaseLock { name: named(lock), holder }).await.unwrap()
}

pub(super) async fn a_lock_has_one_holder_until_it_is_released(store: Store) {
    let [ada, bob] = [Holder::random(), Holder::random()];
    assert!(acquire(&store, "a", ada, MINUTE).await.is_some());
    assert_eq!(acquire(&store, "a", bob, MINUTE).await, None);
    assert_eq!(acquire(&store, "a", ada, MINUTE).await, None);
    assert!(acquire(&store, "b", bob, MINUTE).await.is_some());
    assert!(release(&store, "a", ada).await);
    assert!(!release(&store, "a", ada).await);
    assert!(acquire(&store, "a", bob, MINUTE).await.is_some());
}

pub(super) async fn a_lock_is_held_for_its_time_from_the_last_renewal_on(store: Store) {
    let [ada, bob] = [Holder::random(), Holder::random()];
    assert!(acquire(&store, "a", ada, Duration::from_millis(1_000)).await.is_some());
    assert!(renew(&store, "a", ada, Duration::from_millis(2_000)).await);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(acquire(&store, "a", bob, MINUTE).await, None);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert!(!renew(&store, "a", ada, MINUTE).await);
    assert!(!release(&store, "a", ada).await);
    assert!(acquire(&store, "a", bob, MINUTE).await.is_some());
}

pub(super) async fn only_its_holder_renews_or_releases_a_lock(store: Store) {
    let [ada, bob] = [Holder::random(), Holder::random()];
    assert!(!renew(&store, "a", ada, MINUTE).await);
    assert!(acquire(&store, "a", ada, MINUTE).await.is_some());
    assert!(!renew(&store, "a", bob, MINUTE).await);
    assert!(!release(&store, "a", bob).await);
    assert!(renew(&store, "a", ada, MINUTE).await);
}

pub(super) async fn fencing_numbers_rise_from_holder_to_holder(store: Store) {
    let mut last = 0;
    for round in 0..50 {
        let holder = Holder::random();
        let time_to_live = if round % 10 == 0 { Duration::from_millis(20) } else { MINUTE };
        let number = acquire(&store, "a", holder, time_to_live).await.expect("it is free");
        assert!(number > last, "{number} after {last}");
        last = number;
        if time_to_live == MINUTE {
            assert!(release(&store, "a", holder).await);
        } else {
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
}

pub(super) async fn of_concurrent_callers_one_gets_the_lock(store: Store) {
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        callers.spawn(async move { acquire(&store, "a", Holder::random(), MINUTE).await });
    }
    assert_eq!(callers.join_all().await.into_iter().flatten().count(), 1);
}
