//! Starting a server's process.

use std::ffi::OsStr;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, is_answer, text};
use crate::process::{Files, NOT_FOUND, Process};

/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How often a start is tried; another process may have taken the port.
const START_TRIES: usize = 5;

/// The socket in its folder that a server listens on as well.
pub(crate) const SOCKET: &str = "redis.sock";

/// What a server is started with, the first time and again.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// A file that it reads its settings from before its arguments.
    pub(crate) config: Option<&'static str>,
    pub(crate) args: Vec<String>,
    /// What is in its folder when it starts.
    pub(crate) files: Files,
    /// The files that it writes itself, and finds again when it is started again.
    pub(crate) kept: Vec<&'static str>,
    /// Whether TLS is all that is spoken on its port.
    pub(crate) tls_only: bool,
}

impl Setup {
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::default().and(args)
    }

    /// The same with further arguments; later ones count.
    pub(crate) fn and(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// That of a URL to what is spoken on its port.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls_only { "rediss" } else { "redis" }
    }

    /// The value that follows an argument.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let at = self.args.iter().rposition(|arg| arg == name)?;
        self.args.get(at + 1).map(String::as_str)
    }
}

/// Tries to start a server a few times, and panics with what it printed last.
pub(crate) fn retry<T>(mut start: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..START_TRIES {
        match start() {
            Ok(started) => return started,
            Err(error) => last = error,
        }
    }
    panic!("redis-server does not start: {last}");
}

/// Starts a server and waits until it answers. Fails if it ends before, as when it cannot bind.
pub(crate) fn launch(port: u16, setup: &Setup, client: &Client) -> Result<Process, String> {
    let ports = if setup.tls_only {
        format!("--port 0 --tls-port {port}")
    } else {
        format!("--port {port}")
    };
    let own = format!(
        "{ports} --bind 127.0.0.1 --unixsocket {SOCKET} --dir . --appendonly no --daemonize no --loglevel warning"
    );
    let own = setup.config.into_iter().chain(own.split(' ')).chain(["--save", ""]);
    let all: Vec<_> = own.map(str::to_owned).chain(setup.args.iter().cloned()).collect();
    let program = OsStr::new("redis-server");
    let mut process = Process::start_among(&setup.files, program, &all, &[]);
    if setup.tls_only {
        client.use_socket(process.folder().join(SOCKET));
    }
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(status) = process.exited() {
            assert!(
                status.code() != Some(NOT_FOUND),
                "`redis-server` is missing: install it from the system's packages, \
                 e.g. `apt-get install redis-server`"
            );
            return Err(format!("it ended with {status}\n{}", process.last_output()));
        }
        if answers(client, &process) {
            return Ok(process);
        }
        assert!(
            Instant::now() < deadline,
            "redis-server does not answer within {START_LIMIT:?}\n{}",
            process.output()
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether this server answers, and not another one that has taken its port.
fn answers(client: &Client, process: &Process) -> bool {
    match client.call(&["INFO", "server"]) {
        Ok(info) => text(info).lines().any(|line| line == format!("process_id:{}", process.pid())),
        // `NOAUTH` says not whose it is. The server makes its socket once it has its port.
        Err(error) => is_answer(&error) && process.folder().join(SOCKET).exists(),
    }
}
