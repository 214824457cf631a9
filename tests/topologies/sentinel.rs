//! What Sentinels do to a service: they replace its primary, and go away themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use support::Sentinels;
use tokio::task::{JoinHandle, block_in_place};
use tower_redis_kit::{Store, StoreError};

use crate::columns::{
    Seen::{self, Policy, Served, Taken},
    Why::{Timeout, Unavailable},
};
use crate::common::within;
use crate::policies::{IMPATIENT, PATIENT, asked_during, assert_policies};
use crate::policies::{assert_served_again, assert_whole_again, behind};
use crate::servers::{guarded_sentinels, sentinel_url};
use crate::shown::{assert_nothing_secret, watch};
use crate::{MINUTE, RECOVERY, app, assert_layers_work, timed, token_of};

/// A lock that was given to nobody who heard of it is taken for its time.
const CHANGING: &[Seen] = &[Served, Policy(Timeout), Policy(Unavailable), Taken];

/// What one caller was told who increments a counter all the time.
#[derive(Default)]
struct Counted {
    told: Vec<i64>,
    failed: usize,
}

struct Counting {
    task: JoinHandle<Counted>,
    stop: Arc<AtomicBool>,
}

impl Counting {
    #[expect(clippy::disallowed_methods, reason = "it counts beside the test")]
    fn start(store: &Store) -> Counting {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, values) = (stop.clone(), store.values("counted"));
        let task = tokio::spawn(async move {
            let mut counted = Counted::default();
            while !stopped.load(SeqCst) {
                match values.increment("n", 1, 10 * MINUTE).await {
                    Ok(told) => counted.told.push(told),
                    Err(_) => counted.failed += 1,
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            counted
        });
        Counting { task, stop }
    }

    async fn stop(self) -> Counted {
        self.stop.store(true, SeqCst);
        self.task.await.expect("it counts until it is stopped")
    }
}

/// No increment was made twice: whoever is told 8 after 7 has made one, and those that failed may
/// have been made. What the old primary had not passed on is gone, which only a failover does.
fn assert_never_twice(counted: &Counted) {
    let mut failed = counted.failed as i64;
    let mut failovers = 0;
    for two in counted.told.windows(2) {
        match two[1] - two[0] {
            ..=0 => failovers += 1,
            step => failed -= step - 1,
        }
    }
    assert!(failed >= 0, "more was counted than was asked for: {failed}");
    assert!(failovers <= 1, "the new primary forgets nothing");
}

/// Waits for the Sentinels to replace `old`, and then for service to be whole; gives how long the
/// second took.
pub(crate) async fn recovery(sentinels: &Sentinels, store: &Store, old: usize) -> Duration {
    let (values, began) = (store.values("probe"), Instant::now());
    block_in_place(|| sentinels.wait_for_failover(old));
    let (_, took) = timed(within(RECOVERY, "service is whole", async || {
        values.set("a", &1, MINUTE).await.is_ok() && store.health().is_up()
    }))
    .await;
    let all = began.elapsed();
    println!("whole {took:?} after the Sentinels' switch, {all:?} after the fault");
    took
}

/// A store, and another one, of which is not asked how fast the machine is.
async fn service(sentinels: &Sentinels) -> (Store, Store) {
    let url = sentinel_url(sentinels);
    let patient = Store::builder().deadline(Duration::from_secs(2)).connect(&url).await;
    let patient = patient.expect("a store");
    assert_layers_work(&app(&patient, 2)).await;
    (Store::connect(&url).await.expect("a store"), patient)
}

/// Once nobody takes a busy machine for another failure.
async fn assert_all_works_again(sentinels: &Sentinels, patient: &Store) {
    block_in_place(|| sentinels.set_patience(PATIENT));
    within(RECOVERY, "it is up", async || patient.health().is_up()).await;
    assert_layers_work(&app(patient, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let _watched = watch();
    let mut sentinels = block_in_place(guarded_sentinels);
    let (store, patient) = service(&sentinels).await;
    let columns = behind(&sentinels).await;
    let counting = Counting::start(&store);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let old = block_in_place(|| {
        sentinels.set_patience(PATIENT);
        sentinels.kill_primary()
    });
    let (outcome, time) = timed(store.is_revoked(token_of("t"))).await;
    outcome.expect_err("it is dead");
    assert!(time < Duration::from_secs(1), "{time:?}");
    assert_policies(&columns, None, StoreError::is_refused).await;
    block_in_place(|| sentinels.set_patience(IMPATIENT));
    recovery(&sentinels, &store, old).await;
    assert_whole_again(&columns, sentinels.node(1 - old)).await;
    let kept = store.values("kept");
    kept.set("after", &1, 10 * MINUTE).await.expect("acknowledged by the new primary");
    block_in_place(|| {
        sentinels.restart(old);
        sentinels.wait_until_whole();
    });
    assert_eq!(kept.get("after").await, Ok(Some(1)));
    assert_whole_again(&columns, sentinels.node(1 - old)).await;
    let counted = counting.stop().await;
    assert_never_twice(&counted);
    let last = counted.told.last().copied();
    assert_eq!(store.values("counted").get::<i64>("n").await.map(|n| n >= last), Ok(true));
    assert_all_works_again(&sentinels, &patient).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_primary_is_replaced_while_a_sentinel_hangs_too() {
    let _watched = watch();
    let sentinels = block_in_place(guarded_sentinels);
    let (store, patient) = service(&sentinels).await;
    let columns = behind(&sentinels).await;
    let counting = Counting::start(&store);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let old = block_in_place(|| {
        sentinels.set_patience(PATIENT);
        sentinels.sentinels()[0].pause();
        sentinels.primary()
    });
    assert_policies(&columns, Some(sentinels.node(old)), StoreError::is_timeout).await;
    block_in_place(|| sentinels.set_patience(IMPATIENT));
    recovery(&sentinels, &store, old).await;
    assert_whole_again(&columns, sentinels.node(1 - old)).await;
    sentinels.sentinels()[0].resume();
    block_in_place(|| {
        sentinels.resume(old);
        // One has missed that.
        sentinels.set_patience(IMPATIENT);
        sentinels.wait_until_whole();
    });
    assert_whole_again(&columns, sentinels.node(1 - old)).await;
    store.values("kept").set("after", &1, MINUTE).await.expect("the new primary is kept to");
    assert_never_twice(&counting.stop().await);
    assert_all_works_again(&sentinels, &patient).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_on_command_and_no_sentinels_at_all() {
    let _watched = watch();
    let mut sentinels = block_in_place(guarded_sentinels);
    let (store, patient) = service(&sentinels).await;
    let columns = behind(&sentinels).await;
    let counting = Counting::start(&store);
    // One is dead: the others will do.
    block_in_place(|| sentinels.kill_sentinel(2));
    // What the old one acknowledges once its successor is chosen is gone: no ledger can be balanced.
    let old = asked_during(&columns, CHANGING, || sentinels.fail_over());
    recovery(&sentinels, &store, old).await;
    assert_served_again(&columns).await;
    block_in_place(|| sentinels.wait_until_whole());
    drop(columns);
    assert_never_twice(&counting.stop().await);
    assert_all_works_again(&sentinels, &patient).await;

    block_in_place(|| (0..2).for_each(|sentinel| sentinels.kill_sentinel(sentinel)));
    for _ in 0..20 {
        patient.values("alone").set("a", &1, MINUTE).await.expect("the primary lives");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.health().is_up());
    let primary = 1 - old;
    sentinels.node(primary).kill_clients();
    within(RECOVERY, "it is said whom to look after", async || {
        store.health().error().is_some_and(is_about_sentinels)
    })
    .await;
    assert_nothing_secret(&format!("{:?} {store:?}", store.health()));
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let (outcome, time) = timed(store.revoke(token_of("t"))).await;
        outcome.expect_err("nobody says where the primary is");
        best = best.min(time);
    }
    assert!(best < Duration::from_millis(50), "{best:?}");
    block_in_place(|| (0..3).for_each(|sentinel| sentinels.restart_sentinel(sentinel)));
    let restarted = Instant::now();
    within(RECOVERY, "it is up", async || store.health().is_up()).await;
    println!("whole {:?} after the Sentinels were back", restarted.elapsed());
    assert_all_works_again(&sentinels, &patient).await;
}

fn is_about_sentinels(error: &StoreError) -> bool {
    error.is_refused() && error.to_string().contains("Sentinel")
}
