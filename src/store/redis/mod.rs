//! The store on Redis: `endpoint` says where, `supervisor` keeps a connection, `node` a server's
//! connections, `cluster` many nodes, `subscriber` the connection for messages; one file per noun
//! says how each verb is spelled.

mod batch;
mod cache;
mod channel;
mod cluster;
mod command;
mod consumer;
mod discovery;
mod endpoint;
mod hello;
mod info;
mod lock;
mod log;
mod monitoring;
mod node;
mod permit;
mod presence;
mod probe;
mod rate_limit;
mod raw;
mod redirect;
mod reply;
mod scan;
mod sentinel;
mod session;
mod shortcuts;
mod slot;
mod slots;
mod status;
mod subscriber;
mod supervisor;
mod tls;
mod token;
mod values;
mod whereabouts;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::cluster::{Cluster, Seeds};
pub(crate) use self::command::{Lane, Request};
use self::endpoint::{Access, Endpoint};
#[cfg(fuzzing)]
pub(crate) use self::info::fuzz as fuzz_info;
use self::node::Node;
pub(crate) use self::reply::Unexpected;
use self::sentinel::Sentinels;
use self::shortcuts::Shortcuts;
use self::status::Status;
use self::subscriber::Subscriber;
use self::supervisor::Limits;
use self::whereabouts::Whereabouts;
use super::health::Health;
use super::keys::Keys;
use super::target::{HostPort, Target, Topology};
use super::verbs::{ScanTarget, Verb};
use super::{Settings, StoreError};
use crate::policy::Timestamp;

/// How a verb is spelled for Redis.
pub(crate) trait OnRedis: Verb<Answer: Send> + Sized + Send + 'static {
    /// The connection it takes.
    const LANE: Lane = Lane::Verdict;

    /// Whether a cluster's replica may answer, with what it has.
    const FROM_REPLICA: bool = false;

    /// Whether an error among several replies is the error of all.
    const ALL_OR_ERROR: bool = false;

    fn request(&self, keys: &Keys) -> Request;

    /// Reads the reply to `request`.
    fn answer(reply: redis::Value) -> Result<Self::Answer, Unexpected>;

    /// The answer, where this process knows it.
    fn known(&self, _: &Redis) -> Option<Self::Answer> {
        None
    }

    /// Does it, on whatever topology.
    fn through(
        self,
        redis: &Redis,
    ) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send {
        redis.directly(self)
    }

    /// Does it on a cluster. Only where `request` is a script whose keys are in several slots, this
    /// is something else than sending it.
    fn on_cluster(
        self,
        redis: &Redis,
    ) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send {
        redis.at_once(self)
    }
}

#[derive(Debug)]
pub(crate) struct Redis {
    keys: Keys,
    servers: Arc<Servers>,
    subscriber: Subscriber,
    status: Arc<Status>,
    shortcuts: Shortcuts,
    deadline: Duration,
    bulk_deadline: Duration,
}

#[derive(Debug)]
enum Servers {
    /// One at a time: alone, or the primary that Sentinels name.
    One {
        node: Arc<Node>,
        whereabouts: Whereabouts,
        watch: Option<Watch>,
    },
    Many(Cluster),
}

/// The task that listens to the Sentinels.
#[derive(Debug)]
struct Watch(AbortHandle);

