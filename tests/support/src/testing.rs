//! What the tests of this crate have in common.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::RedisServer;
use crate::client::Client;

/// A client that is none of the server's own, and has no password.
pub(crate) fn stranger(server: &RedisServer) -> Client {
    Client::new(server.port(), None)
}

/// The error that a server answers a command with, as it is sent: `MOVED 1 127.0.0.1:7000`.
#[track_caller]
pub(crate) fn refusal(client: &Client, command: &[&str]) -> String {
    let error = client.call(command).expect_err("a refusal");
    let code = error.code().unwrap_or_else(|| panic!("no answer: {error}"));
    format!("{code} {}", error.detail().unwrap_or_default())
}

/// Whether there is a process with this id.
pub(crate) fn runs(pid: u32) -> bool {
    let kill = format!("kill -0 {pid} 2>/dev/null");
    Command::new("sh").args(["-c", &kill]).status().expect("sh").success()
}

/// Whether the condition becomes true within five seconds.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let met = condition();
        if met || Instant::now() > deadline {
            return met;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Set in a test process that is there to be killed.
const TO_BE_KILLED: &str = "SUPPORT_TO_BE_KILLED";

/// Runs the calling test, whose full name is `test`, in a process of its own up to the point where
/// it has the servers, kills it, and checks that no process and no folder is left.
pub(crate) fn leaves_nothing_behind(test: &str, start: fn() -> Vec<&'static RedisServer>) {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        let servers = start();
        let list = servers.iter().map(|it| format!("{} {}", it.pid(), it.folder().display()));
        println!("\nservers {}", list.collect::<Vec<_>>().join("\t"));
        thread::sleep(Duration::from_secs(60));
        return;
    }
    let test = test.split_once("::").expect("the name of the crate comes first").1;
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture"])
        .env(TO_BE_KILLED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test starts again");
    let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let line = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("servers ").map(str::to_owned))
        .expect("the child starts servers");
    let server = |words: &str| {
        let (pid, folder) = words.split_once(' ').expect("two words");
        (pid.parse::<u32>().expect("a process id"), PathBuf::from(folder))
    };
    let servers: Vec<_> = line.split('\t').map(server).collect();
    for (pid, folder) in &servers {
        assert!(runs(*pid) && folder.is_dir(), "{pid} in {folder:?}");
    }
    child.kill().expect("the child is there");
    child.wait().expect("the child ends");
    for (pid, folder) in &servers {
        assert!(eventually(|| !runs(*pid)), "redis-server {pid} is left");
        assert!(eventually(|| !folder.exists()), "{folder:?} is left");
    }
}
