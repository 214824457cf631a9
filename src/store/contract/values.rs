use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Store;
use crate::store::place::{Namespace, Place};
use crate::store::verbs::{
    DeleteValues, DeleteValuesIf, ExpireValue, Increment, LoadValues, StoreValue, StoreValues,
    TakeValue, TimeToLive,
};

const MINUTE: Duration = Duration::from_secs(60);

fn place(text: &str) -> Place {
    Namespace::new("things").place(text).unwrap()
}

fn store_value(text: &str, value: &'static str, time_to_live: Duration) -> StoreValue {
    let value = Bytes::from_static(value.as_bytes());
    StoreValue { place: place(text), value, time_to_live, if_absent: false }
}

async fn load(store: &Store, texts: &[&str]) -> Vec<Option<Bytes>> {
    let places = texts.iter().map(|text| place(text)).collect();
    store.ask(LoadValues { places }).await.unwrap()
}

async fn increment(store: &Store, text: &str, by: i64) -> Option<i64> {
    store.ask(Increment { place: place(text), by, time_to_live: MINUTE }).await.unwrap()
}

pub(super) async fn a_value_is_there_until_it_expires(store: Store) {
    assert!(store.ask(store_value("a", "one", Duration::from_millis(1_000))).await.unwrap());
    assert!(store.ask(store_value("b", "", MINUTE)).await.unwrap());
    let both = load(&store, &["b", "none", "a"]).await;
    assert_eq!(both, [Some("".into()), None, Some("one".into())]);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(load(&store, &["a"]).await, [None]);
    assert!(store.ask(store_value("b", "two", MINUTE)).await.unwrap());
    assert_eq!(load(&store, &["b"]).await, [Some("two".into())]);
}

pub(super) async fn values_are_stored_and_deleted_together_each_by_itself(store: Store) {
    let values = ["a", "b", "a"].map(|text| (place(text), Bytes::from_static(text.as_bytes())));
    let values = [&values[..], &[(place("a"), "last".into())]].concat();
    let stored = store.ask(StoreValues { values, time_to_live: MINUTE }).await.unwrap();
    assert_eq!(stored, [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(load(&store, &["a", "b"]).await, [Some("last".into()), Some("b".into())]);
    let places = ["none", "a", "a"].map(place).to_vec();
    let deleted = store.ask(DeleteValues { places }).await.unwrap();
    assert_eq!(deleted, [Ok(false), Ok(true), Ok(false)]);
    assert_eq!(load(&store, &["a", "b"]).await, [None, Some("b".into())]);
}

pub(super) async fn a_value_is_stored_once_where_there_was_none(store: Store) {
    let first = StoreValue { if_absent: true, ..store_value("a", "first", MINUTE) };
    let second = StoreValue { if_absent: true, ..store_value("a", "second", MINUTE) };
    assert!(store.ask(first).await.unwrap());
    assert!(!store.ask(second.clone()).await.unwrap());
    assert_eq!(load(&store, &["a"]).await, [Some("first".into())]);
    store.ask(DeleteValues { places: vec![place("a")] }).await.unwrap();
    assert!(store.ask(second).await.unwrap());
}

pub(super) async fn one_caller_takes_a_value(store: Store) {
    store.ask(store_value("a", "one", MINUTE)).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        callers.spawn(async move { store.ask(TakeValue { place: place("a") }).await.unwrap() });
    }
    let taken: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken, ["one"]);
    assert_eq!(load(&store, &["a"]).await, [None]);
}

pub(super) async fn a_value_is_deleted_only_while_it_is_the_same(store: Store) {
    store.ask(store_value("a", "new", MINUTE)).await.unwrap();
    let delete = |value: &'static str| {
        let values = ["a", "none"].map(|text| (place(text), value.into())).to_vec();
        store.ask(DeleteValuesIf { values })
    };
    assert_eq!(delete("old").await.unwrap(), [Ok(false), Ok(false)]);
    assert_eq!(load(&store, &["a"]).await, [Some("new".into())]);
    assert_eq!(delete("new").await.unwrap(), [Ok(true), Ok(false)]);
    assert_eq!(load(&store, &["a"]).await, [None]);
}

pub(super) async fn a_time_to_live_can_be_changed_and_asked_for(store: Store) {
    let ask = || store.ask(TimeToLive { place: place("a") });
    let expire = |time_to_live| store.ask(ExpireValue { place: place("a"), time_to_live });
    assert_eq!(ask().await.unwrap(), None);
    assert!(!expire(MINUTE).await.unwrap());
    store.ask(store_value("a", "one", MINUTE)).await.unwrap();
    let left = ask().await.unwrap().unwrap();
    assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
    assert!(expire(2 * MINUTE).await.unwrap());
    assert!(ask().await.unwrap().unwrap() > MINUTE);
    assert!(expire(Duration::from_millis(50)).await.unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ask().await.unwrap(), None);
    // The longest that can be asked for.
    store.ask(store_value("a", "one", Duration::MAX)).await.unwrap();
    assert!(ask().await.unwrap().unwrap() > Duration::from_secs(1 << 30));
}

pub(super) async fn a_counter_counts_what_every_caller_adds(store: Store) {
    let mut callers = JoinSet::new();
    for by in 1..=50 {
        let store = store.clone();
        callers.spawn(async move { increment(&store, "a", by).await });
    }
    callers.join_all().await;
    assert_eq!(increment(&store, "a", -1_275).await, Some(0));
    assert_eq!(load(&store, &["a"]).await, [Some("0".into())]);
    // Beyond the range of a double.
    assert_eq!(increment(&store, "a", (1 << 53) + 1).await, Some((1 << 53) + 1));
}

pub(super) async fn a_counter_ends_after_its_time_however_often_it_is_added_to(store: Store) {
    let time_to_live = Duration::from_millis(2_000);
    let add = || store.ask(Increment { place: place("a"), by: 1, time_to_live });
    assert_eq!(add().await.unwrap(), Some(1));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(add().await.unwrap(), Some(2));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(add().await.unwrap(), Some(1));
}

pub(super) async fn what_is_no_counter_is_left_alone(store: Store) {
    for value in ["", "x", "1.5", "+1", "01", " 1", "-0", "9223372036854775808"] {
        store.ask(store_value("a", value, MINUTE)).await.unwrap();
        assert_eq!(increment(&store, "a", 1).await, None, "{value:?}");
        assert_eq!(load(&store, &["a"]).await, [Some(value.into())]);
    }
    store.ask(store_value("a", "9223372036854775807", MINUTE)).await.unwrap();
    assert_eq!(increment(&store, "a", 1).await, None);
    assert_eq!(increment(&store, "a", i64::MIN).await, Some(-1));
    assert_eq!(increment(&store, "a", i64::MIN).await, None);
}
