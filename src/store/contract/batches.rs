use std::time::Duration;

use tokio::task::JoinSet;

use crate::Store;
use crate::store::place::{Namespace, Place};
use crate::store::verbs::{Act, Batch, LoadValues, StoreValue, TimeToLive};

const MINUTE: Duration = Duration::from_secs(60);

fn place(text: &str) -> Place {
    Namespace::new("things").grouped("a group").place(text).unwrap()
}

fn set(text: &str, value: &'static str) -> Act {
    let (place, value) = (place(text), value.into());
    Act::Store { place, value, time_to_live: MINUTE, if_absent: false }
}

fn increment(text: &str, by: i64) -> [Act; 2] {
    let (place, value) = (place(text), "0".into());
    let begin = Act::Store { place: place.clone(), value, time_to_live: MINUTE, if_absent: true };
    [begin, Act::Add { place, by }]
}

async fn load(store: &Store, texts: &[&str]) -> Vec<Option<bytes::Bytes>> {
    store.ask(LoadValues { places: texts.iter().map(|text| place(text)).collect() }).await.unwrap()
}

pub(super) async fn a_batch_answers_each_act_in_its_place(store: Store) {
    let [begin, add] = increment("count", 7);
    let acts = vec![
        set("a", "one"),
        Act::Delete { place: place("a") },
        Act::Delete { place: place("a") },
        set("b", "two"),
        Act::Expire { place: place("b"), time_to_live: 2 * MINUTE },
        Act::Expire { place: place("none"), time_to_live: MINUTE },
        begin.clone(),
        add.clone(),
        begin,
        add,
    ];
    let done = store.ask(Batch { acts }).await.unwrap();
    assert_eq!(done, [1, 1, 0, 1, 1, 0, 1, 7, 0, 14].map(Ok));
    let left = load(&store, &["a", "b", "count"]).await;
    assert_eq!(left, [None, Some("two".into()), Some("14".into())]);
    let ask = |text| store.ask(TimeToLive { place: place(text) });
    assert!(ask("b").await.unwrap().unwrap() > MINUTE);
    assert!(ask("count").await.unwrap().unwrap() <= MINUTE);
}

pub(super) async fn nobody_sees_a_part_of_a_batch(store: Store) {
    let mut writers = JoinSet::new();
    for value in ["one", "two"] {
        let store = store.clone();
        writers.spawn(async move {
            for _ in 0..100 {
                let acts = vec![set("a", value), set("b", value)];
                store.ask(Batch { acts }).await.unwrap();
            }
        });
    }
    while writers.try_join_next().is_none() {
        let both = load(&store, &["a", "b"]).await;
        assert_eq!(both[0], both[1]);
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
}

pub(super) async fn an_addition_to_no_counter_is_an_error_in_its_place(store: Store) {
    let value = StoreValue {
        place: place("text"),
        value: "text".into(),
        time_to_live: MINUTE,
        if_absent: false,
    };
    store.ask(value).await.unwrap();
    let [begin, add] = increment("text", 1);
    let acts = vec![set("a", "one"), begin, add, set("b", "two")];
    let done = store.ask(Batch { acts }).await.unwrap();
    assert_eq!(done[..2], [Ok(1), Ok(0)]);
    assert!(done[2].as_ref().unwrap_err().is_not_a_counter());
    assert_eq!(done[3], Ok(1));
    let left = load(&store, &["a", "text", "b"]).await;
    assert_eq!(left, [Some("one".into()), Some("text".into()), Some("two".into())]);
}
