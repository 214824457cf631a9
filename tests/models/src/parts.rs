//! What `slot.rs` is made of, with loom's parts in the place of arc-swap's and tokio's.

use std::sync::Arc;
pub use std::sync::PoisonError;

use loom::future::AtomicWaker;
use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::future::poll_fn;
use std::task::Poll;

pub use loom::sync::Mutex;

/// As arc-swap's: each method is one step.
#[derive(Debug)]
pub struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

impl<T> ArcSwapOption<T> {
    #[must_use]
    pub fn empty() -> Self {
        Self(Mutex::new(None))
    }

    #[must_use]
    pub fn load_full(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap().clone()
    }

    pub fn store(&self, new: Option<Arc<T>>) {
        *self.0.lock().unwrap() = new;
    }

    #[must_use]
    pub fn compare_and_swap(&self, current: &Arc<T>, new: Option<Arc<T>>) -> Option<Arc<T>> {
        let mut place = self.0.lock().unwrap();
        let before = place.clone();
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, current)) {
            *place = new;
        }
        before
    }
}

/// As tokio's, for one who waits: at most one permit is kept.
#[derive(Debug)]
pub struct Notify {
    permit: AtomicBool,
    waker: AtomicWaker,
}

impl Notify {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "as tokio's")]
    pub fn new() -> Self {
        Self { permit: AtomicBool::new(false), waker: AtomicWaker::new() }
    }

    /// # Panics
    /// When there is a permit already: two would become one, and one be lost.
    pub fn notify_one(&self) {
        assert!(!self.permit.swap(true, SeqCst), "a permit is lost");
        self.waker.wake();
    }

    pub async fn notified(&self) {
        poll_fn(|cx| {
            self.waker.register_by_ref(cx.waker());
            if self.permit.swap(false, SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
