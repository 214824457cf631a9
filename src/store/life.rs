use std::sync::Arc;

use tokio::sync::watch;

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
