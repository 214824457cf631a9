use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use redis::Value;
use tokio::time::Instant;

use super::command::{Lane, Request};
use super::redirect::Failed;
use super::status::Status;
use super::supervisor::{Limits, Supervisor};
use super::whereabouts::Whereabouts;
use crate::store::StoreError;
use crate::store::target::{Address, HostPort};

/// One server and its connections. The last one carries what may be large, so that a body on its
/// way keeps no verdict waiting; with one connection alone there is no such choice.
#[derive(Debug)]
pub(super) struct Node {
    whereabouts: Whereabouts,
    lanes: Box<[Supervisor]>,
    next: AtomicUsize,
}

impl Node {
    /// Connects them all.
    pub(super) async fn start(
        whereabouts: &Whereabouts,
        limits: &Limits,
        connections: usize,
        status: &Arc<Status>,
    ) -> Result<Node, StoreError> {
        let lanes = (0..connections)
            .map(|_| Supervisor::start(whereabouts.clone(), limits.clone(), status.lane()));
        Ok(Node::new(whereabouts, try_join_all(lanes).await?))
    }

    /// Connects in the background.
    pub(super) fn start_lazy(
        whereabouts: &Whereabouts,
        limits: &Limits,
        connections: usize,
        status: &Arc<Status>,
    ) -> Node {
        let lanes = (0..connections)
            .map(|_| Supervisor::start_lazy(whereabouts.clone(), limits.clone(), status.lane()));
        Node::new(whereabouts, lanes.collect())
    }

    fn new(whereabouts: &Whereabouts, lanes: Vec<Supervisor>) -> Node {
        let whereabouts = whereabouts.clone();
        Node { whereabouts, lanes: lanes.into(), next: AtomicUsize::new(0) }
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        lane: Lane,
        by: Instant,
    ) -> Result<Value, Failed> {
        self.lane(lane).call(request, by).await
    }

    fn lane(&self, lane: Lane) -> &Supervisor {
        let (bulk, verdicts) = self.lanes.split_last().expect("a node has a connection");
        match (lane, verdicts) {
            (Lane::Bulk, _) | (Lane::Verdict, []) => bulk,
            (Lane::Verdict, [only]) => only,
            (Lane::Verdict, several) => {
                let first = self.next.fetch_add(1, Ordering::Relaxed);
                let mut others = (0..several.len()).map(|n| &several[(first + n) % several.len()]);
                let up = others.find(|lane| lane.is_up());
                up.unwrap_or(&several[first % several.len()])
            }
        }
    }

    /// The connection for what may be large, by a number that no other one has had; none while it is
    /// lost.
    pub(super) fn bulk_connection(&self) -> Option<u64> {
        self.lane(Lane::Bulk).connection()
    }

    pub(super) fn is_up(&self) -> bool {
        self.lanes.iter().all(Supervisor::is_up)
    }

    pub(super) fn refuse(&self) {
        self.lanes.iter().for_each(Supervisor::refuse);
    }

    pub(super) async fn drained(&self) {
        for lane in &self.lanes {
            lane.drained().await;
        }
    }

    pub(super) fn close(&self) {
        self.lanes.iter().for_each(Supervisor::close);
    }

    /// Waits for the connection that `lane` means, until `by` at most.
    pub(super) async fn until_up(&self, lane: Lane, by: Instant) -> bool {
        self.lane(lane).until_up(by).await
    }

    /// Where it is, unless Sentinels say so.
    pub(super) fn address(&self) -> Option<&Address> {
        match &self.whereabouts {
            Whereabouts::Fixed(endpoint) => Some(&endpoint.address),
            Whereabouts::Sentinel(_) => None,
        }
    }

    /// Waits for the first connection of each, until `by` at most.
    pub(super) async fn until_connected(&self, by: Instant) {
        for lane in self.lanes.iter().filter(|lane| lane.is_new()) {
            lane.until_up(by).await;
        }
    }

    /// The server is at `place` from now on.
    pub(super) fn moved(&self, place: &HostPort) {
        self.lanes.iter().for_each(|lane| lane.moved(place));
    }
}