impl Watch {
    /// Listens no longer.
    fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Redis {
    pub(crate) async fn connect(target: &Target, settings: &Settings) -> Result<Redis, StoreError> {
        let plan = Plan::new(target, settings)?;
        let status = Status::new(&settings.prefix);
        let servers = match plan.servers {
            Planned::One(whereabouts) => {
                let node =
                    Node::start(&whereabouts, &plan.limits, settings.connections, &status).await?;
                Servers::one(node, whereabouts)
            }
            Planned::Many(seeds) => Servers::Many(Cluster::start(seeds, status.clone()).await?),
        };
        Ok(Redis::new(servers, status, settings))
    }

    pub(crate) fn connect_lazy(target: &Target, settings: &Settings) -> Result<Redis, StoreError> {
        let plan = Plan::new(target, settings)?;
        let status = Status::new(&settings.prefix);
        let servers = match plan.servers {
            Planned::One(whereabouts) => {
                let node =
                    Node::start_lazy(&whereabouts, &plan.limits, settings.connections, &status);
                Servers::one(node, whereabouts)
            }
            Planned::Many(seeds) => Servers::Many(Cluster::start_lazy(seeds, status.clone())),
        };
        Ok(Redis::new(servers, status, settings))
    }

    fn new(servers: Servers, status: Arc<Status>, settings: &Settings) -> Redis {
        let servers = Arc::new(servers);
        Redis {
            keys: Keys::new(&settings.prefix),
            subscriber: Subscriber::new(servers.clone(), status.clone(), settings.deadline),
            servers,
            status,
            shortcuts: Shortcuts::default(),
            deadline: settings.deadline,
            bulk_deadline: settings.bulk_deadline.unwrap_or(settings.deadline),
        }
    }

    /// Where the connections are kept.
    pub(crate) fn runtime(&self) -> Handle {
        self.subscriber.runtime()
    }

    pub(crate) async fn ask<V: OnRedis>(
        self: Arc<Redis>,
        verb: V,
    ) -> Result<V::Answer, StoreError> {
        verb.through(&self).await
    }

    async fn directly<V: OnRedis>(&self, verb: V) -> Result<V::Answer, StoreError> {
        if self.is_cluster() {
            Box::pin(verb.on_cluster(self)).await
        } else {
            self.at_once(verb).await
        }
    }

    async fn at_once<V: OnRedis>(&self, verb: V) -> Result<V::Answer, StoreError> {
        let request = verb.request(&self.keys);
        let mut reply = self.send(&request, V::LANE, V::FROM_REPLICA).await?;
        if V::ALL_OR_ERROR {
            reply = redis::Value::Array(reply::all(reply)?);
        }
        V::answer(reply).map_err(StoreError::from)
    }

    /// Sends a request, within the deadline.
    async fn call(
        &self,
        request: impl Into<Request>,
        lane: Lane,
    ) -> Result<redis::Value, StoreError> {
        self.send(&request.into(), lane, false).await
    }

    #[expect(clippy::disallowed_methods, reason = "a deadline is counted from now on")]
    fn by(&self, lane: Lane) -> Instant {
        Instant::now()
            + match lane {
                Lane::Verdict => self.deadline,
                Lane::Bulk => self.bulk_deadline,
            }
    }

    async fn send(
        &self,
        request: &Request,
        lane: Lane,
        from_replica: bool,
    ) -> Result<redis::Value, StoreError> {
        let by = self.by(lane);
        match &*self.servers {
            Servers::One { node, .. } => {
                node.call(request, lane, by).await.map_err(|failed| failed.error)
            }
            Servers::Many(cluster) => {
                // Boxed: or a call to one server would carry the room for it.
                Box::pin(cluster.call(request, lane, from_replica, by)).await
            }
        }
    }

    /// Every server that holds keys, and what a scan calls it.
    fn primaries(&self) -> Result<Vec<(ScanTarget, Arc<Node>)>, StoreError> {
        match &*self.servers {
            Servers::One { node, .. } => Ok(vec![(ScanTarget::default(), node.clone())]),
            Servers::Many(cluster) => cluster.primaries(),
        }
    }

    /// Refuses further calls, and waits for those under way.
    pub(crate) async fn drained(&self) {
        let nodes = self.nodes();
        nodes.iter().for_each(|node| node.refuse());
        for node in nodes {
            node.drained().await;
        }
    }

    /// Closes every connection for good.
    pub(crate) fn close(&self) {
        match &*self.servers {
            Servers::One { watch, .. } => watch.iter().for_each(Watch::stop),
            Servers::Many(cluster) => cluster.stop(),
        }
        self.nodes().iter().for_each(|node| node.close());
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        match &*self.servers {
            Servers::One { node, .. } => vec![node.clone()],
            Servers::Many(cluster) => cluster.all(),
        }
    }

    /// Whether keys may be in different slots.
    fn is_cluster(&self) -> bool {
        matches!(*self.servers, Servers::Many(_))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.status.now()
    }

    pub(crate) fn health(&self) -> Health {
        self.status.health()
    }

    pub(crate) fn watch_health(&self) -> watch::Receiver<Health> {
        self.status.watch()
    }
}

impl Servers {
    /// Whether the primary's part can go to another server.
    fn may_move(&self) -> bool {
        !matches!(self, Servers::One { whereabouts: Whereabouts::Fixed(_), .. })
    }

    /// A connection that only listens. On a cluster, what is published at one node is heard at all.
    async fn pubsub(&self) -> Result<redis::aio::PubSub, StoreError> {
        match self {
            Servers::One { whereabouts, .. } => whereabouts.locate().await?.pubsub().await,
            Servers::Many(cluster) => cluster.any_endpoint()?.pubsub().await,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the task that listens to the Sentinels")]
    fn one(node: Node, whereabouts: Whereabouts) -> Servers {
        let node = Arc::new(node);
        let watch = match &whereabouts {
            Whereabouts::Fixed(_) => None,
            Whereabouts::Sentinel(sentinels) => {
                let (sentinels, node) = (sentinels.clone(), Arc::downgrade(&node));
                let moved = move |place: &HostPort| {
                    if let Some(node) = node.upgrade() {
                        node.moved(place);
                    }
                };
                let watch = tokio::spawn(async move { sentinels.watch(moved).await });
                Some(Watch(watch.abort_handle()))
            }
        };
        Servers::One { node, whereabouts, watch }
    }
}

/// What a target and settings come to, before anything is connected.
struct Plan {
    servers: Planned,
    limits: Limits,
}

enum Planned {
    One(Whereabouts),
    Many(Seeds),
}

impl Plan {
    fn new(target: &Target, settings: &Settings) -> Result<Plan, StoreError> {
        let access = Access {
            login: target.login.clone(),
            credentials: settings.credentials.clone(),
            database: target.database,
            resp3: target.resp3,
            tls: tls::connector(target.tls.as_ref(), &settings.tls)?,
            in_cluster: matches!(target.topology, Topology::Cluster { .. }),
            reads_only: false,
        };
        let limits = Limits {
            deadline: settings.deadline,
            max_in_flight: settings.max_in_flight,
            probe_key: Keys::new(&settings.prefix).probe().into(),
        };
        let servers = match &target.topology {
            Topology::Standalone(address) => {
                Planned::One(Whereabouts::Fixed(Endpoint { address: address.clone(), access }))
            }
            Topology::Sentinel { sentinels, service, login, timeout } => {
                let to_sentinels = Access {
                    login: login.clone(),
                    credentials: None,
                    database: 0,
                    ..access.clone()
                };
                Planned::One(Whereabouts::Sentinel(Arc::new(Sentinels::new(
                    sentinels.clone(),
                    service.clone(),
                    *timeout,
                    to_sentinels,
                    access,
                ))))
            }
            Topology::Cluster { seeds, read_from_replicas } => Planned::Many(Seeds {
                places: seeds.clone(),
                access,
                limits: limits.clone(),
                connections: settings.connections,
                read_from_replicas: *read_from_replicas,
            }),
        };
        Ok(Plan { servers, limits })
    }
}
