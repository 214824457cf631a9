use std::time::Duration;

use crate::Store;
use crate::store::place::Namespace;
use crate::store::verbs::{Leave, Touch, WhoIsPresent};

const MINUTE: Duration = Duration::from_secs(60);

async fn touch(store: &Store, who: &str, time_to_live: Duration) {
    let presence = Namespace::new("site").whole();
    store.ask(Touch { presence, who: who.into(), time_to_live }).await.unwrap();
}

async fn leave(store: &Store, who: &str) {
    let presence = Namespace::new("site").whole();
    store.ask(Leave { presence, who: who.into() }).await.unwrap();
}

async fn present(store: &Store, limit: u64) -> (u64, Vec<String>) {
    let presence = Namespace::new("site").whole();
    let present = store.ask(WhoIsPresent { presence, limit }).await.unwrap();
    (present.count, present.who)
}

fn are(who: &[&str]) -> (u64, Vec<String>) {
    (who.len() as u64, who.iter().map(|who| (*who).to_owned()).collect())
}

pub(super) async fn somebody_is_present_for_a_while(store: Store) {
    assert_eq!(present(&store, 10).await, are(&[]));
    leave(&store, "ada").await;
    touch(&store, "ada", Duration::from_millis(1_000)).await;
    touch(&store, "bob", 2 * MINUTE).await;
    touch(&store, "cy", MINUTE).await;
    assert_eq!(present(&store, 10).await, are(&["bob", "cy", "ada"]));
    assert_eq!(present(&store, 2).await, (3, are(&["bob", "cy"]).1));
    assert_eq!(present(&store, 0).await, (3, vec![]));
    assert_eq!(present(&store, u64::MAX).await, are(&["bob", "cy", "ada"]));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(present(&store, 10).await, are(&["bob", "cy"]));
    leave(&store, "bob").await;
    assert_eq!(present(&store, 10).await, are(&["cy"]));
}

pub(super) async fn the_last_touch_counts(store: Store) {
    touch(&store, "ada", MINUTE).await;
    touch(&store, "bob", Duration::from_millis(1_000)).await;
    touch(&store, "bob", 2 * MINUTE).await;
    touch(&store, "ada", Duration::from_millis(1_000)).await;
    assert_eq!(present(&store, 10).await, are(&["bob", "ada"]));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(present(&store, 10).await, are(&["bob"]));
    touch(&store, "ada", Duration::MAX).await;
    assert_eq!(present(&store, 10).await, are(&["ada", "bob"]));
}
