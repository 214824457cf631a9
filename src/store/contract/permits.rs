use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::named;
use crate::Store;
use crate::store::keys::Subject;
use crate::store::verbs::{AcquirePermit, Acquired, Claim, ReleasePermit, RenewPermits, Semaphore};

const MINUTE: Duration = Duration::from_secs(60);

fn claim(name: &str, subject: &str, permits: u32, lease: Duration) -> Claim {
    let semaphore = Semaphore { name: name.into(), permits, lease };
    Claim::new(Arc::new(semaphore), Subject::Named(named(subject)))
}

/// The same holder's, where there are as many permits.
fn of(claim: &Claim, permits: u32) -> Claim {
    let semaphore = Semaphore { permits, ..Semaphore::clone(&claim.semaphore) };
    Claim { semaphore: Arc::new(semaphore), ..claim.clone() }
}

async fn acquire(store: &Store, claim: &Claim) -> Acquired {
    store.ask(AcquirePermit(claim.clone())).await.unwrap()
}

async fn release(store: &Store, claim: &Claim) -> bool {
    store.ask(ReleasePermit(claim.clone())).await.unwrap()
}

fn held(held: u64) -> Acquired {
    Acquired { is_held: true, held }
}

fn none_free(held: u64) -> Acquired {
    Acquired { is_held: false, held }
}

pub(super) async fn as_many_permits_are_held_as_there_are(store: Store) {
    let claims: Vec<_> = (0..4).map(|_| claim("a", "ada", 3, MINUTE)).collect();
    for (number, claim) in claims[..3].iter().enumerate() {
        assert_eq!(acquire(&store, claim).await, held(number as u64 + 1));
    }
    assert_eq!(acquire(&store, &claims[3]).await, none_free(3));
    assert_eq!(acquire(&store, &claims[1]).await, held(3), "it has one");
    assert!(release(&store, &claims[0]).await);
    assert!(!release(&store, &claims[0]).await);
    assert!(!release(&store, &claims[3]).await, "it had none");
    assert_eq!(acquire(&store, &claims[3]).await, held(3));
    for other in [claim("a", "bob", 3, MINUTE), claim("b", "ada", 3, MINUTE)] {
        assert_eq!(acquire(&store, &other).await, held(1));
    }
}

pub(super) async fn a_permit_is_free_after_its_lease(store: Store) {
    let long = claim("a", "ada", 2, MINUTE);
    let short = claim("a", "ada", 2, Duration::from_secs(2));
    let late = claim("a", "ada", 2, MINUTE);
    assert_eq!(acquire(&store, &long).await, held(1));
    assert_eq!(acquire(&store, &short).await, held(2));
    assert_eq!(acquire(&store, &late).await, none_free(2));
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert_eq!(acquire(&store, &late).await, held(2));
    assert_eq!(acquire(&store, &short).await, none_free(2), "it has expired");
}

pub(super) async fn renewed_permits_are_held_each_by_itself(store: Store) {
    let lease = Duration::from_secs(3);
    let [one, two, other] =
        [("a", 2), ("a", 2), ("b", 1)].map(|(name, permits)| claim(name, "ada", permits, lease));
    let latecomer = claim("b", "ada", 1, MINUTE);
    for claim in [&one, &two, &other] {
        assert!(acquire(&store, claim).await.is_held);
    }
    assert!(release(&store, &other).await);
    assert!(acquire(&store, &latecomer).await.is_held);
    for _ in 0..4 {
        tokio::time::sleep(lease / 3).await;
        let claims = vec![one.clone(), other.clone(), two.clone()];
        let answers = store.ask(RenewPermits(claims)).await.unwrap();
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [held(2), none_free(1), held(2)]);
    }
    assert_eq!(acquire(&store, &claim("a", "ada", 2, MINUTE)).await, none_free(2));
    assert!(release(&store, &latecomer).await);
    // What was lost is had again where there is room.
    let again = store.ask(RenewPermits(vec![other.clone()])).await.unwrap();
    assert_eq!(again[0].as_ref().unwrap(), &held(1));
}

pub(super) async fn a_changed_number_of_permits_takes_none_away(store: Store) {
    let claims: Vec<_> = (0..4).map(|_| claim("a", "ada", 4, MINUTE)).collect();
    for claim in &claims {
        assert!(acquire(&store, claim).await.is_held);
    }
    assert_eq!(acquire(&store, &claim("a", "ada", 2, MINUTE)).await, none_free(4));
    assert_eq!(acquire(&store, &of(&claims[0], 2)).await, held(4), "who has one keeps it");
    for claim in &claims[..2] {
        assert!(release(&store, claim).await);
    }
    assert_eq!(acquire(&store, &claim("a", "ada", 2, MINUTE)).await, none_free(2));
    assert_eq!(acquire(&store, &claim("a", "ada", 3, MINUTE)).await, held(3));
}

pub(super) async fn of_concurrent_claims_as_many_are_held_as_there_are(store: Store) {
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        let claim = claim("a", "ada", 10, MINUTE);
        callers.spawn(async move { acquire(&store, &claim).await });
    }
    let answers = callers.join_all().await;
    let mut held: Vec<_> = answers.iter().filter(|it| it.is_held).map(|it| it.held).collect();
    held.sort_unstable();
    assert_eq!(held, (1..=10).collect::<Vec<_>>());
    assert!(answers.iter().all(|it| it.is_held || it.held == 10));
}
