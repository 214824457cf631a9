use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Store;
use super::handle::Backend;

/// Whether a store is ending, and what has to end before it does.
#[derive(Debug)]
pub(crate) struct Life {
    ending: watch::Sender<bool>,
    running: watch::Sender<usize>,
}

/// Something in the background that the store waits for at its end.
#[derive(Debug)]
pub(crate) struct Running(Arc<Life>);

impl Default for Life {
    fn default() -> Life {
        Life { ending: watch::Sender::new(false), running: watch::Sender::new(0) }
    }
}

impl Life {
    pub(crate) fn run(self: &Arc<Life>) -> Running {
        self.running.send_modify(|running| *running += 1);
        Running(self.clone())
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Waits until the store is asked to end.
    pub(crate) async fn ending(&self) {
        // The sender is here: it is not closed.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Asks everything that runs to end, and waits for it.
    pub(super) async fn end(&self) {
        self.ending.send_replace(true);
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Running {
    pub(crate) async fn ending(&self) {
        self.0.ending().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

impl Store {
    /// Ends the store, when the service has stopped taking requests: locks are given back,
    /// subscriptions end, calls under way are waited for, and connections are closed. On Redis,
    /// later calls fail at once; clones of the handle end together.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_redis_kit::Store;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::from_env().await?;
    /// let lease = store.lock("report").try_acquire().await?.expect("nobody has it");
    /// // `axum::serve(…).with_graceful_shutdown(…).await` goes here.
    /// store.shutdown(Duration::from_secs(5)).await;
    /// assert!(!lease.is_held());
    /// # Ok(()) }
    /// ```
    ///
    /// It takes no longer than `patience`, and seldom more than a
    /// [deadline](crate::StoreBuilder::deadline) or two. Says whether everything ended by itself;
    /// where Redis is away, a lock is not given back but runs out.
    ///
    /// # Cancel safety
    /// What was asked to end goes on ending.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        let end = async {
            self.end_subscriptions();
            self.shared.life.end().await;
            if let Backend::Redis(redis) = &self.shared.backend {
                redis.drained().await;
            }
        };
        let ended = tokio::time::timeout(patience, end).await.is_ok();
        if let Backend::Redis(redis) = &self.shared.backend {
            redis.close();
        }
        ended
    }

    /// Something that runs in the background, and ends before the store.
    pub(crate) fn run(&self) -> Running {
        self.shared.life.run()
    }

    /// Where what outlives its caller runs: where the connections do, as a caller's own runtime may
    /// end before, or be none. In process the caller's has to do.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        match &self.shared.backend {
            Backend::Memory(_) => Handle::try_current().ok(),
            Backend::Redis(redis) => Some(redis.runtime()),
        }
    }

    /// Runs what outlives its caller. `None`: there is nowhere to.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place; each task has something that it ends with"
    )]
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        Some(self.runtime()?.spawn(task).abort_handle())
    }
}
