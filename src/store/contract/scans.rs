use std::collections::BTreeSet;
use std::time::Duration;

use crate::Store;
use crate::store::place::{Namespace, Place};
use crate::store::verbs::{Cursor, StoreValues};

async fn keep(store: &Store, places: Vec<Place>, time_to_live: Duration) {
    let values = places.into_iter().map(|place| (place, "x".into())).collect();
    store.ask(StoreValues { values, time_to_live }).await.unwrap();
}

async fn scan(store: &Store, namespace: &Namespace, prefix: &str) -> BTreeSet<String> {
    let prefix = namespace.prefix(prefix).unwrap();
    let mut found = BTreeSet::new();
    for target in store.scan_targets().unwrap() {
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            let page = store.scan_values(&target, &prefix, from).await.unwrap();
            let distinct: std::collections::HashSet<_> = page.places.iter().collect();
            assert_eq!(distinct.len(), page.places.len());
            found.extend(page.places.iter().map(|place| namespace.text(place).unwrap()));
            cursor = page.next;
        }
    }
    found
}

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn a_scan_finds_what_begins_with_the_prefix_and_nothing_else(store: Store) {
    let things = Namespace::new("things");
    let texts = ["a", "a*", "a*b", "a?", "a[b]", "a\\", "ab", "{a", "%", "%7", "\u{1}"];
    let places = |namespace: &Namespace| texts.map(|text| namespace.place(text).unwrap()).to_vec();
    keep(&store, places(&things), MINUTE).await;
    keep(&store, places(&things.grouped("a*")), MINUTE).await;
    keep(&store, places(&Namespace::new("things:a")), MINUTE).await;
    keep(&store, vec![things.place("a gone").unwrap()], Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    for namespace in [things.clone(), things.grouped("a*")] {
        for prefix in texts {
            let expected = texts.into_iter().filter(|text| text.starts_with(prefix));
            let expected: BTreeSet<String> = expected.map(str::to_owned).collect();
            assert_eq!(scan(&store, &namespace, prefix).await, expected, "{prefix:?}");
        }
    }
}

pub(super) async fn a_scan_finds_all_of_thousands(store: Store) {
    let things = Namespace::new("things");
    let texts: BTreeSet<String> = (0..3_000).map(|n| format!("n:{n}")).collect();
    let places = texts.iter().map(|text| things.place(text).unwrap()).collect();
    keep(&store, places, MINUTE).await;
    keep(&store, vec![things.place("m:1").unwrap()], MINUTE).await;
    assert_eq!(scan(&store, &things, "n:").await, texts);
}
