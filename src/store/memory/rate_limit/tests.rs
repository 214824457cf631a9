use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::Store;
use crate::policy::Quota;
use crate::policy::limiting::tests::{Marks, START, tables};
use crate::store::keys::Fingerprint;

fn subject(name: &str) -> Subject {
    Subject::Named(Fingerprint::of(&[name.as_bytes()]))
}

/// Moves the clock of the store, which is tokio's.
async fn advance_to(at: u64, store: &Store) {
    tokio::time::advance(Timestamp(at).since(store.now())).await;
    assert_eq!(store.now(), Timestamp(at));
}

/// By itself, and with another limit that refuses nobody.
#[tokio::test(start_paused = true)]
async fn the_store_decides_as_the_tables_say() {
    for table in tables::all() {
        for count in [1, 2] {
            let store = Store::memory();
            let one = Arc::new(Rule::new("one", table.quota.counting(), false));
            let other = Arc::new(Rule::new("other", Quota::per_second(1).counting(), true));
            let mut marks = Marks::default();
            for row in table.rows {
                advance_to(START + row.at, &store).await;
                let charges = [&one, &other].map(|rule| Charge {
                    charged: marks.of(row),
                    ..Charge::new(rule.clone(), subject("ada"), row.cost)
                });
                let take = Take::new(row.act, charges.into_iter().take(count));
                let taken = store.ask(take).await.unwrap()[0];
                table.check(row, &taken);
                marks.note(row, &taken);
            }
        }
    }
}

/// Keys that somebody makes up push out what others have counted, and open nothing.
#[tokio::test(start_paused = true)]
async fn what_is_shut_outlives_a_flood() {
    let store = Store::builder().memory_capacity(1 << 20).memory();
    let rule = |name, quota: Quota| Arc::new(Rule::new(name, quota.counting(), false));
    let day = Duration::from_secs(86_400);
    let log_in = rule("log-in", Quota::per_day(1).lockout([day]));
    let api = rule("api", Quota::per_day(1));
    let take = async |rule: &Arc<Rule>, name: &str| {
        let charge = Charge::new(rule.clone(), subject(name), 1);
        store.ask(Take::one(Act::Take, charge)).await.unwrap()[0].fits
    };
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (rule, time) = (api.clone(), Some(day));
        store.ask(Block { rule, subject: subject(name), time }).await.unwrap();
        assert!(take(&log_in, name).await);
    }
    assert!(take(&api, "ada").await);
    for made_up in 0..20_000 {
        tokio::time::advance(Duration::from_micros(1)).await;
        assert!(take(&api, &made_up.to_string()).await);
    }
    assert!(take(&api, "ada").await, "a flood that pushes nothing out");
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert!(!take(&api, name).await && !take(&log_in, name).await, "{name}");
    }
}

/// Memory is bounded before all else.
#[tokio::test(start_paused = true)]
async fn where_all_is_shut_there_is_room_for_more() {
    let store = Store::builder().memory_capacity(1 << 20).memory();
    let rule = Arc::new(Rule::new("api", Quota::per_day(1).counting(), false));
    for made_up in 0..20_000 {
        let (rule, subject) = (rule.clone(), subject(&made_up.to_string()));
        let time = Some(Duration::from_secs(made_up + 1));
        store.ask(Block { rule: rule.clone(), subject, time }).await.unwrap();
        let charge = Charge::new(rule, subject, 1);
        assert!(!store.ask(Take::one(Act::Take, charge)).await.unwrap()[0].fits);
    }
}

/// By itself, and with another limit beside it.
#[tokio::test(start_paused = true)]
async fn a_log_that_has_no_room_is_not_forgotten() {
    for count in [1, 2] {
        let store = Store::builder().memory_capacity(1 << 20).memory();
        let log = Quota::per_day(1_000_000).sliding_log();
        let log = Arc::new(Rule::new("log", log.counting(), false));
        let other = Arc::new(Rule::new("other", Quota::per_day(1).counting(), true));
        let take = |act| {
            let charges = [&log, &other].map(|rule| Charge::new(rule.clone(), subject("ada"), 1));
            store.ask(Take::new(act, charges.into_iter().take(count)))
        };
        let mut admitted = 0;
        while take(Act::Take).await.is_ok() {
            admitted += 1;
            tokio::time::advance(Duration::from_micros(1)).await;
        }
        assert!(admitted > 100, "{admitted}");
        for _ in 0..3 {
            assert!(take(Act::Take).await.unwrap_err().is_full());
        }
        let standing = take(Act::Peek).await.unwrap()[0].standing;
        let Standing::Logged(logged) = standing else { panic!("a log: {standing:?}") };
        assert_eq!(logged.used, admitted);
    }
}

/// Nobody is let pass by the fallback whom a limit refuses.
#[tokio::test(start_paused = true)]
async fn a_log_that_has_no_room_does_not_hide_the_refusal_of_another_limit() {
    let store = Store::builder().memory_capacity(1 << 20).memory();
    let log = Quota::per_day(1_000_000).sliding_log();
    let log = Arc::new(Rule::new("log", log.counting(), false));
    let other = Arc::new(Rule::new("other", Quota::per_day(1).counting(), false));
    let take = |rules: &[&Arc<Rule>]| {
        let charges = rules.iter().map(|&rule| Charge::new(rule.clone(), subject("ada"), 1));
        store.ask(Take::new(Act::Take, charges.collect::<Vec<_>>()))
    };
    while take(&[&log]).await.is_ok() {
        tokio::time::advance(Duration::from_micros(1)).await;
    }
    assert!(take(&[&log, &other]).await.unwrap_err().is_full());
    assert!(take(&[&other]).await.unwrap()[0].fits);
    let taken = take(&[&log, &other]).await.unwrap();
    assert!(taken.iter().all(|taken| !taken.fits));
    assert_eq!(taken[0].standing, Standing::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_has_expired_leaves_the_others_of_a_decision_alone() {
    let store = Store::memory();
    let rule = |name, quota: Quota| Arc::new(Rule::new(name, quota.counting(), false));
    let short = rule("short", Quota::per_second(5).fixed_window());
    let long = rule("long", Quota::per_day(5).fixed_window());
    let take = |rules: &[&Arc<Rule>]| {
        let charges = rules.iter().map(|&rule| Charge::new(rule.clone(), subject("ada"), 1));
        store.ask(Take::new(Act::Take, charges.collect::<Vec<_>>()))
    };
    take(&[&short, &long]).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let taken = take(&[&long, &short]).await.unwrap();
    let remaining = [&long, &short].map(|rule| rule.counting).into_iter().zip(&taken);
    let remaining: Vec<_> =
        remaining.map(|(counting, taken)| counting.decide(taken, 1).remaining).collect();
    assert_eq!(remaining, [3, 4]);
}
