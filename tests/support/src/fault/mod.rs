//! What can be wrong with a server that runs.

mod busy;
mod loading;

use std::sync::Arc;
use std::thread;

use crate::RedisServer;
use crate::client::{Client, is_answer};
use crate::port::silent_port;

/// Something that is wrong with a server until this is dropped.
#[must_use = "the fault ends when this is dropped"]
pub struct Fault {
    undo: Option<Box<dyn FnOnce() + Send>>,
}

impl Fault {
    fn new(undo: impl FnOnce() + Send + 'static) -> Self {
        Self { undo: Some(Box::new(undo)) }
    }

    /// Ends the fault: the server is as it was before.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            undo();
        }
    }
}

impl RedisServer {
    /// Leaves the server without memory: what would need more is answered with `OOM`, and nothing
    /// is evicted.
    #[track_caller]
    pub fn out_of_memory(&self) -> Fault {
        let settings = [("maxmemory-policy", "noeviction"), ("maxmemory", "1")];
        self.configure(settings.map(|(name, value)| (name, value.to_owned())).into())
    }

    /// Makes the server a replica of nobody: it answers what only reads, and `READONLY` to what
    /// would write, also inside of scripts. It cannot be done to a node of a cluster.
    #[track_caller]
    pub fn read_only(&self) -> Fault {
        self.replicate_nobody("yes")
    }

    /// Makes the server a replica that has lost its primary and serves nothing meanwhile: it
    /// answers `MASTERDOWN` to what reads and to scripts, and `READONLY` to what would write. It
    /// cannot be done to a node of a cluster.
    #[track_caller]
    pub fn master_down(&self) -> Fault {
        self.replicate_nobody("no")
    }

    /// Allows `number` clients besides those of this crate: who comes then is told so, and its
    /// connection closed. Who is there stays. The connections between a cluster's nodes count too.
    #[track_caller]
    pub fn max_clients(&self, number: usize) -> Fault {
        let own = self.clients().filter(|(_, address)| self.client.owns(address)).count();
        self.configure(vec![("maxclients", (own + number).to_string())])
    }

    /// Closes the connections of all clients but this crate, replicas and subscribers, and returns
    /// how many there were.
    #[track_caller]
    pub fn kill_clients(&self) -> usize {
        let others = self.clients().filter(|(_, address)| !self.client.owns(address));
        others.map(|(id, _)| self.query::<usize>(&["CLIENT", "KILL", "ID", &id])).sum()
    }

    /// Makes the server forget all scripts, as a restart does: `EVALSHA` is answered with
    /// `NOSCRIPT`.
    #[track_caller]
    pub fn flush_scripts(&self) {
        self.command(&["SCRIPT", "FLUSH", "SYNC"]);
    }

    /// The ids and the addresses of ordinary clients.
    fn clients(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let list = self.command(&["CLIENT", "LIST", "TYPE", "normal"]);
        let clients = list.lines().map(|line| {
            let field = |name: &str| {
                let value = line.split(' ').find_map(|field| field.strip_prefix(name));
                value.unwrap_or_else(|| panic!("no `{name}` in {line}")).to_owned()
            };
            (field("id="), field("addr="))
        });
        clients.collect::<Vec<_>>().into_iter()
    }

