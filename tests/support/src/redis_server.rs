//! Private Redis servers.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use redis::{FromRedisValue, RedisResult, from_redis_value};
use socket2::Socket;

use crate::client::{Client, text};
use crate::launch::{SOCKET, Setup, launch, retry};
use crate::process::Process;
use crate::{Counts, Monitor, free_port, port};

/// A real `redis-server` of the test's own on 127.0.0.1, empty and without persistence.
///
/// Killed when dropped, and when the test process ends in whatever way.
pub struct RedisServer {
    port: u16,
    pub(crate) setup: Setup,
    process: Process,
    pub(crate) client: Arc<Client>,
    stopped: bool,
    /// Its ports while it is stopped.
    kept: Vec<Socket>,
    paused: AtomicBool,
}

impl RedisServer {
    /// Starts a server, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with further arguments, such as `["--requirepass", "secret"]`.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed or does not start.
    #[must_use]
    pub fn with(args: &[&str]) -> Self {
        retry(|| Self::try_start(Setup::with(args)))
    }

    /// Starts a server on a port that is free by the look of it.
    pub(crate) fn try_start(setup: Setup) -> Result<Self, String> {
        let port = free_port();
        let client = Arc::new(Client::new(port, setup.value("--requirepass").map(str::to_owned)));
        let process = launch(port, &setup, &client)?;
        let paused = AtomicBool::new(false);
        Ok(Self { port, setup, process, client, stopped: false, kept: Vec::new(), paused })
    }

    /// One server for the whole test process, started at first use.
    ///
    /// Tests that run side by side share it: keep to keys of your own, and count elsewhere.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `redis://127.0.0.1:PORT`, without any password; `rediss://` where nothing but TLS is spoken.
    pub fn url(&self) -> String {
        format!("{}://{}", self.setup.scheme(), self.addr())
    }

    /// `unix:///…`, the socket that it listens on as well.
    pub fn socket_url(&self) -> String {
        format!("unix://{}/{SOCKET}", self.folder().display())
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder in which it runs, gone once it is stopped.
    pub(crate) fn folder(&self) -> &Path {
        self.process.folder()
    }

    /// The id of the server process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All that it has printed since it was started: warnings, and what a sentinel sees.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Whether it is there to answer: neither stopped nor paused.
    pub fn is_running(&self) -> bool {
        !self.stopped && !self.paused.load(SeqCst)
    }

    /// Kills the server at once, and waits until it is gone.
    pub fn stop(&mut self) {
        if self.stopped {
            return;
        }
        self.keep_files();
        self.process.kill();
        self.stopped = true;
        let ports = ["--cluster-port", "--tls-port"].into_iter();
        let ports = ports.filter_map(|name| self.setup.value(name)?.parse().ok());
        // Where it cannot be kept, somebody has it already, and the next start will fail.
        self.kept = ports.chain([self.port]).filter_map(|port| port::keep(port).ok()).collect();
    }

    /// Starts the server again, empty, on the same port.
    pub fn start_again(&mut self) {
        self.stop();
        let setup = self.setup.clone();
        self.start_as(&setup);
    }

    /// Starts a stopped server with another setup, for this once.
    pub(crate) fn start_as(&mut self, setup: &Setup) {
        self.kept.clear();
        self.process = retry(|| {
            self.client.reset();
            launch(self.port, setup, &self.client)
        });
        self.stopped = false;
        self.paused.store(false, SeqCst);
    }

    /// Stops the server in its tracks: connections stay open, new ones are still accepted by the
    /// system, nothing is answered.
    pub fn pause(&self) {
        self.paused.store(true, SeqCst);
        self.process.signal("STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.process.signal("CONT");
        self.paused.store(false, SeqCst);
    }

    /// Reads what the next start has to find, which goes with the server's folder.
    fn keep_files(&mut self) {
        if self.setup.kept.is_empty() || self.process.exited().is_some() {
            return;
        }
        // So that no file is half written.
        self.pause();
        for name in &self.setup.kept {
            if let Ok(content) = fs::read(self.folder().join(name)) {
                self.setup.files.insert(name, content);
            }
        }
    }

    /// Runs a command and returns its answer as text: `(nil)` for nothing, one line for each
    /// element of a list.
    ///
    /// # Panics
    ///
    /// Panics if the server answers with an error or not at all.
    #[track_caller]
    pub fn command(&self, args: &[&str]) -> String {
        text(self.query(args))
    }

    /// Runs a command and returns its answer.
    ///
    /// # Panics
    ///
    /// Panics if the server answers with an error, something else than a `T`, or not at all.
    #[track_caller]
    pub fn query<T: FromRedisValue>(&self, args: &[&str]) -> T {
        match self.try_query(args) {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {error}", args.join(" ")),
        }
    }

    /// Runs a command and returns its answer, or what went wrong.
    ///
    /// # Errors
    ///
    /// Returns the server's error, or why there is no answer.
    pub fn try_query<T: FromRedisValue>(&self, args: &[&str]) -> RedisResult<T> {
        Ok(from_redis_value(self.client.call(args)?)?)
    }

    /// All keys, sorted.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let found: Vec<String>;
            (cursor, found) = self.query(&["SCAN", &cursor, "COUNT", "1000"]);
            keys.extend(found);
            if cursor == "0" {
                return keys.into_iter().collect();
            }
        }
    }

