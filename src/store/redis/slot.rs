//! Where a lane's connection is: the one place that callers, who find out that it is lost, and its
//! keeper, who makes a new one, both change. Small enough to be tried in every order of their steps:
//! `tests/models`.

use std::sync::Arc;

#[cfg(not(loom))]
use {arc_swap::ArcSwapOption, std::sync::Mutex, std::sync::PoisonError, tokio::sync::Notify};

#[cfg(loom)]
use super::parts::{ArcSwapOption, Mutex, Notify, PoisonError};

/// Empty is the open breaker.
///
/// Each link that was put in is lost once, and its keeper hears of it once, after that was
/// announced. So the keeper, who puts in the next link only then, never overtakes who announces: or
/// the new link would be announced as lost, and stay so.
pub(super) struct Slot<L> {
    link: ArcSwapOption<L>,
    lost: Notify,
    /// A link that is lost at once is announced as lost after it was announced as there.
    announcing: Mutex<()>,
}

impl<L> Slot<L> {
    pub(super) fn empty() -> Slot<L> {
        Slot { link: ArcSwapOption::empty(), lost: Notify::new(), announcing: Mutex::new(()) }
    }

    #[inline]
    pub(super) fn link(&self) -> Option<Arc<L>> {
        self.link.load_full()
    }

    /// Puts in a link and announces it. For the keeper, when there is none.
    pub(super) fn restore(&self, link: Arc<L>, announce: impl FnOnce()) {
        let _announcing = self.announcing.lock().unwrap_or_else(PoisonError::into_inner);
        self.link.store(Some(link));
        announce();
    }

    /// Takes a link out, announces that, and tells the keeper. Does nothing when somebody did so
    /// before: by identity, so a late failure of an old link cannot take a new one down.
    pub(super) fn lose(&self, link: &Arc<L>, announce: impl FnOnce()) {
        let before = self.link.compare_and_swap(link, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, link)) {
            let announcing = self.announcing.lock().unwrap_or_else(PoisonError::into_inner);
            announce();
            drop(announcing);
            self.lost.notify_one();
        }
    }

    /// Waits until the link that was put in last is lost. For the keeper, once for each link.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}
