use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Store;
use super::limit_at::LimitAt;
use crate::policy::Quota;
use crate::policy::limiting::Decision;
use crate::stopwatch::Stopwatch;

/// Who waits in this process for the same: in the order in which they came, so that only the first
/// of them asks the store.
///
/// Who waits holds nothing but a place. One that nobody polls any more, as it was put aside, keeps
/// the others waiting for [`SILENCE`] and is then the last.
#[derive(Default)]
pub(crate) struct Turns {
    lines: Mutex<HashMap<What, Line>>,
}

/// Other quotas of a name have lines of their own: one may be soon where another is not.
pub(crate) type What = (LimitAt, Quota);

struct Line {
    /// Never empty.
    waiting: VecDeque<Arc<Notify>>,
    /// Since the first was heard of, and for how long it may be silent.
    heard: Stopwatch,
    patience: Duration,
    /// What the first was told, and since when it knows.
    told: Option<(Decision, Stopwatch)>,
}

/// How long the first may be late before the next is first.
const SILENCE: Duration = Duration::from_secs(1);

/// Of an empty map.
const CAPACITY: usize = 64;

/// Somebody who waits.
pub(crate) struct Place<'a> {
    turns: &'a Turns,
    what: What,
    called: Arc<Notify>,
}

/// What one who waits may do.
pub(crate) enum Turn {
    /// Ask.
    First,
    /// Wait; with what the first was told, as it is by now.
    Behind(Option<Decision>),
}

impl Store {
    pub(crate) fn turns(&self) -> &Turns {
        &self.shared.turns
    }
}

impl Turns {
    pub(crate) fn is_anybody(&self, what: &What) -> bool {
        self.lines().contains_key(what)
    }

    /// A place at the end of the line.
    pub(crate) fn join(&self, what: What) -> Place<'_> {
        let called = Arc::new(Notify::new());
        let mut lines = self.lines();
        lines.entry(what).or_insert_with(Line::new).waiting.push_back(called.clone());
        Place { turns: self, what, called }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<What, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new() -> Line {
        let (waiting, heard) = (VecDeque::new(), Stopwatch::start());
        Line { waiting, heard, patience: SILENCE, told: None }
    }

    fn is_first(&self, called: &Arc<Notify>) -> bool {
        self.waiting.front().is_some_and(|first| Arc::ptr_eq(first, called))
    }

    /// The first is heard of, and will be after `pause`.
    fn hear(&mut self, pause: Duration) {
        (self.heard, self.patience) = (Stopwatch::start(), pause.saturating_add(SILENCE));
    }

    /// Another one is first.
    fn call_first(&mut self) {
        self.hear(Duration::ZERO);
        self.told = None;
        if let Some(first) = self.waiting.front() {
            first.notify_one();
        }
    }
}

impl Place<'_> {
    pub(crate) fn turn(&self) -> Turn {
        let mut lines = self.turns.lines();
        let line = lines.entry(self.what).or_insert_with(Line::new);
        if !line.is_first(&self.called) && line.heard.elapsed() > line.patience {
            line.waiting.rotate_left(1);
            line.call_first();
        }
        if line.is_first(&self.called) {
            line.hear(Duration::ZERO);
            return Turn::First;
        }
        Turn::Behind(line.told.map(|(decision, since)| decision.later(since.elapsed())))
    }

    /// What the first was told: it will ask again after `pause`.
    pub(crate) fn told(&self, decision: Decision, pause: Duration) {
        if let Some(line) = self.turns.lines().get_mut(&self.what)
            && line.is_first(&self.called)
        {
            line.hear(pause);
            line.told = Some((decision, line.heard));
        }
    }

    /// Until it may be this one's turn.
    pub(crate) async fn called(&self) {
        self.called.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        let Entry::Occupied(mut line) = lines.entry(self.what) else { return };
        let was_first = line.get().is_first(&self.called);
        line.get_mut().waiting.retain(|other| !Arc::ptr_eq(other, &self.called));
        if line.get().waiting.is_empty() {
            line.remove();
        } else if was_first {
            line.get_mut().call_first();
        }
        if lines.is_empty() {
            lines.shrink_to(CAPACITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::FutureExt;

    use super::*;
    use crate::store::keys::{Fingerprint, Subject};

    fn what(name: &str) -> What {
        let limit = Fingerprint::of(&[name.as_bytes()]);
        let subject = Subject::Named(Fingerprint::of(&[b"ada"]));
        (LimitAt { limit, subject }, Quota::per_hour(1))
    }

    fn is_first(place: &Place<'_>) -> bool {
        matches!(place.turn(), Turn::First)
    }

    fn refused(seconds: u64) -> Decision {
        let wait = Duration::from_secs(seconds);
        Decision::local(false, 0, wait, Some(wait))
    }

    #[tokio::test]
    async fn each_has_a_turn_in_the_order_of_coming() {
        let turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.join(what("a")));
        assert_eq!([&first, &second, &third].map(is_first), [true, false, false]);
        assert!(is_first(&turns.join(what("b"))), "for something else");
        drop(first);
        assert!(third.called().now_or_never().is_none());
        assert!(second.called().now_or_never().is_some());
        assert_eq!([&second, &third].map(is_first), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_behind_knows_what_the_first_was_told() {
        let turns = Turns::default();
        let [first, second] = [(); 2].map(|()| turns.join(what("a")));
        assert!(matches!(second.turn(), Turn::Behind(None)));
        second.told(refused(9), Duration::ZERO);
        assert!(matches!(second.turn(), Turn::Behind(None)), "it is not the first");
        first.told(refused(7), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        let Turn::Behind(Some(told)) = second.turn() else { panic!("the first is there") };
        assert_eq!(told.retry_after(), Some(Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_heard_of_is_the_last() {
        let turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.join(what("a")));
        first.told(refused(7), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!is_first(&third), "it may be silent for as long");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!is_first(&third));
        assert_eq!([&first, &second].map(is_first), [false, true]);
        drop(second);
        assert!(is_first(&third));
        drop(third);
        assert!(is_first(&first));
    }

    #[test]
    fn who_leaves_leaves_nothing_from_whatever_thread() {
        let turns = Turns::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..2_000 {
                        let name = format!("{}", number / 10);
                        let places = [turns.join(what(&name)), turns.join(what("all"))];
                        let _ = places.each_ref().map(Place::turn);
                    }
                });
            }
        });
        assert!(turns.lines().is_empty());
        assert!(turns.lines().capacity() <= 2 * CAPACITY);
    }
}