    fn replicate_nobody(&self, serve_stale: &str) -> Fault {
        let (port, socket) = silent_port().expect("no free port");
        let stale = self.configure(vec![("replica-serve-stale-data", serve_stale.to_owned())]);
        self.command(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
        let client = self.client.clone();
        Fault::new(move || {
            undo(&client, &["REPLICAOF", "NO", "ONE"]);
            drop((stale, socket));
        })
    }

    /// Changes settings, and changes them back in the end.
    fn configure(&self, settings: Vec<(&'static str, String)>) -> Fault {
        let change = |(name, value): (&'static str, String)| {
            let before = self.query::<Vec<String>>(&["CONFIG", "GET", name]).remove(1);
            self.command(&["CONFIG", "SET", name, &value]);
            (name, before)
        };
        let before: Vec<_> = settings.into_iter().map(change).collect();
        let client = self.client.clone();
        Fault::new(move || {
            for (name, value) in before.iter().rev() {
                undo(&client, &["CONFIG", "SET", name, value]);
            }
        })
    }
}

/// Sends a command to a server which may be gone by now, and its fault with it.
fn undo(client: &Arc<Client>, command: &[&str]) {
    match client.call(command) {
        Err(error) if is_answer(&error) && !thread::panicking() => {
            panic!("{}: {error}", command.join(" "))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refusal, stranger};

    const SET: [&str; 3] = ["SET", "a", "1"];
    const GET: [&str; 2] = ["GET", "a"];

    #[test]
    fn without_memory_nothing_can_be_added() {
        let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
        let client = stranger(&server);
        client.call(&SET).expect("OK");
        let fault = server.out_of_memory();
        assert!(refusal(&client, &SET).starts_with("OOM"));
        client.call(&GET).expect("it is still there");
        assert_eq!(server.keys(), ["a"]);
        fault.end();
        client.call(&SET).expect("OK");
        let policy = server.command(&["CONFIG", "GET", "maxmemory-policy"]);
        assert!(policy.ends_with("allkeys-lru"), "{policy}");
    }

    #[test]
    fn a_replica_of_nobody_only_reads_or_does_nothing() {
        let server = RedisServer::start();
        let client = stranger(&server);
        client.call(&SET).expect("OK");
        let fault = server.read_only();
        assert!(refusal(&client, &SET).starts_with("READONLY"));
        let script = ["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "a"];
        assert!(refusal(&client, &script).contains("READONLY"));
        client.call(&GET).expect("reading goes on");
        fault.end();
        client.call(&SET).expect("OK");
        let fault = server.master_down();
        assert!(refusal(&client, &GET).starts_with("MASTERDOWN"));
        assert!(refusal(&client, &["EVAL", "return 1", "0"]).starts_with("MASTERDOWN"));
        assert!(refusal(&client, &SET).starts_with("READONLY"));
        fault.end();
        client.call(&SET).expect("OK");
        assert_eq!(server.keys(), ["a"]);
    }

    #[test]
    fn one_client_too_many_is_refused() {
        let server = RedisServer::start();
        let monitor = server.monitor();
        let (first, second) = (stranger(&server), stranger(&server));
        let fault = server.max_clients(1);
        first.call(&GET).expect("the only one");
        assert!(refusal(&second, &GET).contains("max number of clients"));
        first.call(&GET).expect("it stays");
        fault.end();
        second.call(&GET).expect("there is room");
        assert_eq!(monitor.stop().len(), 3);
    }

    #[test]
    fn killed_clients_are_others_only() {
        let server = RedisServer::start();
        let monitor = server.monitor();
        let clients = [(); 3].map(|()| stranger(&server));
        let mut connections = clients.each_ref().map(|client| client.connect().expect("up"));
        for (client, connection) in clients.iter().zip(&mut connections) {
            client.call_over(connection, &GET).expect("(nil)");
        }
        let id = server.command(&["CLIENT", "ID"]);
        assert_eq!(server.kill_clients(), 3);
        for (client, connection) in clients.iter().zip(&mut connections) {
            client.call_over(connection, &GET).expect_err("the connection is closed");
        }
        assert_eq!(server.command(&["CLIENT", "ID"]), id);
        assert_eq!(server.kill_clients(), 0);
        assert_eq!(monitor.stop().len(), 3, "the monitor was spared");
    }

    #[test]
    fn flushed_scripts_are_forgotten() {
        let server = RedisServer::start();
        let sha = server.command(&["SCRIPT", "LOAD", "return 1"]);
        let (client, call) = (stranger(&server), ["EVALSHA", sha.as_str(), "0"]);
        client.call(&call).expect("1");
        server.flush_scripts();
        assert!(refusal(&client, &call).starts_with("NOSCRIPT"));
    }

    #[test]
    fn a_fault_ends_with_its_server_too() {
        let mut server = RedisServer::start();
        let faults = [server.out_of_memory(), server.read_only()];
        server.stop();
        drop(faults);
        server.start_again();
        stranger(&server).call(&SET).expect("OK");
    }
}
