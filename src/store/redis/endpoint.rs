use std::fmt;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisError, Value};

use super::{command, reply};
use crate::policy::breaker::{Failure, gives_up};
use crate::policy::{Timestamp, micros};
use crate::store::StoreError;
use crate::store::error::Kind;

/// How long a new connection may take until it has shown that it works.
const DIAL: Duration = Duration::from_secs(2);

/// Where Redis is and how to log in.
pub(crate) struct Endpoint {
    client: Client,
    address: ConnectionAddr,
    database: i64,
    probe_key: String,
}

/// A connection that has just read, written and run a script.
pub(super) struct Dialed {
    pub(super) connection: MultiplexedConnection,
    pub(super) round_trip: Duration,
    /// What to add to this machine's clock for the server's, in microseconds.
    pub(super) clock_offset: i64,
    /// The first thing that the server would not do, if that speaks of one command only.
    pub(super) refused: Option<StoreError>,
}

impl Endpoint {
    /// Reads a URL; connects to nothing.
    pub(super) fn new(url: &str, probe_key: String) -> Result<Endpoint, StoreError> {
        let invalid = |why: &'static str| StoreError::about(Kind::InvalidUrl, why);
        let schemes = ["redis", "valkey", "unix", "redis+unix", "valkey+unix"];
        let parsed = redis::parse_redis_url(url)
            .filter(|url| schemes.contains(&url.scheme()))
            .ok_or_else(|| {
                invalid(
                    "expected memory:, redis://[user:password@]host[:port][/database] or \
                     unix:///path/to/socket[?db=database&user=user&pass=password]",
                )
            })?;
        if parsed.fragment().is_some() {
            return Err(invalid("a fragment means nothing here"));
        }
        // The crate's error may hold parts of the URL, so only what it is about is kept.
        let info = parsed
            .into_connection_info()
            .map_err(|_| invalid("the host, the database number or the query cannot be used"))?;
        let (address, database) = (info.addr().clone(), info.redis_settings().db());
        if database < 0 {
            return Err(invalid("a database number is 0 or more"));
        }
        // Without nodelay, small commands wait for the acknowledgement of the ones before.
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(10));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(Duration::from_secs(2));
        let client = Client::open(info.set_tcp_settings(tcp))
            .map_err(|_| invalid("the connection settings cannot be used"))?;
        Ok(Endpoint { client, address, database, probe_key })
    }

    pub(super) async fn dial(&self) -> Result<Dialed, StoreError> {
        match tokio::time::timeout(DIAL, self.connect_and_probe()).await {
            Ok(dialed) => dialed,
            Err(_) => Err(self.error(Kind::Timeout)),
        }
    }

    async fn connect_and_probe(&self) -> Result<Dialed, StoreError> {
        // Asked here, because the crate's error does not tell a wrong name from a lost connection.
        if let ConnectionAddr::Tcp(host, port) = &self.address
            && tokio::net::lookup_host((host.as_str(), *port)).await.is_err()
        {
            return Err(self.error(Kind::Unresolved));
        }
        // The deadlines are ours; the crate's own would hide what they were about.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.dial_error(&error))?;
        let mut probe = redis::pipe();
        for script in command::ALL {
            probe.add_command(script.load());
        }
        let key = &self.probe_key;
        // Takes nothing from a limit that nobody has.
        probe.add_command(command::TAKE.call(&[key]));
        probe.arg(1).arg(0).arg(0).arg(0).arg(0);
        probe.cmd("SET").arg(key).arg("").arg("PX").arg(1_000);
        probe.cmd("GETEX").arg(key).arg("PX").arg(1_000);
        probe.cmd("TIME");
        // Or one refused command would discard every reply.
        probe.ignore_errors();
        let sent = wall_clock();
        let replies: Vec<Value> =
            probe.query_async(&mut connection).await.map_err(|error| self.dial_error(&error))?;
        let received = wall_clock();
        let mut refused = None;
        for reply in &replies {
            let Value::ServerError(error) = reply else { continue };
            if gives_up(Failure::ErrorReply { code: error.code() }) {
                return Err(StoreError::reply(error.code()));
            }
            refused.get_or_insert(StoreError::reply(error.code()));
        }
        let round_trip = received.since(sent);
        let middle = sent.after(round_trip / 2);
        let clock_offset = match replies.into_iter().next_back().map(server_time) {
            Some(Ok(server)) => server.0 as i64 - middle.0 as i64,
            _ => 0,
        };
        Ok(Dialed { connection, round_trip, clock_offset, refused })
    }

    fn dial_error(&self, error: &RedisError) -> StoreError {
        // The crate words a failed log-in itself, with the server's words as the detail.
        if error.kind() == redis::ErrorKind::AuthenticationFailed {
            return self.error(Kind::Unauthorized);
        }
        match error.code() {
            // Of what a connection is set up with, a server can only not know the database.
            Some("ERR") if self.database > 0 => {
                let no_database = format!("the server has no database {}", self.database);
                return StoreError::about(Kind::InvalidUrl, no_database);
            }
            Some(code) => return StoreError::reply(code),
            None => {}
        }
        self.error(match error.kind() {
            redis::ErrorKind::Parse => Kind::NotRedis,
            _ if error.is_connection_refusal() => Kind::Refused,
            _ if error.is_timeout() => Kind::Timeout,
            _ => Kind::Unavailable,
        })
    }

    fn error(&self, kind: Kind) -> StoreError {
        StoreError::about(kind, self.address.to_string())
    }
}

fn server_time(time: Value) -> Result<Timestamp, reply::Unexpected> {
    let [seconds, micros] = reply::array(time)?.map(|part| {
        let digits = reply::bytes(part)?.ok_or(reply::Unexpected)?;
        std::str::from_utf8(&digits).ok().and_then(|it| it.parse().ok()).ok_or(reply::Unexpected)
    });
    let (seconds, micros): (u64, u64) = (seconds?, micros?);
    Ok(Timestamp(seconds * 1_000_000 + micros))
}

/// This machine's clock, which is only good for a difference to the server's.
#[expect(clippy::disallowed_methods, reason = "compared with the server's clock, never used alone")]
pub(super) fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(micros(since_epoch.unwrap_or_default()))
}

/// Never the client: it holds the password.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address.to_string())
            .finish_non_exhaustive()
    }
}