    /// How many milliseconds a key has left: -1 if it stays for ever, -2 if there is none.
    #[track_caller]
    pub fn ttl_ms(&self, key: &str) -> i64 {
        self.query(&["PTTL", key])
    }

    /// What clients have made this server do since it started.
    #[track_caller]
    pub fn count(&self) -> Counts {
        self.client.counts().unwrap_or_else(|error| panic!("cannot count: {error}"))
    }

    /// Records what clients send from now on.
    #[track_caller]
    pub fn monitor(&self) -> Monitor {
        Monitor::start(self.client.clone())
            .unwrap_or_else(|error| panic!("cannot monitor: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::testing::{self, runs, stranger};

    fn commands(counts: &Counts) -> Vec<(&str, u64)> {
        counts.commands.iter().map(|(name, calls)| (name.as_str(), *calls)).collect()
    }

    fn strings(commands: &[&[&str]]) -> Vec<Vec<String>> {
        commands.iter().map(|command| command.iter().map(|&arg| arg.into()).collect()).collect()
    }

    #[test]
    fn starts_and_answers() {
        let server = RedisServer::start();
        assert_eq!(server.command(&["SET", "b", "1", "PX", "60000"]), "OK");
        assert_eq!(server.command(&["GET", "none"]), "(nil)");
        assert_eq!(server.query::<u64>(&["INCR", "b"]), 2);
        server.command(&["SET", "a", "1"]);
        assert_eq!(server.keys(), ["a", "b"]);
        assert!((1..=60_000).contains(&server.ttl_ms("b")));
        assert_eq!((server.ttl_ms("a"), server.ttl_ms("none")), (-1, -2));
        let error = server.try_query::<String>(&["LPUSH", "a", "1"]).expect_err("no list");
        assert_eq!(error.code(), Some("WRONGTYPE"));
        assert_eq!(server.command(&["CONFIG", "GET", "save"]), "save\n");
        assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    }

    #[test]
    fn many_keys_are_found() {
        let server = RedisServer::start();
        let fill = "for i = 1, 5000 do redis.call('SET', i, '') end";
        server.command(&["EVAL", fill, "0"]);
        assert_eq!(server.keys().len(), 5000);
    }

    #[test]
    fn a_password_is_used() {
        let server = RedisServer::with(&["--requirepass", "secret"]);
        assert_eq!(server.command(&["PING"]), "PONG");
        let error = stranger(&server).call(&["PING"]).expect_err("no password");
        assert_eq!(error.code(), Some("NOAUTH"));
    }

    #[test]
    #[should_panic(expected = "redis-server does not start")]
    fn a_wrong_argument_is_reported() {
        let _ = RedisServer::with(&["--no-such-setting", "1"]);
    }

    #[test]
    fn stops_and_starts_again_empty() {
        let mut server = RedisServer::start();
        let (port, pid) = (server.port(), server.pid());
        server.command(&["SET", "a", "1"]);
        server.stop();
        assert!(!runs(pid));
        assert!(server.try_query::<String>(&["PING"]).is_err());
        server.start_again();
        assert_eq!(server.port(), port);
        assert!(server.keys().is_empty());
        let pid = server.pid();
        assert!(runs(pid));
        drop(server);
        assert!(!runs(pid));
    }

    #[test]
    fn pauses_and_resumes() {
        let server = RedisServer::start();
        server.pause();
        thread::scope(|scope| {
            let answer = scope.spawn(|| server.command(&["PING"]));
            thread::sleep(Duration::from_millis(100));
            assert!(!answer.is_finished());
            server.resume();
            assert_eq!(answer.join().expect("an answer"), "PONG");
        });
        // A paused server can be stopped.
        server.pause();
        let pid = server.pid();
        drop(server);
        assert!(!runs(pid));
    }

    #[test]
    fn the_shared_server_is_one() {
        assert_eq!(RedisServer::shared().pid(), RedisServer::shared().pid());
    }

    #[test]
    fn counts_leave_out_this_crate() {
        let mut server = RedisServer::with(&["--requirepass", "secret"]);
        assert_eq!(server.count(), Counts::default());
        server.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
        server.command(&["EVAL", "return 1", "0"]);
        server.monitor().stop().clear();
        assert!(server.keys().is_empty());
        assert_eq!(server.count(), Counts::default());
        // The connection is lost, and opened again with a password.
        let client = Client::new(server.port(), Some("secret".to_owned()));
        client.call(&["CLIENT", "KILL", "TYPE", "normal"]).expect("an answer");
        let counts = server.count();
        assert_eq!(
            (counts.round_trips, commands(&counts)),
            (2, vec![("auth", 1), ("client|kill", 1)])
        );
        server.start_again();
        assert_eq!(server.count(), Counts::default());
    }

    #[test]
    fn counts_are_exact() {
        let server = RedisServer::start();
        let client = stranger(&server);
        client.call(&["PING"]).expect("an answer");
        let before = server.count();
        assert_eq!(before.commands, [("ping".to_owned(), 1)].into());
        assert_eq!(server.count().since(&before), Counts::default());
        for _ in 0..3 {
            client.call(&["INFO", "server"]).expect("an answer");
        }
        client.call(&["CLIENT", "SETNAME", "x"]).expect("an answer");
        client.call(&["EVAL", "return redis.call('SET', 'a', 1)", "0"]).expect("an answer");
        let counts = server.count().since(&before);
        assert_eq!(counts.round_trips, 5);
        let expected = [("client|setname", 1), ("eval", 1), ("info", 3), ("set", 1)];
        assert_eq!(commands(&counts), expected);
    }

    #[test]
    fn a_pipeline_is_one_round_trip() {
        let server = RedisServer::start();
        let mut client =
            redis::Client::open(server.url()).expect("url").get_connection().expect("up");
        let before = server.count();
        let _: () = redis::pipe().set("a", 1).incr("a", 1).query(&mut client).expect("answers");
        let counts = server.count().since(&before);
        assert_eq!((counts.round_trips, commands(&counts)), (1, vec![("incrby", 1), ("set", 1)]));
    }

    #[test]
    fn monitor_sees_what_was_sent() {
        let server = RedisServer::start();
        let client = stranger(&server);
        client.call(&["SET", "before", "1"]).expect("an answer");
        let (idle, busy) = (server.monitor(), server.monitor());
        assert!(idle.stop().is_empty());
        client.call(&["set", "a b", "\"\r\nü"]).expect("an answer");
        server.command(&["GET", "a b"]);
        let script = "return redis.call('GET', 'a b')";
        client.call(&["EVAL", script, "0"]).expect("an answer");
        let expected: [&[&str]; 2] = [&["set", "a b", "\"\r\nü"], &["EVAL", script, "0"]];
        assert_eq!(busy.stop(), strings(&expected));
    }

    #[test]
    fn monitor_outlives_its_server() {
        let mut server = RedisServer::start();
        let monitor = server.monitor();
        stranger(&server).call(&["SET", "a", "1"]).expect("an answer");
        let barrier = server.monitor();
        assert!(barrier.stop().is_empty());
        server.stop();
        assert_eq!(monitor.stop(), strings(&[&["SET", "a", "1"]]));
    }

    #[test]
    fn a_killed_test_process_leaves_nothing_behind() {
        testing::leaves_nothing_behind(
            concat!(module_path!(), "::a_killed_test_process_leaves_nothing_behind"),
            || vec![RedisServer::shared()],
        );
    }
}
