use std::time::Duration;

use tokio::task::JoinSet;

use super::named;
use crate::Store;
use crate::policy::Quota;
use crate::policy::gcra::Gcra;
use crate::store::keys::Subject;
use crate::store::verbs::Take;

fn take(name: &str, subject: &str, quota: Quota) -> Take {
    let subject = Subject::Named(named(subject));
    Take { name: name.into(), subject, gcra: Gcra::new(quota), cost: 1 }
}

pub(super) async fn a_limit_admits_what_its_quota_says(store: Store) {
    let take = take("api", "ada", Quota::new(3, Duration::from_millis(600)));
    let mut allowed = Vec::new();
    for _ in 0..4 {
        allowed.push(store.ask(take.clone()).await.unwrap().allowed);
    }
    assert_eq!(allowed, [true, true, true, false]);
    tokio::time::sleep(Duration::from_millis(210)).await;
    assert!(store.ask(take.clone()).await.unwrap().allowed);
}

pub(super) async fn concurrent_callers_are_admitted_exactly(store: Store) {
    let take = take("api", "ada", Quota::per_day(37));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (store, take) = (store.clone(), take.clone());
        callers.spawn(async move { store.ask(take).await.unwrap().allowed });
    }
    let allowed = callers.join_all().await.into_iter().filter(|allowed| *allowed).count();
    assert_eq!(allowed, 37);
}

pub(super) async fn subjects_and_names_are_counted_apart(store: Store) {
    let once = Quota::per_day(1);
    for (name, subject) in [("api", "ada"), ("api", "bob"), ("web", "ada")] {
        assert!(store.ask(take(name, subject, once)).await.unwrap().allowed);
        assert!(!store.ask(take(name, subject, once)).await.unwrap().allowed);
    }
}

pub(super) async fn a_refusal_charges_nothing(store: Store) {
    let take = take("api", "ada", Quota::per_day(1));
    let first = store.ask(take.clone()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(store.ask(take.clone()).await.unwrap().arrival, first.arrival);
    }
}
