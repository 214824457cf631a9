//! When the one task of something is to wake, which there is as long as something is due.

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Store;
use super::life::Running;

/// Kept under the lock of what is due: the task ends when nothing is.
pub(super) struct Alarm {
    next: watch::Sender<Instant>,
    task: Option<AbortHandle>,
}

/// What the task waits for.
pub(super) struct Bell(watch::Receiver<Instant>);

impl Alarm {
    /// Something is due then. The task wakes in time, and begins where there is none. `false`: it
    /// cannot, as the store ends or there is no runtime.
    pub(super) fn set<T>(
        &mut self,
        store: &Store,
        due: Instant,
        task: impl FnOnce(Bell, Running) -> T,
    ) -> bool
    where
        T: Future<Output = ()> + Send + 'static,
    {
        if self.has_task() {
            self.next.send_if_modified(|next| {
                let is_sooner = due < *next;
                *next = due.min(*next);
                is_sooner
            });
            return true;
        }
        if store.shared.life.is_ending() {
            return false;
        }
        self.next.send_replace(due);
        self.task = store.spawn(task(Bell(self.next.subscribe()), store.run()));
        self.task.is_some()
    }

    /// What the task says after its work: when it is to go on. `false`: it is to end, as nothing is
    /// due.
    pub(super) fn go_on(&mut self, due: Option<Instant>) -> bool {
        match due {
            Some(due) => _ = self.next.send_replace(due),
            None => self.task = None,
        }
        due.is_some()
    }

    /// A runtime that has ended took its tasks along.
    pub(super) fn has_task(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }
}

impl Bell {
    /// Waits until something is due. `false`: there is no alarm any more.
    pub(super) async fn rings(&mut self) -> bool {
        loop {
            let due = *self.0.borrow_and_update();
            tokio::select! {
                changed = self.0.changed() => if changed.is_err() { return false },
                () = sleep_until(due) => return true,
            }
        }
    }
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm { next: watch::Sender::new(now()), task: None }
    }
}

/// tokio's clock: a test that pauses its time moves leases along.
#[expect(clippy::disallowed_methods, reason = "when something is due is this process's to say")]
pub(super) fn now() -> Instant {
    Instant::now()
}
