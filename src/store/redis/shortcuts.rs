//! What this process knows of limits without asking: who is refused until when, and what it has leased.
//!
//! Whoever gives something back, forgets or shuts a limit tells all processes by a message. A refusal is
//! only remembered while such messages arrive, and only if none came while it was asked for.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use tokio::time::Instant;

use crate::policy::Timestamp;
use crate::policy::limiting::{Counting, Standing, Taken};
use crate::store::channels::Listener;
use crate::store::keys::{Fingerprint, Subject};
use crate::store::mailbox::Delivery;
use crate::store::verbs::Charge;

/// A limit and a subject.
pub(super) type Place = (Fingerprint, Subject);

#[derive(Default)]
pub(super) struct Shortcuts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: IndexMap<Place, Known, RandomState>,
    listener: Option<Listener>,
    /// How many messages have come, losses of them included.
    heard: u64,
}

/// What is known of a place.
#[derive(Default)]
struct Known {
    denial: Option<Denial>,
    lease: Option<Lease>,
    /// Somebody asks for a lease.
    is_leasing: bool,
    /// There was not enough for one.
    no_lease_before: Option<Instant>,
}

/// Whatever costs as much is refused until then.
struct Denial {
    cost: u32,
    until: Instant,
    found: Found,
}

/// What was charged, and not yet spent.
struct Lease {
    left: u32,
    found: Found,
}

/// What the store said, and when it was asked.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) counting: Counting,
    pub(super) taken: Taken,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

/// Places that this process knows something of.
const MOST_PLACES: usize = 65_536;

/// A refusal is asked for again after that: a message may have been lost unnoticed.
const LONGEST_DENIAL: Duration = Duration::from_secs(60);

/// After one that was not to be had.
const BETWEEN_LEASES: Duration = Duration::from_millis(250);

impl Shortcuts {
    /// The answer to one charge, where it is known: a refusal, or an admission out of a lease.
    pub(super) fn known(&self, charge: &Charge, now: Instant) -> Option<Taken> {
        let state = &mut *self.lock();
        state.listen();
        let known = state.places.get_mut(&place(charge))?;
        let counting = charge.rule.counting;
        if let Some(denial) = &known.denial {
            // A limit that has changed is asked about.
            if now < denial.until && denial.found.counting == counting {
                return (charge.cost >= denial.cost).then(|| denial.found.later(now));
            }
            known.denial = None;
        }
        let lease = known.lease.as_mut().filter(|lease| lease.found.counting == counting)?;
        let spent = lease.spend(charge.cost, now);
        if spent.is_none() {
            known.lease = None;
        }
        spent
    }

    /// How many messages have come. With `listen`, from now on they do.
    pub(super) fn heard(&self, listen: impl FnOnce() -> Listener) -> u64 {
        let state = &mut *self.lock();
        state.listener.get_or_insert_with(listen);
        state.listen();
        state.heard
    }

    /// Remembers a refusal, for `wait` from when it was asked for.
    pub(super) fn deny(&self, charge: &Charge, found: Found, wait: Duration, heard: u64) {
        let state = &mut *self.lock();
        state.listen();
        if state.heard == heard && state.listener.as_ref().is_some_and(Listener::is_open) {
            let until = found.sent + wait.min(LONGEST_DENIAL);
            state.known(place(charge)).denial = Some(Denial { cost: charge.cost, until, found });
        }
    }

    /// Whether to ask for a lease: only one asks at a time.
    pub(super) fn begin_lease(&self, place: Place, now: Instant) -> Option<Leasing<'_>> {
        let state = &mut *self.lock();
        let known = state.known(place);
        if known.is_leasing || known.no_lease_before.is_some_and(|before| now < before) {
            return None;
        }
        known.is_leasing = true;
        Some(Leasing { shortcuts: self, place })
    }

    /// Something has changed that nobody could know of.
    pub(super) fn forget(&self, place: &Place) {
        self.lock().forget(place);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who asks for a lease, until it is dropped.
pub(super) struct Leasing<'a> {
    shortcuts: &'a Shortcuts,
    place: Place,
}

