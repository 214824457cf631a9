//! A server that is busy with a script.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::Fault;
use crate::RedisServer;
use crate::client::Client;

/// How soon the server must have noticed that it is busy.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

impl RedisServer {
    /// Keeps the server busy with a script for so long: it answers `BUSY`. The script is killed
    /// when the time is over, or the fault is ended.
    #[track_caller]
    pub fn busy(&self, duration: Duration) -> Fault {
        let threshold = self.configure(vec![("busy-reply-threshold", "1".to_owned())]);
        let client = self.client.clone();
        let mut connection =
            client.connect().unwrap_or_else(|error| panic!("cannot connect: {error}"));
        let script = ["EVAL", "while true do end", "0"];
        client.send_over(&mut connection, &script).expect("the server reads");
        connection.stream().set_read_timeout(None).expect("the socket is open");
        let script = thread::spawn(move || drop(connection.read()));
        let deadline = Instant::now() + BUSY_LIMIT;
        while !says_busy(&client) {
            assert!(Instant::now() < deadline, "the server is not busy");
            thread::sleep(Duration::from_millis(1));
        }
        let (end, ended) = mpsc::channel::<()>();
        let killer = thread::spawn(move || {
            let _ = ended.recv_timeout(duration);
            // The script has ended as well when the server has.
            while !script.is_finished() && client.call(&["SCRIPT", "KILL"]).is_err() {
                thread::sleep(Duration::from_millis(1));
            }
            let _ = script.join();
            threshold.end();
        });
        Fault::new(move || {
            drop(end);
            let _ = killer.join();
        })
    }
}

fn says_busy(client: &Client) -> bool {
    client.call(&["PING"]).is_err_and(|error| error.code() == Some("BUSY"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{eventually, refusal, stranger};

    const GET: [&str; 2] = ["GET", "a"];

    #[test]
    fn is_busy_until_the_fault_is_ended() {
        let server = RedisServer::start();
        let client = stranger(&server);
        let start = Instant::now();
        let fault = server.busy(Duration::from_secs(60));
        assert!(refusal(&client, &GET).starts_with("BUSY"));
        thread::sleep(Duration::from_millis(100));
        assert!(refusal(&client, &GET).starts_with("BUSY"));
        fault.end();
        client.call(&GET).expect("an answer");
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(server.command(&["CONFIG", "GET", "busy-reply-threshold"]).ends_with("5000"));
    }

    #[test]
    fn is_busy_until_the_time_is_over() {
        let server = RedisServer::start();
        let client = stranger(&server);
        let start = Instant::now();
        let fault = server.busy(Duration::from_millis(200));
        assert!(eventually(|| client.call(&GET).is_ok()));
        assert!(start.elapsed() >= Duration::from_millis(200));
        fault.end();
        let counts = server.count();
        assert_eq!(counts.commands, [("get".to_owned(), 1)].into(), "{counts:?}");
    }

    #[test]
    fn a_busy_server_can_be_stopped() {
        let mut server = RedisServer::start();
        let fault = server.busy(Duration::from_secs(60));
        server.stop();
        fault.end();
        server.start_again();
        server.command(&["PING"]);
    }
}
