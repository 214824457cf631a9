//! Private Redis clusters.

mod nodes;
mod slots;
mod view;

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::launch::{Setup, retry};
use crate::tls::tls_only;
use crate::{Counts, RedisServer, free_port};
use view::{Known, SLOTS, View};

const PRIMARIES: usize = 3;
const REPLICAS: usize = 3;

/// How long the nodes may take to agree.
const AGREE_LIMIT: Duration = Duration::from_secs(20);

/// What every node is started with. A node counts as failed after a second, and a replica takes
/// over about two seconds later, however long it had not heard from its primary.
const ARGS: &str = "--cluster-enabled yes --cluster-config-file nodes.conf \
    --cluster-node-timeout 1000 --cluster-replica-validity-factor 0 \
    --cluster-require-full-coverage no --cluster-allow-replica-migration no \
    --repl-diskless-sync-delay 0";

/// A real cluster of the test's own on 127.0.0.1: three primaries, with a third of the slots each,
/// and a replica of each primary.
///
/// Nodes have numbers, from 0 to 5, which they keep: the first three are primaries to begin with,
/// and number 3 is a replica of number 0, 4 of 1, and 5 of 2. What they are later is asked of them.
///
/// Killed when dropped, and when the test process ends in whatever way.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    /// The nodes' names for each other.
    ids: Vec<String>,
    /// What the nodes had counted when the cluster was whole for the first time.
    before: Vec<Counts>,
}

impl RedisCluster {
    /// Starts a cluster, and waits until it is whole. That takes a little more than two seconds,
    /// the time that Redis gives to a restarted primary to hear of its successor.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a cluster whose nodes have further arguments, such as `["--cluster-node-timeout",
    /// "5000"]`. With `--requirepass` there has to be `--masterauth`.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed or does not start.
    #[must_use]
    pub fn with(args: &[&str]) -> Self {
        Self::of(&Setup::default(), args)
    }

    /// As [`Self::with`], of nodes that speak nothing but TLS, to each other as well. Each has the
    /// authority's certificate: see [`RedisServer::ca_path`].
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed, was built without TLS, or does not start.
    #[must_use]
    pub fn tls_with(args: &[&str]) -> Self {
        Self::of(&tls_only(), args)
    }

    fn of(common: &Setup, args: &[&str]) -> Self {
        let start = || retry(|| RedisServer::try_start(setup(common, args)));
        let nodes: Vec<RedisServer> = thread::scope(|scope| {
            let started = [(); PRIMARIES + REPLICAS].map(|()| scope.spawn(start));
            started.map(|node| node.join().expect("a node does not start")).into()
        });
        let ids = nodes.iter().map(|node| node.command(&["CLUSTER", "MYID"])).collect();
        let mut cluster = Self { nodes, ids, before: Vec::new() };
        cluster.introduce();
        cluster.wait_until_whole();
        cluster.before = cluster.nodes.iter().map(RedisServer::count).collect();
        cluster
    }

