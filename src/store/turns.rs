use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Store;
use super::keys::Subject;
use super::limit_at::LimitAt;
use super::verbs::Rule;

/// Who waits in this process for the same: one at a time, in the order in which they came, so that
/// only the first of them asks the store.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lines: Mutex<HashMap<LimitAt, Line>>,
}

/// Tokio's, which is fair.
type Line = Arc<tokio::sync::Mutex<()>>;

impl Store {
    /// A place at the end of the line for a limit at a subject.
    pub(crate) fn queue(&self, rule: &Rule, subject: &Subject) -> InLine<'_> {
        self.turns().join(LimitAt::new(rule, subject))
    }
}

impl Turns {
    fn join(&self, what: LimitAt) -> InLine<'_> {
        let line = self.lines().entry(what).or_default().clone();
        InLine { turns: self, what, line }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<LimitAt, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits. Who leaves lets the next one go on.
pub(crate) struct InLine<'a> {
    turns: &'a Turns,
    what: LimitAt,
    line: Line,
}

impl InLine<'_> {
    /// Waits until nobody is before this one, and keeps the others waiting.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.line.lock().await
    }
}

/// The last to leave takes the line away.
impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // Who joins does so under the same lock.
        if let Entry::Occupied(line) = self.turns.lines().entry(self.what)
            && Arc::strong_count(line.get()) == 2
        {
            line.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store::keys::Fingerprint;

    fn what(name: &[u8]) -> LimitAt {
        let subject = Subject::Named(Fingerprint::of(&[b"ada"]));
        LimitAt { limit: Fingerprint::of(&[name]), subject }
    }

    #[tokio::test]
    async fn each_has_a_turn_in_the_order_of_coming() {
        let turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.join(what(b"a")));
        let turn = first.turn().await;
        let (mut next, mut last) = (Box::pin(second.turn()), Box::pin(third.turn()));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(last.as_mut().now_or_never().is_none());
        assert!(turns.join(what(b"b")).turn().now_or_never().is_some(), "for something else");
        drop(turn);
        assert!(last.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_leaves_holds_nobody_up_and_the_last_leaves_nothing() {
        let turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.join(what(b"a")));
        let turn = first.turn().await;
        let mut next = Box::pin(second.turn());
        assert!(next.as_mut().now_or_never().is_none());
        drop(next);
        drop(second);
        drop(turn);
        drop(first);
        assert!(third.turn().now_or_never().is_some());
        assert_eq!(turns.lines().len(), 1);
        drop(third);
        assert!(turns.lines().is_empty());
    }
}
