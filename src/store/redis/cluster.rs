use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{join_all, try_join_all};
use redis::{RedisError, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::command::{Command, Lane, Request};
use super::endpoint::{Access, Endpoint};
use super::node::Node;
use super::redirect::{Failed, Redirect};
use super::reply::{self, Unexpected};
use super::slots::{SlotMap, slot};
use super::status::Status;
use super::supervisor::Limits;
use super::whereabouts::Whereabouts;
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::target::HostPort;
use crate::store::verbs::ScanTarget;

/// The nodes of a cluster, each with supervised connections of its own: one that hangs takes the
/// keys in its slots down and no others.
///
/// The redis crate's own cluster client is not used: with retries it may run a write twice, and
/// without them it follows no redirection.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// Where the cluster is, and how to speak to it.
pub(super) struct Seeds {
    pub(super) places: Vec<HostPort>,
    pub(super) access: Access,
    pub(super) limits: Limits,
    pub(super) connections: usize,
    pub(super) read_from_replicas: bool,
}

pub(super) struct Shared {
    pub(super) seeds: Seeds,
    pub(super) status: Arc<Status>,
    pub(super) map: ArcSwap<SlotMap>,
    /// Every node that is connected to; a replica has a place of its own beside its role of a
    /// possible primary.
    nodes: Mutex<HashMap<(HostPort, Role), Arc<Node>>>,
    pub(super) stale: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Primary,
    Replica,
}

/// What the other nodes are asked for when one of several has failed.
#[derive(Clone, Copy)]
enum Others {
    /// Writes are done where they can be.
    GoOn,
    /// Nobody waits for what is of no use without the rest.
    InVain,
}

/// How many redirections one request follows at once; the nodes may not agree yet, so from then on
/// there is a pause before each.
const REDIRECTS: usize = 2;

const PAUSE: Duration = Duration::from_millis(5);

impl Cluster {
    /// Asks for the slots, and connects to every primary.
    pub(super) async fn start(seeds: Seeds, status: Arc<Status>) -> Result<Cluster, StoreError> {
        let shared = Shared::new(seeds, status);
        let ranges = shared.ask_seeds().await?;
        let mut places: Vec<&HostPort> = ranges.iter().map(|range| &range.primary).collect();
        places.sort_unstable();
        places.dedup();
        let nodes = places.into_iter().map(async |place| {
            let Seeds { access, limits, connections, .. } = &shared.seeds;
            let whereabouts = Whereabouts::Fixed(access.at(place));
            let node = Node::start(&whereabouts, limits, *connections, &shared.status).await?;
            Ok::<_, StoreError>(((place.clone(), Role::Primary), Arc::new(node)))
        });
        let nodes = try_join_all(nodes).await?;
        shared.nodes().extend(nodes);
        shared.adopt(&ranges).await;
        Ok(Cluster::maintain(shared))
    }

    /// Asks and connects in the background.
    pub(super) fn start_lazy(seeds: Seeds, status: Arc<Status>) -> Cluster {
        let shared = Shared::new(seeds, status);
        shared.stale.notify_one();
        Cluster::maintain(shared)
    }

    #[expect(clippy::disallowed_methods, reason = "the task that follows the cluster's changes")]
    fn maintain(shared: Arc<Shared>) -> Cluster {
        let task = tokio::spawn(shared.clone().maintain()).abort_handle();
        Cluster { shared, task }
    }

    /// Sends a request to the nodes that it concerns, and waits for their replies until `by`.
    pub(super) async fn call(
        &self,
        request: &Request,
        lane: Lane,
        from_replica: bool,
        by: Instant,
    ) -> Result<Value, StoreError> {
        let answer = self.shared.call(request, lane, from_replica, by).await;
        match answer {
            // Nothing is written by what a replica may answer, so it can be asked for twice.
            Err(error) if from_replica && error.is_unavailable() => {
                self.shared.call(request, lane, false, by).await
            }
            answer => answer,
        }
    }

    /// Every node that is connected to.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        self.shared.nodes().values().cloned().collect()
    }

    /// Follows the cluster no longer.
    pub(super) fn stop(&self) {
        self.task.abort();
    }

    /// The nodes that keep slots. Without one of them, what is found is not all.
    pub(super) fn primaries(&self) -> Result<Vec<(ScanTarget, Arc<Node>)>, StoreError> {
        let map = self.shared.map.load();
        if !map.is_whole() {
            self.shared.stale.notify_one();
            return Err(StoreError::new(Kind::Unavailable));
        }
        let nodes = self.shared.nodes();
        let keeps =
            |node: &Arc<Node>| map.owners().iter().any(|owner| Arc::ptr_eq(&owner.primary, node));
        let found = nodes.iter().filter(|(_, node)| keeps(node));
        Ok(found.map(|((place, _), node)| (ScanTarget(place.to_string()), node.clone())).collect())
    }

    /// The node of that name, if it still is there.
    pub(super) fn primary(&self, target: &ScanTarget) -> Result<Arc<Node>, StoreError> {
        let nodes = self.shared.nodes();
        let named = |(place, role): &(HostPort, Role)| {
            *role == Role::Primary && place.to_string() == target.0
        };
        let found = nodes.iter().find(|(node, _)| named(node)).map(|(_, node)| node.clone());
        found.ok_or(StoreError::new(Kind::Unavailable))
    }

    /// A node that answers, for connections of another kind.
    pub(super) fn any_endpoint(&self) -> Result<Endpoint, StoreError> {
        let nodes = self.shared.nodes();
        let up = nodes.iter().find(|((_, role), node)| *role == Role::Primary && node.is_up());
        let place = up.map(|((place, _), _)| self.shared.seeds.access.at(place));
        place.ok_or(StoreError::new(Kind::Unavailable))
    }
}