    /// One cluster for the whole test process, started at first use.
    ///
    /// Tests that run side by side share it: keep to keys of your own, and to slots of your own
    /// where you move them; count and kill elsewhere.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `redis-cluster://127.0.0.1:PORT,…` with all nodes, without any password; `rediss-cluster://`
    /// where they speak TLS.
    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| node.addr().to_string()).collect();
        format!("{}-cluster://{}", self.nodes[0].setup.scheme(), nodes.join(","))
    }

    /// All nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The node with this number.
    pub fn node(&self, node: usize) -> &RedisServer {
        &self.nodes[node]
    }

    /// The running nodes that are primaries by their own account.
    pub fn primaries(&self) -> Vec<usize> {
        self.running().filter(|&node| self.knows_itself(node, |it| it.is_primary)).collect()
    }

    /// The primary that serves a key.
    ///
    /// # Panics
    ///
    /// Panics if no running node does.
    #[track_caller]
    pub fn primary_of(&self, key: &str) -> usize {
        self.primary_of_slot(self.slot_of(key))
    }

    /// The primary that serves a slot. Of several that claim it, as when an old primary has come
    /// back and not yet heard of its successor, it is the one that was elected last.
    ///
    /// # Panics
    ///
    /// Panics if no running node does.
    #[track_caller]
    pub fn primary_of_slot(&self, slot: u16) -> usize {
        let claims = self.running().filter_map(|node| {
            let view = self.view(node)?;
            view.myself().owns(slot).then(|| (view.myself().epoch, node))
        });
        claims.max().unwrap_or_else(|| panic!("no running node has slot {slot}")).1
    }

    /// A running replica of the primary that serves a key.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    #[track_caller]
    pub fn replica_of(&self, key: &str) -> usize {
        let primary = self.primary_of(key);
        let replicas = self.replicas_of(primary);
        *replicas.first().unwrap_or_else(|| panic!("node {primary} has no running replica"))
    }

    /// The running nodes that are replicas of this one by their own account.
    pub fn replicas_of(&self, primary: usize) -> Vec<usize> {
        let replicates = |it: &Known| it.replicates.as_ref() == Some(&self.ids[primary]);
        self.running().filter(|&node| self.knows_itself(node, replicates)).collect()
    }

    /// The slot of a key.
    #[track_caller]
    pub fn slot_of(&self, key: &str) -> u16 {
        let node = self.running().next().expect("no node runs");
        self.nodes[node].query(&["CLUSTER", "KEYSLOT", key])
    }

    /// All keys of all primaries, sorted.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> =
            self.primaries().into_iter().flat_map(|node| self.nodes[node].keys()).collect();
        keys.sort_unstable();
        keys
    }

    /// What clients have made the running primaries do since the cluster was whole, or since they
    /// were restarted.
    ///
    /// What nodes say to each other is left out as far as it can be told apart: a step of
    /// [`Self::migrate_keys`] and a replica that connects anew show in `round_trips`. What replicas
    /// do is left out, because most of that is what their primaries did before.
    #[track_caller]
    pub fn count(&self) -> Counts {
        let mut sum = Counts::default();
        for node in self.primaries() {
            let mut counts = self.nodes[node].count().since(&self.before[node]);
            // A replica says once a second how far it has got.
            let progress = counts.commands.remove("replconf").unwrap_or(0);
            counts.round_trips = counts.round_trips.saturating_sub(progress);
            for command in ["psync", "restore-asking"] {
                counts.commands.remove(command);
            }
            sum.add(&counts);
        }
        sum
    }

    /// Waits until the running nodes agree who serves which slot, all slots are served by running
    /// nodes, and all running replicas have their primary's data. While the replica of a killed or
    /// paused primary takes over, that is not so.
    ///
    /// # Panics
    ///
    /// Panics after 20 seconds, with what is still missing.
    #[track_caller]
    pub fn wait_until_whole(&self) {
        let deadline = Instant::now() + AGREE_LIMIT;
        while let Err(missing) = self.check() {
            assert!(Instant::now() < deadline, "the cluster is not whole: {missing}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut first = None;
        for node in self.running() {
            let view = self.view(node).ok_or_else(|| format!("node {node} does not answer"))?;
            self.check_view(&view).map_err(|missing| format!("to node {node} {missing}"))?;
            let server = &self.nodes[node];
            if !server.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
                return Err(format!("node {node} does not serve"));
            }
            let replication = server.command(&["INFO", "replication"]);
            if !view.myself().is_primary && !replication.contains("master_link_status:up") {
                return Err(format!("node {node} does not replicate"));
            }
            if first.get_or_insert_with(|| view.owners()) != &view.owners() {
                return Err(format!("node {node} disagrees about who has which slot"));
            }
        }
        first.map(drop).ok_or_else(|| "no node runs".to_owned())
    }

    fn check_view(&self, view: &View) -> Result<(), String> {
        for running in self.running() {
            let port = self.nodes[running].port();
            if !view.nodes().iter().any(|known| known.port == port && known.is_well) {
                return Err(format!("node {running} is unknown or unwell"));
            }
        }
        let runs = |port| self.nodes.iter().any(|node| node.port() == port && node.is_running());
        if let Some(away) = view.owners().keys().find(|port| !runs(**port)) {
            return Err(format!("the primary at port {away} is away"));
        }
        let covered = view.covered();
        (covered == usize::from(SLOTS)).then_some(()).ok_or(format!("{covered} slots are served"))
    }

    /// Makes one cluster of nodes that do not know of each other.
    fn introduce(&self) {
        let per_primary = usize::from(SLOTS).div_ceil(PRIMARIES);
        for (number, node) in self.nodes.iter().enumerate() {
            // Otherwise all have the same, and it takes them a while to agree who has which.
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            for other in &self.nodes[..number] {
                let (port, bus) = (other.port().to_string(), bus_port(other));
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
            if number < PRIMARIES {
                let first = number * per_primary;
                let last = usize::from(SLOTS).min(first + per_primary) - 1;
                let (first, last) = (first.to_string(), last.to_string());
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
        }
        let deadline = Instant::now() + AGREE_LIMIT;
        for replica in PRIMARIES..PRIMARIES + REPLICAS {
            let replicate = ["CLUSTER", "REPLICATE", &self.ids[replica - PRIMARIES]];
            // Until it has been introduced to its primary, it cannot.
            while let Err(error) = self.nodes[replica].try_query::<String>(&replicate) {
                assert!(Instant::now() < deadline, "node {replica} is no replica: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_running())
    }

    /// What a node knows, if it answers.
    fn view(&self, node: usize) -> Option<View> {
        let nodes = self.nodes[node].try_query::<String>(&["CLUSTER", "NODES"]);
        nodes.ok().map(|nodes| View::parse(&nodes))
    }

    fn knows_itself(&self, node: usize, to_be: impl Fn(&Known) -> bool) -> bool {
        self.view(node).is_some_and(|view| to_be(view.myself()))
    }
}

fn setup(common: &Setup, args: &[&str]) -> Setup {
    let own: Vec<_> = ARGS.split(' ').filter(|arg| !arg.is_empty()).collect();
    let bus = ["--cluster-port", &free_port().to_string()];
    let setup = common.clone().and(&own).and(&bus).and(args);
    Setup { kept: vec!["nodes.conf"], ..setup }
}

fn bus_port(node: &RedisServer) -> String {
    node.setup.value("--cluster-port").expect("every node is told its bus port").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, refusal, runs, stranger};

    fn set(cluster: &RedisCluster, key: &str) {
        let primary = cluster.node(cluster.primary_of(key));
        stranger(primary).call(&["SET", key, "1"]).expect("OK");
    }

    #[test]
    fn is_whole_from_the_start() {
        let cluster = RedisCluster::shared();
        assert_eq!(cluster.primaries(), [0, 1, 2]);
        for primary in 0..3 {
            assert_eq!(cluster.replicas_of(primary), [primary + 3]);
        }
        assert_eq!((cluster.slot_of("a"), cluster.primary_of("a")), (15495, 2));
        assert_eq!(cluster.replica_of("a"), 5);
        let ports = cluster.url().replacen("redis-cluster://", "", 1).replace("127.0.0.1:", "");
        let expected: Vec<_> = cluster.nodes().iter().map(|it| it.port().to_string()).collect();
        assert_eq!(ports.split(',').collect::<Vec<_>>(), expected);
        assert!(std::ptr::eq(cluster, RedisCluster::shared()));
    }

    #[test]
    fn a_node_sends_on_what_is_not_its_own() {
        let cluster = RedisCluster::shared();
        let (slot, primary) = (cluster.slot_of("moved"), cluster.primary_of("moved"));
        stranger(cluster.node(primary)).call(&["GET", "moved"]).expect("its own");
        let elsewhere = cluster.primary_of_slot((slot + SLOTS / 2) % SLOTS);
        for node in [elsewhere, cluster.replica_of("moved")] {
            let moved = format!("MOVED {slot} {}", cluster.node(primary).addr());
            assert_eq!(refusal(&stranger(cluster.node(node)), &["GET", "moved"]), moved);
        }
    }

    #[test]
    fn a_replica_takes_over_from_a_killed_primary() {
        let mut cluster = RedisCluster::start();
        let count = cluster.count();
        assert!(count.commands.is_empty(), "{count:?}");
        let keys = ["a", "b", "c", "d", "e"];
        for key in keys {
            set(&cluster, key);
        }
        assert_eq!(cluster.keys(), keys);
        assert_eq!(cluster.count().since(&count).commands, [("set".to_owned(), 5)].into());
        // That each connection was closed is learned by reading too.
        assert!(testing::eventually(|| cluster.count().since(&count).round_trips == 10));

        let (primary, replica) = (cluster.primary_of("a"), cluster.replica_of("a"));
        cluster.kill(primary);
        cluster.wait_until_whole();
        assert_eq!(cluster.primary_of("a"), replica);
        assert_eq!(cluster.keys(), keys);
        cluster.restart(primary);
        cluster.wait_until_whole();
        assert_eq!(cluster.replicas_of(replica), [primary]);
        cluster.loading(primary, Duration::from_millis(200));
        assert!(refusal(&stranger(cluster.node(primary)), &["PING"]).starts_with("LOADING"));
        cluster.wait_until_whole();
        assert_eq!(cluster.replicas_of(replica), [primary]);
        assert_eq!(cluster.keys(), keys);
    }

    #[test]
    fn a_replica_takes_over_from_a_paused_primary() {
        let cluster = RedisCluster::start();
        set(&cluster, "a");
        let (primary, replica) = (cluster.primary_of("a"), cluster.replica_of("a"));
        cluster.pause(primary);
        cluster.wait_until_whole();
        assert_eq!(cluster.primary_of("a"), replica);
        cluster.resume(primary);
        cluster.wait_until_whole();
        assert_eq!(cluster.replicas_of(replica), [primary]);
        assert_eq!(cluster.keys(), ["a"]);

        let pids: Vec<_> = cluster.nodes().iter().map(RedisServer::pid).collect();
        assert!(pids.iter().all(|pid| runs(*pid)));
        drop(cluster);
        assert!(!pids.iter().any(|pid| runs(*pid)));
    }

    #[test]
    fn arguments_and_passwords_are_used() {
        let cluster = RedisCluster::with(&[
            "--requirepass",
            "secret",
            "--masterauth",
            "secret",
            "--cluster-require-full-coverage",
            "yes",
        ]);
        assert!(refusal(&stranger(cluster.node(0)), &["PING"]).starts_with("NOAUTH"));
        let full = ["CONFIG", "GET", "cluster-require-full-coverage"];
        assert!(cluster.node(0).command(&full).ends_with("yes"));
        let (slot, from) = (cluster.slot_of("a"), cluster.primary_of("a"));
        let to = (from + 1) % PRIMARIES;
        cluster.node(from).command(&["SET", "a", "1"]);
        cluster.migrate_slot(slot, to);
        assert_eq!(cluster.node(to).keys(), ["a"]);
    }

    #[test]
    fn a_killed_test_process_leaves_nothing_behind() {
        testing::leaves_nothing_behind(
            concat!(module_path!(), "::a_killed_test_process_leaves_nothing_behind"),
            || RedisCluster::shared().nodes().iter().collect(),
        );
    }
}
