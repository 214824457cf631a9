//! The slot of a lane's connection: callers that lose it and a keeper that makes it anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use loom::future::block_on;
use loom::sync::Mutex;
use loom::thread::{self, JoinHandle};
use models as parts;

#[path = "../../../src/store/redis/slot.rs"]
mod slot;

/// A lane: its slot, and what was announced of it.
struct Lane {
    slot: slot::Slot<Link>,
    is_up: Mutex<bool>,
    /// Losses that were announced. No step of the model: it only counts.
    losses: AtomicUsize,
}

/// Which one it is.
#[derive(Debug)]
struct Link(usize);

impl Lane {
    /// With the first link in place.
    fn new() -> (Arc<Lane>, Arc<Link>) {
        let lane = Lane {
            slot: slot::Slot::empty(),
            is_up: Mutex::new(false),
            losses: AtomicUsize::new(0),
        };
        let first = Arc::new(Link(0));
        lane.restore(first.clone());
        (Arc::new(lane), first)
    }

    fn restore(&self, link: Arc<Link>) {
        self.slot.restore(link, || *self.is_up.lock().unwrap() = true);
    }

    fn lose(&self, link: &Arc<Link>) {
        self.slot.lose(link, || {
            *self.is_up.lock().unwrap() = false;
            self.losses.fetch_add(1, SeqCst);
        });
    }

    /// A keeper's work: each loss is followed by the next link.
    fn keep(&self, losses: usize) {
        for number in 1..=losses {
            // A wake-up that is lost is a model that never ends, which loom reports.
            block_on(self.slot.lost());
            assert!(self.slot.link().is_none(), "nobody but the keeper puts a link in");
            self.restore(Arc::new(Link(number)));
        }
    }

    /// A caller whose call on `link` fails.
    fn fail(self: &Arc<Lane>, link: &Arc<Link>) -> JoinHandle<()> {
        let (lane, link) = (self.clone(), link.clone());
        thread::spawn(move || lane.lose(&link))
    }

    /// A caller that takes whichever link there is, and fails on it.
    fn call_and_fail(self: &Arc<Lane>) -> JoinHandle<()> {
        let lane = self.clone();
        thread::spawn(move || {
            if let Some(link) = lane.slot.link() {
                lane.lose(&link);
            }
        })
    }

    #[track_caller]
    fn assert_is(&self, number: Option<usize>, losses: usize) {
        assert_eq!(self.slot.link().map(|link| link.0), number);
        assert_eq!(*self.is_up.lock().unwrap(), number.is_some(), "announced as it is");
        assert_eq!(self.losses.load(SeqCst), losses);
    }
}

#[test]
fn a_link_that_several_lose_is_made_anew_once() {
    loom::model(|| {
        let (lane, first) = Lane::new();
        let callers = [lane.fail(&first), lane.fail(&first)];
        lane.keep(1);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        lane.assert_is(Some(1), 1);
    });
}

#[test]
fn a_late_failure_of_an_old_link_leaves_the_new_one_alone() {
    loom::model(|| {
        let (lane, first) = Lane::new();
        lane.lose(&first);
        let late = lane.fail(&first);
        lane.keep(1);
        late.join().unwrap();
        lane.assert_is(Some(1), 1);
    });
}

/// The keeper finds out by itself, by the heartbeat or because the connection closed, while a
/// caller does.
#[test]
fn a_keeper_that_finds_out_beside_a_caller_hears_of_it_once() {
    loom::model(|| {
        let (lane, first) = Lane::new();
        let caller = lane.fail(&first);
        lane.lose(&first);
        lane.keep(1);
        caller.join().unwrap();
        lane.assert_is(Some(1), 1);
    });
}

#[test]
fn a_link_that_is_lost_as_soon_as_it_is_there_is_announced_as_lost() {
    loom::model(|| {
        let (lane, first) = Lane::new();
        let callers = [lane.fail(&first), lane.call_and_fail()];
        lane.keep(1);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let number = lane.slot.link().map(|link| link.0);
        let losses = if number.is_some() { 1 } else { 2 };
        lane.assert_is(number, losses);
        // Whoever lost it has told.
        if number.is_none() {
            block_on(lane.slot.lost());
        }
    });
}

#[test]
fn every_loss_is_heard_of() {
    // In all orders it takes minutes; with this few interruptions of a thread, under a second.
    let mut some = loom::model::Builder::new();
    some.preemption_bound = Some(2);
    some.check(|| {
        let (lane, first) = Lane::new();
        let losing = lane.clone();
        let caller = thread::spawn(move || {
            losing.lose(&first);
            while losing.losses.load(SeqCst) < 2 {
                match losing.slot.link() {
                    Some(link) => losing.lose(&link),
                    None => thread::yield_now(),
                }
            }
        });
        lane.keep(2);
        caller.join().unwrap();
        lane.assert_is(Some(2), 2);
    });
}
