//! Private Redis servers under the watch of sentinels.

mod setup;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::RedisServer;
use crate::launch::Setup;
use crate::tls::tls_only;
pub use setup::SentinelSetup;
use setup::{NAME, hurry, start_nodes, start_sentinels, without_folder};

/// How long a change may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);

/// A primary and its replicas, watched by three real sentinels, all of the test's own on 127.0.0.1.
/// Two of the sentinels can elect a new primary.
///
/// Nodes have numbers, which they keep: 0 is the primary to begin with, the others are replicas.
/// What they are later is asked of the sentinels, which have numbers of their own.
///
/// Killed when dropped, and when the test process ends in whatever way.
pub struct Sentinels {
    nodes: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts a primary, a replica and the sentinels, and waits until these know of each other.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&SentinelSetup::default())
    }

    /// Starts what `setup` says, and waits until the sentinels know of each other and all replicas.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed or does not start.
    #[must_use]
    pub fn with(setup: &SentinelSetup<'_>) -> Self {
        let common = if setup.tls { tls_only() } else { Setup::default() };
        let nodes = start_nodes(setup, &common);
        let sentinels = start_sentinels(setup, &common, nodes[0].port());
        let started = Self { nodes, sentinels };
        started.wait_until_whole();
        started
    }

    /// `redis-sentinel://127.0.0.1:PORT,…/mymaster` with all sentinels, without any password;
    /// `rediss-sentinel://` where they speak TLS.
    pub fn url(&self) -> String {
        let sentinels: Vec<_> = self.sentinel_addrs().iter().map(SocketAddr::to_string).collect();
        let scheme = self.sentinels[0].setup.scheme();
        format!("{scheme}-sentinel://{}/{NAME}", sentinels.join(","))
    }

    /// The addresses that the sentinels listen on.
    pub fn sentinel_addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(RedisServer::addr).collect()
    }

    /// The sentinels, in the order of their numbers. They know few commands.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The primary and the replicas, in the order of their numbers.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The node with this number.
    pub fn node(&self, node: usize) -> &RedisServer {
        &self.nodes[node]
    }

    /// The node that most running sentinels name as the primary, dead or alive.
    ///
    /// # Panics
    ///
    /// Panics if no sentinel runs.
    #[track_caller]
    pub fn primary(&self) -> usize {
        let mut votes = BTreeMap::<usize, usize>::new();
        for sentinel in self.running_sentinels() {
            *votes.entry(self.named_by(sentinel)).or_default() += 1;
        }
        votes.into_iter().max_by_key(|vote| vote.1).expect("no sentinel runs").0
    }

    /// The running nodes that are replicas by their own account.
    pub fn replicas(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| self.has_role(node, "slave")).collect()
    }

    /// Kills the primary at once, and returns its number.
    pub fn kill_primary(&mut self) -> usize {
        let primary = self.primary();
        self.nodes[primary].stop();
        primary
    }

    /// Stops the primary in its tracks, and returns its number.
    pub fn pause_primary(&self) -> usize {
        let primary = self.primary();
        self.nodes[primary].pause();
        primary
    }

    /// Lets a paused node go on. A primary that has been replaced takes itself for one until the
    /// sentinels tell it otherwise, within about a second.
    pub fn resume(&self, node: usize) {
        self.nodes[node].resume();
    }

    /// Starts a node again, on the same port and without its keys. What was said of
    /// [`Self::resume`] holds for it too.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].start_again();
    }

    /// Starts a node again, on the same port and with its keys, which take it about so long to load:
    /// see [`RedisServer::loading`].
    pub fn loading(&mut self, node: usize, duration: Duration) {
        self.nodes[node].loading(duration);
    }

    /// Kills a sentinel at once.
    pub fn kill_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].stop();
    }

    /// Starts a sentinel again, on the same port and with all that it knew.
    pub fn restart_sentinel(&mut self, sentinel: usize) {
        let sentinel = &mut self.sentinels[sentinel];
        sentinel.stop();
        without_folder(&mut sentinel.setup);
        sentinel.start_again();
        hurry(sentinel);
    }

    /// How long a node may be silent from now on before it is replaced:
    /// [`SentinelSetup::down_after`], if nothing else is said.
    #[track_caller]
    pub fn set_patience(&self, patience: Duration) {
        let millis = patience.as_millis().to_string();
        for sentinel in self.running_sentinels() {
            sentinel.command(&["SENTINEL", "SET", NAME, "down-after-milliseconds", &millis]);
        }
    }

    /// Has the sentinels replace a primary that is well, and returns its number as soon as they have
    /// chosen a replica to take over. It becomes a replica.
    ///
    /// # Panics
    ///
    /// Panics if none is chosen within 20 seconds.
    #[track_caller]
    pub fn failover(&self) -> usize {
        let primary = self.primary();
        self.wait_for("a failover", || {
            let sentinel = self.running_sentinels().next().ok_or("no sentinel runs")?;
            let is_chosen = |replica: &Record| replica["flags"].contains("promoted");
            let is_done = self.named_by(sentinel) != primary;
            if is_done || records(sentinel, "REPLICAS").iter().any(is_chosen) {
                return Ok(primary);
            }
            // What it has heard of the replicas may be too old to choose one, also later on.
            let answer = sentinel.try_query::<String>(&["SENTINEL", "FAILOVER", NAME]);
            Err(format!("no replica is chosen, {answer:?}"))
        })
    }

    /// As [`failover`](Sentinels::failover), and waits until it is done. One that a busy machine
    /// was too slow for, so that it was given up, is begun again.
    ///
    /// # Panics
    ///
    /// Panics if it is not done within 20 seconds.
    #[track_caller]
    pub fn fail_over(&self) -> usize {
        let old = self.failover();
        self.wait_for("a failover to its end", || {
            if self.agreed()? != old {
                return Ok(old);
            }
            let sentinel = self.running_sentinels().next().ok_or("no sentinel runs")?;
            let answer = sentinel.try_query::<String>(&["SENTINEL", "FAILOVER", NAME]);
            Err(format!("it is still node {old}, {answer:?}"))
        })
    }

    /// Waits until all running sentinels name another primary than `old`, and it is one, and
    /// returns its number.
    ///
    /// # Panics
    ///
    /// Panics after 20 seconds.
    #[track_caller]
    pub fn wait_for_failover(&self, old: usize) -> usize {
        self.wait_for("another primary", || {
            let primary = self.agreed()?;
            (primary != old).then_some(primary).ok_or(format!("it is still node {old}"))
        })
    }

    /// Waits until the running sentinels agree about the primary, it runs, all other running nodes
    /// are its replicas and have its data, and every sentinel knows that and the other sentinels.
    /// Then a failover is possible.
    ///
    /// # Panics
    ///
    /// Panics after 20 seconds, with what is still missing.
    #[track_caller]
    pub fn wait_until_whole(&self) {
        self.wait_for("a failover to be possible", || {
            let primary = self.agreed()?;
            let port = format!("master_port:{}", self.nodes[primary].port());
            let running = self.nodes.iter().filter(|node| node.is_running());
            let replicas: Vec<_> =
                running.filter(|node| node.port() != self.nodes[primary].port()).collect();
            for replica in &replicas {
                let replication = replica.try_query::<String>(&["INFO", "replication"]);
                let replication = replication.map_err(|error| error.to_string())?;
                for line in [port.as_str(), "master_link_status:up"] {
                    if !replication.lines().any(|it| it == line) {
                        return Err(format!("no `{line}` at {}", replica.addr()));
                    }
                }
            }
            self.running_sentinels().try_for_each(|it| self.check_sentinel(it, &replicas))
        });
    }

    /// Whether a sentinel has heard of all that it needs for a failover.
    fn check_sentinel(
        &self,
        sentinel: &RedisServer,
        replicas: &[&RedisServer],
    ) -> Result<(), String> {
        let who = sentinel.addr();
        let known = records(sentinel, "REPLICAS");
        for replica in replicas {
            let port = replica.port().to_string();
            let fit = |it: &Record| {
                it["port"] == port && it["flags"] == "slave" && it["master-link-status"] == "ok"
            };
            if !known.iter().any(fit) {
                return Err(format!("{who} does not know the replica at port {port}"));
            }
        }
        let known = records(sentinel, "SENTINELS");
        for other in self.running_sentinels().filter(|it| it.addr() != who) {
            let port = other.port().to_string();
            if !known.iter().any(|it| it["port"] == port && it["flags"] == "sentinel") {
                return Err(format!("{who} does not know the sentinel at port {port}"));
            }
        }
        Ok(())
    }

    /// The primary that all running sentinels name, if it agrees.
    fn agreed(&self) -> Result<usize, String> {
        let mut agreed = None;
        for sentinel in self.running_sentinels() {
            let named = self.named_by(sentinel);
            if *agreed.get_or_insert(named) != named {
                return Err("sentinels disagree about the primary".to_owned());
            }
            let state: Record = sentinel.query(&["SENTINEL", "MASTER", NAME]);
            if state["flags"] != "master" {
                return Err(format!("to a sentinel the primary is `{}`", state["flags"]));
            }
        }
        let primary = agreed.ok_or("no sentinel runs")?;
        let is_one = self.has_role(primary, "master");
        is_one.then_some(primary).ok_or(format!("node {primary} is no primary"))
    }

    /// Tries until it succeeds, and panics with the last error when time runs out.
    #[track_caller]
    fn wait_for<T>(&self, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + CHANGE_LIMIT;
        loop {
            match attempt() {
                Ok(done) => return done,
                Err(missing) if Instant::now() > deadline => {
                    let output: Vec<_> = self.sentinels.iter().map(RedisServer::output).collect();
                    panic!("{what} takes too long: {missing}\n{}", output.join("\n\n"))
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// The node that a sentinel names as the primary.
    fn named_by(&self, sentinel: &RedisServer) -> usize {
        let (_, port): (String, u16) =
            sentinel.query(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let node = self.nodes.iter().position(|node| node.port() == port);
        node.unwrap_or_else(|| panic!("a sentinel names port {port}, which is no node's"))
    }

    fn running_sentinels(&self) -> impl Iterator<Item = &RedisServer> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_running())
    }

    fn has_role(&self, node: usize, role: &str) -> bool {
        let node = &self.nodes[node];
        let is = |replication: String| replication.contains(&format!("role:{role}\r"));
        node.is_running() && node.try_query(&["INFO", "replication"]).is_ok_and(is)
    }
}

/// What a sentinel says of one server.
type Record = BTreeMap<String, String>;

fn records(sentinel: &RedisServer, of: &str) -> Vec<Record> {
    sentinel.query(&["SENTINEL", of, NAME])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, refusal, runs, stranger};

    #[test]
    fn a_replica_takes_over_from_a_killed_primary() {
        let mut sentinels = Sentinels::start();
        assert_eq!((sentinels.primary(), sentinels.replicas()), (0, vec![1]));
        let ports: Vec<_> = sentinels.sentinels().iter().map(RedisServer::port).collect();
        let [a, b, c] = ports[..] else { panic!("three sentinels") };
        let url = format!("redis-sentinel://127.0.0.1:{a},127.0.0.1:{b},127.0.0.1:{c}/mymaster");
        assert_eq!(sentinels.url(), url);
        stranger(sentinels.node(0)).call(&["SET", "a", "1"]).expect("OK");
        assert!(testing::eventually(|| sentinels.node(1).keys() == ["a"]));
        assert!(refusal(&stranger(sentinels.node(1)), &["SET", "a", "2"]).starts_with("READONLY"));

        assert_eq!(sentinels.kill_primary(), 0);
        assert_eq!(sentinels.primary(), 0);
        assert_eq!(sentinels.wait_for_failover(0), 1);
        stranger(sentinels.node(1)).call(&["SET", "b", "1"]).expect("OK");
        sentinels.restart(0);
        sentinels.wait_until_whole();
        assert_eq!((sentinels.primary(), sentinels.replicas()), (1, vec![0]));
        let keys = sentinels.node(0).keys();
        assert_eq!(keys, ["a", "b"]);

        sentinels.loading(0, Duration::from_millis(200));
        assert!(refusal(&stranger(sentinels.node(0)), &["GET", "a"]).starts_with("LOADING"));
        sentinels.wait_until_whole();
        assert_eq!((sentinels.replicas(), sentinels.node(0).keys()), (vec![0], keys));
    }

    #[test]
    fn a_replica_takes_over_from_a_paused_primary() {
        let sentinels = Sentinels::start();
        assert_eq!(sentinels.pause_primary(), 0);
        assert_eq!(sentinels.wait_for_failover(0), 1);
        sentinels.resume(0);
        sentinels.wait_until_whole();
        assert_eq!((sentinels.primary(), sentinels.replicas()), (1, vec![0]));

        let all = sentinels.nodes().iter().chain(sentinels.sentinels());
        let pids: Vec<_> = all.map(RedisServer::pid).collect();
        assert!(pids.len() == 5 && pids.iter().all(|pid| runs(*pid)));
        drop(sentinels);
        assert!(!pids.iter().any(|pid| runs(*pid)));
    }

    #[test]
    fn a_failover_on_command_with_passwords_and_without_a_sentinel() {
        let mut sentinels = Sentinels::with(&SentinelSetup {
            password: Some("of-data"),
            sentinel_password: Some("of-sentinels"),
            replicas: 2,
            ..SentinelSetup::default()
        });
        for server in [sentinels.node(0), sentinels.node(2), &sentinels.sentinels()[0]] {
            assert!(refusal(&stranger(server), &["PING"]).starts_with("NOAUTH"));
        }
        assert_eq!(sentinels.replicas(), [1, 2]);
        sentinels.kill_sentinel(0);
        assert_eq!(sentinels.failover(), 0);
        let primary = sentinels.wait_for_failover(0);
        assert_ne!(primary, 0);
        // It remembers the old primary, and hears of the new one.
        sentinels.restart_sentinel(0);
        sentinels.wait_until_whole();
        assert_eq!(sentinels.named_by(&sentinels.sentinels()[0]), primary);
        assert!(sentinels.replicas().contains(&0));
    }

    #[test]
    fn a_killed_test_process_leaves_nothing_behind() {
        testing::leaves_nothing_behind(
            concat!(module_path!(), "::a_killed_test_process_leaves_nothing_behind"),
            || {
                let sentinels: &'static Sentinels = Box::leak(Box::new(Sentinels::start()));
                sentinels.nodes().iter().chain(sentinels.sentinels()).collect()
            },
        );
    }
}
