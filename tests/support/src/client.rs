//! The support crate's own connection to a server, with a ledger of what it sent, so that counts
//! and monitors can leave it out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use redis::{Cmd, Parser, RedisResult, Value, from_redis_value};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{Counts, lock};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection, opened at first use and again after the server closed it.
///
/// Not `redis::Client`, whose handshake and cleverness would show up in the counts.
pub(crate) struct Client {
    port: u16,
    /// The password that the server is started with.
    password: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The password that it has been given later.
    password: Option<String>,
    /// The socket of a server whose port speaks TLS alone, which this client does not.
    socket: Option<PathBuf>,
    connection: Option<Connection>,
    ledger: Ledger,
}

/// What the support crate itself did to the server.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Requests sent; the server reads once for each.
    pub(crate) reads: u64,
    /// Commands by their first two words in lower case: some are counted under both.
    pub(crate) commands: BTreeMap<(String, String), u64>,
    /// The local ends of its connections, as `MONITOR` prints them.
    addresses: BTreeSet<String>,
}

/// A connection on which nothing is sent but what is asked for.
pub(crate) struct Connection {
    stream: Socket,
    parser: Parser,
}

impl Client {
    pub(crate) fn new(port: u16, password: Option<String>) -> Self {
        Self { port, password, state: Mutex::default() }
    }

    /// Sends one command and waits for the answer; an error answer is an `Err`.
    pub(crate) fn call(&self, args: &[&str]) -> RedisResult<Value> {
        self.call_with(&mut lock(&self.state), args)
    }

    /// The server's counts less what this crate caused.
    pub(crate) fn counts(&self) -> RedisResult<Counts> {
        let state = &mut *lock(&self.state);
        let info: String = from_redis_value(self.call_with(state, &["INFO", "all"])?)?;
        // The server counts a read before it runs the command, and the command after it ran. So
        // this `INFO` saw its own read but not itself.
        let mut commands = state.ledger.commands.clone();
        *commands.entry(("info".to_owned(), "all".to_owned())).or_default() -= 1;
        Ok(Counts::from_info(&info, state.ledger.reads, &commands))
    }

    /// A further connection, for what cannot share one.
    pub(crate) fn connect(&self) -> RedisResult<Connection> {
        self.connect_with(&mut lock(&self.state))
    }

    /// Sends one command over a connection from [`Self::connect`].
    pub(crate) fn call_over(
        &self,
        connection: &mut Connection,
        args: &[&str],
    ) -> RedisResult<Value> {
        connection.call(args, &mut lock(&self.state).ledger)
    }

    /// Sends one command over a connection from [`Self::connect`], whose answer is yet to be read.
    /// It is taken for granted that the server runs it.
    pub(crate) fn send_over(&self, connection: &mut Connection, args: &[&str]) -> RedisResult<()> {
        let ledger = &mut lock(&self.state).ledger;
        connection.send(args, ledger)?;
        ledger.ran(args);
        Ok(())
    }

    /// Logs in with another password from now on.
    pub(crate) fn set_password(&self, password: &str) {
        lock(&self.state).password = Some(password.to_owned());
    }

    /// Comes by the server's socket in the file system, and no more by its port.
    pub(crate) fn use_socket(&self, path: PathBuf) {
        lock(&self.state).socket = Some(path);
    }

    /// Whether the connection with this local end is one of this client's.
    pub(crate) fn owns(&self, address: &str) -> bool {
        lock(&self.state).ledger.addresses.contains(address)
    }

    /// Forgets everything, for a server that started again from zero.
    pub(crate) fn reset(&self) {
        *lock(&self.state) = State::default();
    }

    fn call_with(&self, state: &mut State, args: &[&str]) -> RedisResult<Value> {
        let mut connection = match state.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => self.connect_with(state)?,
        };
        let answer = connection.call(args, &mut state.ledger);
        // After any other failure the next answer might belong to this command.
        if answer.as_ref().err().is_none_or(is_answer) {
            state.connection = Some(connection);
        }
        answer
    }

    fn connect_with(&self, state: &mut State) -> RedisResult<Connection> {
        let State { password, socket, ledger, .. } = state;
        let stream = connected(self.port, socket.as_deref())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ledger.addresses.extend(stream.local_addr()?.as_socket().map(|it| it.to_string()));
        let mut connection = Connection { stream, parser: Parser::new() };
        if let Some(password) = password.as_ref().or(self.password.as_ref()) {
            connection.call(&["AUTH", password], ledger)?;
        }
        Ok(connection)
    }
}

impl Ledger {
    fn ran(&mut self, args: &[&str]) {
        let word = |at: usize| args.get(at).map_or_else(String::new, |word| word.to_lowercase());
        *self.commands.entry((word(0), word(1))).or_default() += 1;
    }
}

impl Connection {
    /// The next thing the server sends.
    pub(crate) fn read(&mut self) -> RedisResult<Value> {
        self.parser.parse_value(Patient(&self.stream))
    }

    /// The socket, to set it up or to close it from another thread.
    pub(crate) fn stream(&self) -> &Socket {
        &self.stream
    }

    fn call(&mut self, args: &[&str], ledger: &mut Ledger) -> RedisResult<Value> {
        self.send(args, ledger)?;
        let answer = self.read()?.extract_error()?;
        ledger.ran(args);
        Ok(answer)
    }

    fn send(&mut self, args: &[&str], ledger: &mut Ledger) -> RedisResult<()> {
        let mut command = Cmd::new();
        command.arg(args);
        self.stream.write_all(&command.get_packed_command())?;
        ledger.reads += 1;
        Ok(())
    }

    fn is_open(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [MaybeUninit::uninit()]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        matches!(peek(), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// Reads on where a signal came between: a socket with a timeout is not asked again by the system
/// (signal(7)), as when the whole machine was stopped meanwhile.
struct Patient<'a>(&'a Socket);

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

fn connected(port: u16, socket: Option<&Path>) -> io::Result<Socket> {
    let Some(path) = socket else {
        let stream = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        stream.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        stream.set_tcp_nodelay(true)?;
        return Ok(stream);
    };
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.connect(&SockAddr::unix(path)?)?;
    Ok(stream)
}

/// Whether the server itself answered with this error.
pub(crate) fn is_answer(error: &redis::RedisError) -> bool {
    error.code().is_some()
}

/// An answer as text: `(nil)` for nothing, one line for each element of a list.
pub(crate) fn text(value: Value) -> String {
    match value {
        Value::Nil => "(nil)".to_owned(),
        Value::Array(items) | Value::Set(items) => {
            items.into_iter().map(text).collect::<Vec<_>>().join("\n")
        }
        other => from_redis_value(other).unwrap_or_else(|error| panic!("no text: {error}")),
    }
}
