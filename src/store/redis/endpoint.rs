use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::hello;
use super::probe::{CLUSTER, SENTINEL};
use super::tls::Connector;
use crate::store::StoreError;
use crate::store::builder::Credentials;
use crate::store::error::Kind;
use crate::store::target::{Address, HostPort, Login};

/// One server: where it is, and how to log in.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) access: Access,
}

/// How to log in, whichever server it is.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) login: Login,
    /// Asked at every connection, in the place of `login`: passwords are rotated.
    pub(super) credentials: Option<Credentials>,
    pub(super) database: u32,
    pub(super) resp3: bool,
    pub(super) tls: Option<Connector>,
    pub(super) in_cluster: bool,
    /// Asks a cluster's replica to answer what it has: nothing is written there.
    pub(super) reads_only: bool,
}

pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// What reads and writes a connection's socket. It ends when the connection does, for whatever
/// reason: so a lost connection is known before a call fails.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Endpoint {
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, Driver), StoreError> {
        let socket = self.open().await?;
        // The deadlines are ours; the crate's own would hide what they were about.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        match MultiplexedConnection::new_with_config(&self.info()?, socket, config).await {
            Ok((connection, driver)) => Ok((connection, Box::pin(driver))),
            Err(error) => Err(self.explained(self.error_of(&error)).await),
        }
    }

    /// Of a server that hung up before it said anything, whether it wants TLS.
    async fn explained(&self, error: StoreError) -> StoreError {
        match (&self.address, &self.access.tls) {
            (Address::Tcp(place), None)
                if error.is_unavailable() && hello::answers_tls(place).await =>
            {
                StoreError::about(Kind::Tls, format!("{place}: it speaks TLS: use rediss://"))
            }
            _ => error,
        }
    }

    /// Asks one thing, on a connection that is made for it. A server that does not know the command
    /// is not what was looked for, which `not_known` says.
    pub(super) async fn ask(&self, question: &Cmd, not_known: &str) -> Result<Value, StoreError> {
        let (mut connection, driver) = self.connect().await?;
        let reply = tokio::select! {
            biased;
            reply = connection.send_packed_command(question) => reply,
            () = driver => return Err(self.error(Kind::Unavailable)),
        };
        reply.and_then(Value::extract_error).map_err(|error| match error.code() {
            Some("ERR") => StoreError::about(Kind::WrongTopology, not_known),
            _ => self.error_of(&error),
        })
    }

    /// A connection that only listens.
    pub(super) async fn pubsub(&self) -> Result<PubSub, StoreError> {
        let socket = self.open().await?;
        PubSub::new(&self.info()?, socket).await.map_err(|error| self.error_of(&error))
    }

    async fn open(&self) -> Result<Box<dyn Socket>, StoreError> {
        let place = match &self.address {
            Address::Tcp(place) => place,
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(|it| self.io_error(&it))?;
                return Ok(Box::new(socket));
            }
        };
        let tcp = self.open_tcp(place).await?;
        match &self.access.tls {
            None => Ok(Box::new(tcp)),
            Some(tls) => tls.connect(place, tcp).await,
        }
    }

    async fn open_tcp(&self, place: &HostPort) -> Result<TcpStream, StoreError> {
        let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
        let mut refused = self.error(Kind::Unresolved);
        for address in found.map_err(|_| refused.clone())? {
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    settings(&tcp).map_err(|error| self.io_error(&error))?;
                    return Ok(tcp);
                }
                Err(error) => refused = self.io_error(&error),
            }
        }
        Err(refused)
    }

    fn info(&self) -> Result<RedisConnectionInfo, StoreError> {
        let Access { login, credentials, database, resp3, .. } = &self.access;
        let fresh = credentials.as_ref().map(Credentials::ask).transpose()?;
        let login = fresh.as_ref().unwrap_or(login);
        let mut info = RedisConnectionInfo::default().set_db(i64::from(*database));
        if let Some(username) = &login.username {
            info = info.set_username(username);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password.expose());
        }
        if *resp3 {
            info = info.set_protocol(ProtocolVersion::RESP3);
        }
        Ok(info.set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")))
    }

    pub(super) fn error_of(&self, error: &RedisError) -> StoreError {
        // The crate words a failed log-in itself, with the server's words as the detail.
        if error.kind() == redis::ErrorKind::AuthenticationFailed {
            return self.error(Kind::Unauthorized);
        }
        let detail = error.detail().unwrap_or_default();
        match error.code() {
            Some("ERR") if detail.contains("cluster mode") => {
                return StoreError::about(Kind::WrongTopology, CLUSTER);
            }
            Some("ERR") if detail.starts_with("unknown command") => {
                return StoreError::about(Kind::WrongTopology, SENTINEL);
            }
            Some("ERR") if self.access.database > 0 => return self.not_selected(detail),
            Some(code) => return StoreError::reply(code),
            None => {}
        }
        self.error(match error.kind() {
            redis::ErrorKind::Parse => Kind::NotRedis,
            // By TLS 1.3 a client's certificate is asked for after the handshake.
            _ if self.access.tls.is_some() && error.to_string().contains("fatal alert") => {
                let why = format!("{}: does it want a `tls_identity`?", self.address);
                return StoreError::about(Kind::Tls, why);
            }
            _ if error.is_connection_refusal() => Kind::Refused,
            _ if error.is_timeout() => Kind::Timeout,
            _ => Kind::Unavailable,
        })
    }

    /// Why a server would not go to the database: of its answer, the crate keeps the words alone.
    fn not_selected(&self, words: &str) -> StoreError {
        if words.contains("DB index") {
            let no_database = format!("the server has no database {}", self.access.database);
            return StoreError::about(Kind::InvalidUrl, no_database);
        }
        let codes = [("Authentication required", "NOAUTH"), ("no permissions", "NOPERM")];
        let code = codes.into_iter().find(|(said, _)| words.contains(said));
        StoreError::reply(code.map_or("ERR", |(_, code)| code))
    }

    fn io_error(&self, error: &std::io::Error) -> StoreError {
        self.error(match error.kind() {
            // For a unix socket: no such file.
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => Kind::Refused,
            std::io::ErrorKind::TimedOut => Kind::Timeout,
            _ => Kind::Unavailable,
        })
    }

    pub(super) fn error(&self, kind: Kind) -> StoreError {
        StoreError::about(kind, self.address.to_string())
    }
}

fn settings(tcp: &TcpStream) -> std::io::Result<()> {
    // Or small commands wait for the acknowledgement of the ones before.
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(10)))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(2)))?;
    Ok(())
}

impl Access {
    pub(super) fn at(&self, place: &HostPort) -> Endpoint {
        Endpoint { address: Address::Tcp(place.clone()), access: self.clone() }
    }
}

/// Never the log-in.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&format_args!("{}", self.address)).finish()
    }
}