impl Leasing<'_> {
    /// `left` was charged and is not spent. Says where the limit would stand without it.
    pub(super) fn keep(self, left: u32, found: Found, heard: u64) -> Taken {
        let lease = Lease { left, found };
        let taken = lease.taken(found.received);
        let state = &mut *self.shortcuts.lock();
        state.listen();
        if state.heard == heard {
            state.known(self.place).lease = Some(lease);
        }
        taken
    }

    /// There is not enough for one.
    pub(super) fn fail(self, now: Instant) {
        self.shortcuts.lock().known(self.place).no_lease_before = Some(now + BETWEEN_LEASES);
    }
}

impl Drop for Leasing<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.shortcuts.lock().places.get_mut(&self.place) {
            known.is_leasing = false;
        }
    }
}

impl State {
    /// Takes what has arrived.
    fn listen(&mut self) {
        let Some(listener) = &self.listener else { return };
        let mut arrived = Vec::new();
        while let Poll::Ready(Some(delivery)) =
            listener.poll_next(&Context::from_waker(Waker::noop()))
        {
            arrived.push(delivery);
        }
        // What is not open may miss something before it says so.
        if !listener.is_open() {
            self.places.values_mut().for_each(|known| known.denial = None);
        }
        for delivery in arrived {
            match delivery {
                Delivery::Message(message) => match read(&message) {
                    Some(place) => self.forget(&place),
                    None => self.heard += 1,
                },
                Delivery::Gap => {
                    self.places.clear();
                    self.heard += 1;
                }
            }
        }
    }

    fn forget(&mut self, place: &Place) {
        self.heard += 1;
        if let Some(known) = self.places.get_mut(place) {
            (known.denial, known.lease) = (None, None);
        }
    }

    fn known(&mut self, place: Place) -> &mut Known {
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            self.places.swap_remove_index(fastrand::usize(..self.places.len()));
        }
        self.places.entry(place).or_default()
    }
}

impl Lease {
    /// Never more than the limit would have admitted now, had nothing been charged ahead: what was
    /// leased and would have come back by itself meanwhile is gone. While the limit is not full in
    /// between, it does not matter when a request was charged for.
    fn spend(&mut self, cost: u32, now: Instant) -> Option<Taken> {
        // The server's clock is not later than that.
        let at = self.found.taken.now.after(now.duration_since(self.found.sent));
        let usable = match (self.found.counting, self.found.taken.standing) {
            (Counting::Gcra(gcra), Standing::Arrival(arrival)) => {
                gcra.ahead_in_requests(arrival, at)
            }
            (Counting::FixedWindow(_), Standing::Window(window)) if at < window.ends => u64::MAX,
            (Counting::SlidingWindow(it), Standing::TwoWindows(both))
                if at.0 < both.start.0 + it.window() =>
            {
                u64::MAX
            }
            _ => 0,
        };
        let usable = u32::try_from(usable).unwrap_or(u32::MAX);
        self.left = self.left.min(usable).checked_sub(cost)?;
        Some(self.taken(now))
    }

    /// Where the limit stands, as if what is left had not been charged.
    fn taken(&self, now: Instant) -> Taken {
        let taken = self.found.later(now);
        let standing = self.found.counting.without(taken.standing, taken.now, self.left);
        Taken { fits: true, standing, ..taken }
    }
}

impl Found {
    /// The same at a later moment.
    fn later(&self, now: Instant) -> Taken {
        let passed = now.saturating_duration_since(self.received);
        Taken { now: Timestamp(self.taken.now.after(passed).0), ..self.taken }
    }
}

pub(super) fn place(charge: &Charge) -> Place {
    (charge.rule.id, charge.subject)
}

/// A place as a message: the limit's 16 bytes, and the subject.
pub(super) fn message((rule, subject): &Place) -> Vec<u8> {
    let mut message = rule.as_bytes().to_vec();
    subject.write_bytes(&mut message);
    message
}

fn read(message: &[u8]) -> Option<Place> {
    let (rule, subject) = message.split_at_checked(16)?;
    Some((Fingerprint::from_bytes(rule)?, Subject::from_bytes(subject)?))
}

