//! Which nodes a cluster has: asked for, followed, and let go.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::cluster::{Role, Seeds, Shared};
use super::command::{Command, Lane, Request};
use super::node::Node;
use super::slots::{Range, SlotMap, ranges};
use super::whereabouts::Whereabouts;
use crate::policy::breaker::backoff;
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::target::HostPort;

/// How long the question for the slots may take.
const DISCOVERY: Duration = Duration::from_secs(1);

/// The least time between two such questions.
const REST: Duration = Duration::from_millis(20);

/// How often it is asked although nothing seems to have changed: nobody says that a replica has
/// come.
const REFRESH: Duration = Duration::from_secs(5);

/// How long new nodes are waited for before the slots are theirs all the same.
const CONNECT: Duration = Duration::from_millis(250);

const NO_CLUSTER: &str = "it is no cluster: use redis://";
const NO_SLOTS: &str = "the cluster has no slots yet";

impl Shared {
    pub(super) fn node_at(&self, place: &HostPort, role: Role) -> Arc<Node> {
        let connect = || {
            let Seeds { access, limits, connections, .. } = &self.seeds;
            let mut endpoint = access.at(place);
            endpoint.access.reads_only = role == Role::Replica;
            let whereabouts = Whereabouts::Fixed(endpoint);
            // A replica that is away is not missed, so it is nothing to the store's health.
            let status = match role {
                Role::Primary => self.status.clone(),
                Role::Replica => self.status.of_replica(),
            };
            Node::start_lazy(&whereabouts, limits, *connections, &status).into()
        };
        self.nodes().entry((place.clone(), role)).or_insert_with(connect).clone()
    }

    /// Takes over what a node says about the slots; a node that is not named any more is let go.
    ///
    /// A new node is connected to before: until then the old one says where to go, and who is sent
    /// on waits, while a call by the map never does.
    #[expect(clippy::disallowed_methods, reason = "a deadline is counted from now on")]
    pub(super) async fn adopt(&self, ranges: &[Range]) {
        let from_replicas = self.seeds.read_from_replicas;
        let replica = |place: &HostPort| from_replicas.then(|| self.node_at(place, Role::Replica));
        let map = SlotMap::new(ranges, |place| self.node_at(place, Role::Primary), replica);
        let named = |(place, role): &(HostPort, Role)| match role {
            Role::Primary => ranges.iter().any(|range| range.primary == *place),
            Role::Replica => ranges.iter().any(|range| range.replicas.contains(place)),
        };
        let by = Instant::now() + CONNECT;
        let nodes =
            map.owners().iter().flat_map(|owner| owner.replicas.iter().chain([&owner.primary]));
        join_all(nodes.map(|node| node.until_connected(by))).await;
        self.map.store(Arc::new(map));
        self.nodes().retain(|node, _| named(node));
    }

    pub(super) async fn maintain(self: Arc<Shared>) {
        let mut health = self.status.watch();
        let mut attempt = 0;
        loop {
            if self.map.load().is_whole() && self.status.health().is_up() {
                attempt = 0;
                tokio::select! {
                    () = self.stale.notified() => {}
                    _ = health.wait_for(|health| !health.is_up()) => {}
                    () = tokio::time::sleep(REFRESH), if self.seeds.read_from_replicas => {}
                }
            }
            if let Ok(ranges) = self.discover().await {
                self.adopt(&ranges).await;
            }
            tokio::time::sleep(REST + backoff(attempt, fastrand::f64())).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Asks a node that is known to answer, or else the seeds.
    async fn discover(&self) -> Result<Vec<Range>, StoreError> {
        let mut known: Vec<_> = {
            let nodes = self.nodes();
            let up =
                nodes.iter().filter(|((_, role), node)| *role == Role::Primary && node.is_up());
            up.map(|((place, _), node)| (place.clone(), node.clone())).collect()
        };
        fastrand::shuffle(&mut known);
        for (place, node) in known {
            if let Ok(ranges) = self.ask_for_slots(&place, &node).await {
                return Ok(ranges);
            }
        }
        self.ask_seeds().await
    }

    #[expect(clippy::disallowed_methods, reason = "a deadline is counted from now on")]
    async fn ask_for_slots(&self, place: &HostPort, node: &Node) -> Result<Vec<Range>, StoreError> {
        let by = Instant::now() + self.seeds.limits.deadline;
        let slots = Request::One(Command::keyless("CLUSTER").arg("SLOTS"));
        let reply = node.call(&slots, Lane::Verdict, by).await.map_err(|failed| failed.error)?;
        Ok(ranges(reply, place)?)
    }

    pub(super) async fn ask_seeds(&self) -> Result<Vec<Range>, StoreError> {
        // All at once: some may hang, and nobody waits for them then.
        let mut answers: FuturesUnordered<_> =
            self.seeds.places.iter().map(|seed| self.ask_in_time(seed)).collect();
        let mut failed = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(ranges) => return Ok(ranges),
                Err(error) => failed = Some(error.or_telling(failed)),
            }
        }
        Err(failed.unwrap_or(StoreError::new(Kind::Unavailable)))
    }

    async fn ask_in_time(&self, seed: &HostPort) -> Result<Vec<Range>, StoreError> {
        let asked = tokio::time::timeout(DISCOVERY, self.ask_seed(seed)).await;
        asked.unwrap_or_else(|_| Err(self.seeds.access.at(seed).error(Kind::Timeout)))
    }

    async fn ask_seed(&self, seed: &HostPort) -> Result<Vec<Range>, StoreError> {
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let reply = self.seeds.access.at(seed).ask(&slots, NO_CLUSTER).await?;
        let ranges = ranges(reply, seed)?;
        if ranges.is_empty() {
            return Err(StoreError::about(Kind::WrongTopology, NO_SLOTS));
        }
        Ok(ranges)
    }
}
