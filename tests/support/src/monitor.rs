//! A record of the commands that clients send.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use redis::{RedisResult, Value};
use socket2::Socket;

use crate::client::{Client, Connection};

/// Records what clients send to a server; see [`RedisServer::monitor`](crate::RedisServer::monitor).
pub struct Monitor {
    client: Arc<Client>,
    /// The last command to record.
    marker: String,
    stream: Socket,
    reader: Option<JoinHandle<Vec<Sent>>>,
}

/// One line of `MONITOR`.
#[derive(Debug, PartialEq)]
struct Sent {
    /// The client's end of its connection, or `lua` for a script.
    from: String,
    command: Vec<String>,
}

impl Monitor {
    pub(crate) fn start(client: Arc<Client>) -> RedisResult<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let marker = format!("end-of-monitor-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = client.connect()?;
        client.call_over(&mut connection, &["MONITOR"])?;
        connection.stream().set_read_timeout(None)?;
        let stream = connection.stream().try_clone()?;
        let reader = thread::spawn({
            let (client, marker) = (client.clone(), marker.clone());
            move || record(&client, connection, &marker)
        });
        Ok(Self { client, marker, stream, reader: Some(reader) })
    }

    /// The commands that clients have sent, each with its arguments, in the order in which the
    /// server ran them.
    ///
    /// Left out are commands that scripts call, commands of this crate, and what `MONITOR` never
    /// shows: administration such as `CONFIG`, `AUTH`, and commands refused before they ran. Names
    /// are spelled as the client spelled them; bytes that are no UTF-8 are replaced.
    ///
    /// Should the server have stopped meanwhile, these are the commands up to then.
    #[must_use]
    pub fn stop(mut self) -> Vec<Vec<String>> {
        let sent = self.finish();
        let by_clients = |sent: &Sent| sent.from != "lua" && !self.client.owns(&sent.from);
        sent.into_iter().filter(by_clients).map(|sent| sent.command).collect()
    }

    fn finish(&mut self) -> Vec<Sent> {
        let Some(reader) = self.reader.take() else { return Vec::new() };
        // All that was sent before the marker is shown before it. Without an answer it may never
        // be shown.
        if self.client.call(&["ECHO", &self.marker]).is_err() {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        reader.join().unwrap_or_default()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Reads until the marker, or until the connection ends.
fn record(client: &Client, mut connection: Connection, marker: &str) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Ok(Value::SimpleString(line)) = connection.read() {
        let Some(sent) = parse(&line) else { continue };
        if sent.command.last().is_some_and(|last| last == marker) {
            // The server closes first; were it left to find out, it would count one more read.
            let _ = client.call_over(&mut connection, &["QUIT"]);
            while connection.read().is_ok() {}
            break;
        }
        all.push(sent);
    }
    all
}

/// Reads `1700000000.123456 [0 127.0.0.1:50000] "SET" "key" "\x00"`.
fn parse(line: &str) -> Option<Sent> {
    let (client, command) = line.split_once(" [")?.1.split_once("] ")?;
    let (_database, from) = client.split_once(' ')?;
    let mut command_line = command.bytes();
    let mut command = Vec::new();
    while command_line.any(|byte| byte == b'"') {
        command.push(argument(&mut command_line)?);
    }
    Some(Sent { from: from.to_owned(), command })
}

/// Reads up to the closing quotation mark.
fn argument(line: &mut impl Iterator<Item = u8>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        bytes.push(match line.next()? {
            b'"' => return Some(String::from_utf8_lossy(&bytes).into_owned()),
            b'\\' => match line.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 0x07,
                b'b' => 0x08,
                b'x' => hex(line.next()?)? << 4 | hex(line.next()?)?,
                same => same,
            },
            plain => plain,
        });
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let sent = parse(r#"1.5 [0 127.0.0.1:5] "SET" "a \"b\"" "\\ \n\x00\xc3\xa4]" """#);
        let command = ["SET", "a \"b\"", "\\ \n\0ä]", ""].map(str::to_owned).to_vec();
        assert_eq!(sent, Some(Sent { from: "127.0.0.1:5".to_owned(), command }));
        assert_eq!(parse(r#"1.5 [0 lua] "GET" "a""#).map(|sent| sent.from).as_deref(), Some("lua"));
        assert_eq!(parse("OK"), None);
    }
}
