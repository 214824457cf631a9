//! How sentinels, and the nodes that they watch, are started.

use std::thread;
use std::time::Duration;

use crate::RedisServer;
use crate::launch::{Setup, retry};

/// The name under which sentinels know the primary.
pub(crate) const NAME: &str = "mymaster";

const SENTINELS: usize = 3;

/// Where a sentinel reads its settings, and writes what it learns.
const CONFIG: &str = "sentinel.conf";

/// What [`Sentinels`](crate::Sentinels) are started with.
#[derive(Clone, Debug)]
pub struct SentinelSetup<'a> {
    /// How many replicas there are.
    pub replicas: usize,
    /// The password of the primary and the replicas.
    pub password: Option<&'a str>,
    /// The password of the sentinels themselves.
    pub sentinel_password: Option<&'a str>,
    /// How long a node may be silent before it is replaced.
    pub down_after: Duration,
    /// Whether all of them speak nothing but TLS, to each other as well. Each has the authority's
    /// certificate: see [`RedisServer::ca_path`].
    pub tls: bool,
}

impl Default for SentinelSetup<'_> {
    /// One replica, no passwords, no TLS, and a second of silence.
    fn default() -> Self {
        Self {
            replicas: 1,
            password: None,
            sentinel_password: None,
            down_after: Duration::from_secs(1),
            tls: false,
        }
    }
}

/// Starts the primary, and then its replicas side by side.
pub(crate) fn start_nodes(setup: &SentinelSetup<'_>, common: &Setup) -> Vec<RedisServer> {
    let mut args = vec!["--repl-diskless-sync-delay", "0"];
    if let Some(password) = setup.password {
        args.extend(["--requirepass", password, "--masterauth", password]);
    }
    let start = |args: &[&str]| retry(|| RedisServer::try_start(common.clone().and(args)));
    let primary = start(&args);
    let port = primary.port().to_string();
    args.extend(["--replicaof", "127.0.0.1", &port]);
    let mut nodes = vec![primary];
    nodes.extend(side_by_side(setup.replicas, || start(&args)));
    nodes
}

/// Starts the sentinels side by side.
pub(crate) fn start_sentinels(
    setup: &SentinelSetup<'_>,
    common: &Setup,
    primary: u16,
) -> Vec<RedisServer> {
    let (down_after, replicas) = (setup.down_after.as_millis(), setup.replicas.max(1));
    let mut config = format!(
        "sentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {NAME} {down_after}\n\
         sentinel failover-timeout {NAME} 2000\n\
         sentinel parallel-syncs {NAME} {replicas}\n"
    );
    let mut args = vec!["--sentinel"];
    if let Some(password) = setup.password {
        config += &format!("sentinel auth-pass {NAME} {password}\n");
    }
    if let Some(password) = setup.sentinel_password {
        config += &format!("sentinel sentinel-pass {password}\n");
        args.extend(["--requirepass", password]);
    }
    let mut setup = Setup { config: Some(CONFIG), kept: vec![CONFIG], ..common.clone().and(&args) };
    setup.files.insert(CONFIG, config.into_bytes());
    side_by_side(SENTINELS, || {
        let sentinel = retry(|| RedisServer::try_start(setup.clone()));
        hurry(&sentinel);
        sentinel
    })
}

/// Makes a sentinel ask and tell many times as often as it would, and less wary of a machine that
/// is so busy that time seems to jump.
pub(crate) fn hurry(sentinel: &RedisServer) {
    let periods = "INFO-PERIOD 200 PUBLISH-PERIOD 200 ASK-PERIOD 100 ELECTION-TIMEOUT 1000 \
                   MIN-LINK-RECONNECT-PERIOD 1000 TILT-TRIGGER 5000 TILT-PERIOD 1000";
    let command: Vec<_> = "SENTINEL DEBUG".split(' ').chain(periods.split_whitespace()).collect();
    sentinel.command(&command);
}

/// Removes what a sentinel noted of its folder, which is another one when it starts again.
pub(crate) fn without_folder(setup: &mut Setup) {
    if let Some(config) = setup.files.get_mut(CONFIG) {
        let text = String::from_utf8_lossy(config);
        let lines = text.lines().filter(|line| !line.starts_with("dir "));
        *config = lines.collect::<Vec<_>>().join("\n").into_bytes();
    }
}

fn side_by_side<T: Send>(number: usize, start: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let started: Vec<_> = (0..number).map(|_| scope.spawn(&start)).collect();
        started.into_iter().map(|one| one.join().expect("a server does not start")).collect()
    })
}