/// `MGET` answers nothing for a key that holds something other than a string.
fn as_by_mget(reply: Value) -> Result<Value, StoreError> {
    match reply {
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Value::Nil),
        reply => reply::extracted(reply),
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn new(seeds: Seeds, status: Arc<Status>) -> Arc<Shared> {
        Arc::new(Shared {
            seeds,
            status,
            map: ArcSwap::from_pointee(SlotMap::empty()),
            nodes: Mutex::default(),
            stale: Notify::new(),
        })
    }

    pub(super) fn nodes(&self) -> std::sync::MutexGuard<'_, HashMap<(HostPort, Role), Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        request: &Request,
        lane: Lane,
        from_replica: bool,
        by: Instant,
    ) -> Result<Value, StoreError> {
        match request {
            Request::One(command) => {
                let slot = command.key().map(slot);
                self.routed(slot, request, lane, from_replica, by).await
            }
            Request::Atomic(commands) => {
                let slot = commands.iter().find_map(Command::key).map(slot);
                self.routed(slot, request, lane, false, by).await
            }
            Request::Together(commands) => self
                .together(commands, lane, from_replica, by, Others::GoOn)
                .await
                .map(Value::Array),
            Request::GetAll(keys) => {
                let gets: Vec<_> = keys.iter().map(|key| Command::new("GET").arg(key)).collect();
                let found = self.together(&gets, lane, from_replica, by, Others::InVain).await?;
                found.into_iter().map(as_by_mget).collect::<Result<_, _>>().map(Value::Array)
            }
        }
    }

    /// Groups the commands by node, and puts the replies back into their order.
    async fn together(
        &self,
        commands: &[Command],
        lane: Lane,
        from_replica: bool,
        by: Instant,
        others: Others,
    ) -> Result<Vec<Value>, StoreError> {
        let mut groups: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let node = self.node(command.key().map(slot), from_replica)?;
            match groups.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &node)) {
                Some((_, group)) => group.push(index),
                None => groups.push((node, vec![index])),
            }
        }
        let sent = groups.iter().map(async |(node, group)| {
            let part = group.iter().map(|index| commands[*index].clone()).collect();
            match node.call(&Request::Together(part), lane, by).await {
                Ok(Value::Array(replies)) if replies.len() == group.len() => Ok(replies),
                Ok(_) => Err(Unexpected.into()),
                Err(failed) => Err(self.noted(failed.error)),
            }
        });
        let parts = match others {
            Others::GoOn => join_all(sent).await.into_iter().collect::<Result<Vec<_>, _>>()?,
            Others::InVain => try_join_all(sent).await?,
        };
        let mut replies = vec![Value::Nil; commands.len()];
        for ((_, group), part) in groups.iter().zip(parts) {
            for (index, reply) in group.iter().zip(part) {
                replies[*index] = reply;
            }
        }
        for (command, reply) in commands.iter().zip(&mut replies) {
            let Value::ServerError(error) = &*reply else { continue };
            match error.code() {
                // Such a command did not run.
                "MOVED" | "ASK" | "TRYAGAIN" => {
                    let slot = command.key().map(slot);
                    let request = Request::One(command.clone());
                    *reply = self.routed(slot, &request, lane, false, by).await?;
                }
                "CLUSTERDOWN" => self.stale.notify_one(),
                _ => {}
            }
        }
        Ok(replies)
    }

    /// Sends to the node that keeps the slot, and on to where that one says. What is redirected
    /// did not run; whatever else fails is not sent again.
    async fn routed(
        &self,
        slot: Option<usize>,
        request: &Request,
        lane: Lane,
        from_replica: bool,
        by: Instant,
    ) -> Result<Value, StoreError> {
        let mut node = self.node(slot, from_replica)?;
        let mut asking = false;
        let mut redirects = 0;
        loop {
            let sent = match asking.then(|| request.asking()).flatten() {
                Some(together) => self.ask(&node, &together, lane, by).await,
                None => node.call(request, lane, by).await,
            };
            let Failed { error, redirect } = match sent {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            let Some(redirect) = redirect else { return Err(self.noted(error)) };
            asking = matches!(redirect, Redirect::Ask(_));
            redirects += 1;
            if (redirect == Redirect::TryAgain || redirects > REDIRECTS)
                && tokio::time::timeout_at(by, tokio::time::sleep(PAUSE)).await.is_err()
            {
                return Err(StoreError::about(Kind::Unavailable, "a slot is on the move"));
            }
            node = match redirect {
                Redirect::Moved(place) => {
                    self.stale.notify_one();
                    self.node_at(&place, Role::Primary)
                }
                Redirect::Ask(place) => self.node_at(&place, Role::Primary),
                // From the start: where the keys are by now, the first node knows.
                Redirect::TryAgain => self.node(slot, false)?,
            };
            node.until_up(lane, by).await;
        }
    }

    async fn ask(
        &self,
        node: &Node,
        together: &Request,
        lane: Lane,
        by: Instant,
    ) -> Result<Value, Failed> {
        let mut replies = reply::list(node.call(together, lane, by).await?)?;
        let last = replies.pop().ok_or(Unexpected)?;
        let Value::ServerError(last) = last else { return Ok(last) };
        // What was refused first says why: for that, all of a transaction is given up.
        let first = replies.into_iter().find_map(|reply| match reply {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        let error = RedisError::from(first.unwrap_or(last));
        let redirect = node.address().and_then(|from| Redirect::of(&error, from));
        Err(Failed { error: StoreError::reply(error.code().unwrap_or_default()), redirect })
    }

    /// An error that may mean that the slots are kept elsewhere by now.
    fn noted(&self, error: StoreError) -> StoreError {
        if error.is_unavailable() || error.is_timeout() {
            self.stale.notify_one();
        }
        error
    }

    /// The node for a slot; for a command without a key, any.
    fn node(&self, slot: Option<usize>, from_replica: bool) -> Result<Arc<Node>, StoreError> {
        let map = self.map.load();
        let owner = match slot {
            Some(slot) => map.owner(slot),
            None => {
                let owners = map.owners();
                let up = owners.iter().filter(|owner| owner.primary.is_up()).count();
                let nth = fastrand::usize(..up.max(1));
                owners.iter().filter(|owner| owner.primary.is_up()).nth(nth)
            }
        };
        let Some(owner) = owner else {
            self.stale.notify_one();
            return Err(StoreError::new(Kind::Unavailable));
        };
        let replica = || {
            let up: Vec<_> = owner.replicas.iter().filter(|replica| replica.is_up()).collect();
            (!up.is_empty()).then(|| up[fastrand::usize(..up.len())].clone())
        };
        Ok(from_replica.then(replica).flatten().unwrap_or_else(|| owner.primary.clone()))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<String> = self.shared.seeds.places.iter().map(HostPort::to_string).collect();
        f.debug_struct("Cluster").field("seeds", &seeds).finish_non_exhaustive()
    }
}
