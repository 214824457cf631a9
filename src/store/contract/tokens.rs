use std::time::Duration;

use super::named;
use crate::Store;
use crate::policy::Timestamp;
use crate::store::verbs::{CheckRevoked, RevokeSubject, RevokeToken};

pub(super) async fn a_revoked_token_is_remembered_for_its_time(store: Store) {
    let token = named("a token");
    let check = CheckRevoked { token, subject: None };
    assert!(!store.ask(check.clone()).await.unwrap().token);
    let time_to_live = Duration::from_millis(1_000);
    store.ask(RevokeToken { token, time_to_live }).await.unwrap();
    assert!(store.ask(check.clone()).await.unwrap().token);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert!(!store.ask(check).await.unwrap().token);
}

pub(super) async fn a_subjects_revocation_is_never_taken_back(store: Store) {
    let (token, subject) = (named("a token"), named("ada"));
    let check = CheckRevoked { token, subject: Some(subject) };
    assert_eq!(store.ask(check.clone()).await.unwrap().subject_until, None);
    let before = store.now();
    let now = store.ask(RevokeSubject { subject, until: None }).await.unwrap();
    // The clocks of the store and of its estimate here may differ by a round trip.
    assert!(now.after(Duration::from_millis(500)) > before);
    let earlier = RevokeSubject { subject, until: Some(Timestamp(1)) };
    assert_eq!(store.ask(earlier).await.unwrap(), now);
    assert_eq!(store.ask(check.clone()).await.unwrap().subject_until, Some(now));
    let later = now.after(Duration::from_secs(1));
    store.ask(RevokeSubject { subject, until: Some(later) }).await.unwrap();
    assert_eq!(store.ask(check).await.unwrap().subject_until, Some(later));
}