/// Never who it is about.
impl fmt::Debug for Shortcuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcuts")
            .field("places", &self.lock().places.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use support::RedisServer;

    use super::*;
    use crate::Store;
    use crate::policy::Quota;
    use crate::policy::limiting::{Act, State};
    use crate::store::verbs::{Block, Reset, Rule, Take};

    fn rule(quota: Quota, change: impl FnOnce(&mut Rule)) -> Arc<Rule> {
        let mut rule = Rule::new("api", quota.counting(), false);
        change(&mut rule);
        Arc::new(rule)
    }

    fn ada(rule: &Arc<Rule>, cost: u32) -> Charge {
        Charge::new(rule.clone(), Subject::Address([192, 0, 2, 1].into()), cost)
    }

    async fn store(server: &RedisServer) -> Store {
        let builder = Store::builder().deadline(Duration::from_secs(5));
        builder.connect(&server.url()).await.unwrap()
    }

    async fn take(store: &Store, rule: &Arc<Rule>) -> bool {
        store.ask(Take::new(Act::Take, [ada(rule, 1)])).await.unwrap()[0].fits
    }

    /// How many scripts ran meanwhile.
    async fn scripts<T>(server: &RedisServer, work: impl Future<Output = T>) -> (T, u64) {
        let before = server.count();
        let done = work.await;
        let ran = server.count().since(&before).commands.get("evalsha").copied();
        (done, ran.unwrap_or(0))
    }

    /// Refused again and again, until that costs nothing.
    async fn refused_for_free(server: &RedisServer, store: &Store, rule: &Arc<Rule>) {
        for _ in 0..100 {
            let (fits, ran) = scripts(server, take(store, rule)).await;
            assert!(!fits);
            if ran == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a refusal is never remembered");
    }

    /// Admitted within the time of a message.
    async fn soon_admitted(store: &Store, rule: &Arc<Rule>) {
        for _ in 0..100 {
            if take(store, rule).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("a refusal is remembered for too long");
    }

    #[tokio::test]
    async fn a_refusal_is_remembered_until_it_is_over() {
        let server = RedisServer::start();
        let store = store(&server).await;
        let rule = rule(Quota::new(1, Duration::from_secs(2)), |rule| rule.denies = true);
        assert!(take(&store, &rule).await);
        refused_for_free(&server, &store, &rule).await;
        let refused = store.ask(Take::new(Act::Take, [ada(&rule, 1)])).await.unwrap()[0];
        let wait = rule.counting.decide(&refused, 1).retry_after.unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2), "{wait:?}");
        tokio::time::sleep(wait).await;
        assert!(take(&store, &rule).await, "not a moment longer");
    }

    #[tokio::test]
    async fn what_is_forgotten_or_given_back_anywhere_is_known_everywhere() {
        let server = RedisServer::start();
        let (here, there) = (store(&server).await, store(&server).await);
        let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
        assert!(take(&here, &rule).await);
        let subject = ada(&rule, 1).subject;

        for who in [&here, &there] {
            refused_for_free(&server, &here, &rule).await;
            assert!(who.ask(Reset { rule: rule.clone(), subject }).await.unwrap());
            soon_admitted(&here, &rule).await;
        }
        for who in [&here, &there] {
            refused_for_free(&server, &here, &rule).await;
            who.ask(Take::new(Act::Refund, [ada(&rule, 1)])).await.unwrap();
            soon_admitted(&here, &rule).await;
        }
        let shut = Some(Duration::from_secs(60));
        there.ask(Block { rule: rule.clone(), subject, time: shut }).await.unwrap();
        refused_for_free(&server, &here, &rule).await;
        there.ask(Block { rule: rule.clone(), subject, time: None }).await.unwrap();
        soon_admitted(&here, &rule).await;
    }

    #[tokio::test]
    async fn a_changed_limit_and_a_smaller_cost_are_asked_about() {
        let server = RedisServer::start();
        let store = store(&server).await;
        let denies = |rule: &mut Rule| rule.denies = true;
        let few = rule(Quota::per_day(2), denies);
        assert!(take(&store, &few).await);
        let two = || Take::new(Act::Take, [ada(&few, 2)]);
        assert!(!store.ask(two()).await.unwrap()[0].fits);
        assert!(take(&store, &few).await, "one is still there");
        refused_for_free(&server, &store, &few).await;
        assert!(take(&store, &rule(Quota::per_day(200).burst(400), denies)).await);
    }

    #[tokio::test]
    async fn nothing_is_remembered_while_no_message_arrives() {
        let mut server = RedisServer::start();
        let store = store(&server).await;
        let rule = rule(Quota::per_day(1), |rule| rule.denies = true);
        assert!(take(&store, &rule).await);
        refused_for_free(&server, &store, &rule).await;
        server.stop();
        server.start_again();
        // It came back empty.
        for _ in 0..500 {
            match store.ask(Take::new(Act::Take, [ada(&rule, 1)])).await {
                Ok(taken) if taken[0].fits => return,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("the refusal outlived the connection that would have ended it");
    }

    #[tokio::test]
    async fn a_lease_spares_commands_and_never_exceeds_the_limit() {
        for quota in [Quota::per_day(100), Quota::per_day(100).fixed_window()] {
            let server = RedisServer::start();
            let (here, there) = (store(&server).await, store(&server).await);
            let rule = rule(quota, |rule| rule.batch = 10);
            let all = async {
                let mut admitted = 0;
                for _ in 0..100 {
                    for store in [&here, &there] {
                        admitted += u32::from(take(store, &rule).await);
                    }
                }
                admitted
            };
            let (admitted, ran) = scripts(&server, all).await;
            // What is stranded is less than a batch for each process.
            assert!((82..=100).contains(&admitted), "{admitted} admitted");
            assert!(ran < 160, "{ran} scripts for 200 requests");
        }
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_lease() {
        let server = RedisServer::start();
        let store = store(&server).await;
        let rule = rule(Quota::per_day(500), |rule| rule.batch = 50);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (store, rule) = (store.clone(), rule.clone());
            callers.spawn(async move { take(&store, &rule).await });
        }
        let admitted = callers.join_all().await.into_iter().filter(|fits| *fits).count();
        assert!((450..=500).contains(&admitted), "{admitted} admitted");
    }

    proptest! {
        /// Whatever is spent of a lease, and whenever, the same requests one by one would have been
        /// admitted by the limit itself.
        #[test]
        fn what_a_lease_admits_the_limit_would_have_admitted(
            limit in 1u32..50, period_ms in 1u64..10_000, burst in 2u32..50, batch in 2u32..50,
            before in prop::collection::vec(0u64..100_000, 0..30),
            spends in prop::collection::vec(0u64..200_000, 1..60),
        ) {
            let quota = Quota::new(limit, Duration::from_millis(period_ms)).burst(burst);
            let counting = quota.counting();
            let mut now = Timestamp(1_800_000_000_000_000);
            let mut real = counting.current(None, now);
            for step in before {
                now = Timestamp(now.0 + step);
                real = counting.current(Some(real), now);
                if counting.admits(&real, now, 1) {
                    counting.charge(&mut real, now, 1);
                }
            }
            // The reference charges each request when it is admitted; the lease was charged at once.
            let mut reference = real.clone();
            let batch = batch.min(burst);
            prop_assume!(counting.admits(&real, now, batch));
            counting.charge(&mut real, now, batch);
            let State::Arrival(arrival) = real else { panic!("GCRA") };
            let taken = Taken { fits: true, now, standing: Standing::Arrival(arrival) };
            #[expect(clippy::disallowed_methods, reason = "any moment will do")]
            let sent = Instant::now();
            let mut lease = Lease { left: batch, found: Found { counting, taken, sent, received: sent } };
            let mut passed = 0;
            for step in spends {
                passed += step;
                let at = Timestamp(now.0 + passed);
                reference = counting.current(Some(reference), at);
                if lease.spend(1, sent + Duration::from_micros(passed)).is_some() {
                    prop_assert!(counting.admits(&reference, at, 1));
                    counting.charge(&mut reference, at, 1);
                }
            }
            // And what is charged in the store is never less than what the reference has charged.
            let end = Timestamp(now.0 + passed);
            let State::Arrival(spent) = counting.current(Some(reference), end) else { panic!("GCRA") };
            let State::Arrival(charged) = counting.current(Some(State::Arrival(arrival)), end) else {
                panic!("GCRA")
            };
            prop_assert!(spent <= charged);
        }
    }
}
