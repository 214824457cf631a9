use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::endpoint::{Driver, Endpoint};
use super::slots::ranges;
use super::status::{Probed, wall_clock};
use super::{command, reply};
use crate::policy::Timestamp;
use crate::policy::breaker::{Failure, gives_up};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::target::{Address, HostPort};

pub(super) const CLUSTER: &str = "it is a cluster's node: use redis-cluster://";
pub(super) const SENTINEL: &str = "it is a Sentinel: use redis-sentinel://";

/// A connection that has just read, written and run a script.
pub(super) struct Dialed {
    pub(super) address: Address,
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    pub(super) probed: Probed,
    /// The first thing that the server would not do, if that speaks of one command only.
    pub(super) refused: Option<StoreError>,
}

/// Connects, and tries everything that the kit needs. `deadline` is what a call would have.
pub(super) async fn dial(
    endpoint: &Endpoint,
    key: &str,
    deadline: Duration,
) -> Result<Dialed, StoreError> {
    let (mut connection, mut driver) = endpoint.connect().await?;
    let probing = probe(endpoint, &mut connection, key, deadline);
    let (probed, refused) = tokio::select! {
        biased;
        probed = probing => probed?,
        () = &mut driver => return Err(endpoint.error(Kind::Unavailable)),
    };
    Ok(Dialed { address: endpoint.address.clone(), connection, driver, probed, refused })
}

async fn probe(
    endpoint: &Endpoint,
    connection: &mut MultiplexedConnection,
    key: &str,
    deadline: Duration,
) -> Result<(Probed, Option<StoreError>), StoreError> {
    // Says what the server is; an old one, or a user who may not ask, is no worse for it. By itself:
    // a server that wants a password first hangs up on whoever sends it more than 16 KiB.
    let mut hello = redis::pipe();
    hello.cmd("HELLO").ignore_errors();
    let mut hello: Vec<Value> =
        hello.query_async(connection).await.map_err(|error| endpoint.error_of(&error))?;
    let hello = hello.pop().ok_or_else(|| endpoint.error(Kind::NotRedis))?;
    if let Value::ServerError(error) = &hello
        && error.code() == "NOAUTH"
    {
        return Err(StoreError::reply("NOAUTH"));
    }
    let mut probe = redis::pipe();
    if endpoint.access.reads_only {
        probe.cmd("READONLY");
    } else {
        for script in command::ALL {
            probe.add_command(script.load());
        }
        // Takes nothing from a limit that nobody has.
        probe.add_command(command::TAKE_GCRA.call(&[key]));
        probe.arg(1).arg(0).arg(0).arg(0).arg(0);
        probe.cmd("SET").arg(key).arg("").arg("PX").arg(1_000);
        probe.cmd("GETRANGE").arg(key).arg(0).arg(0);
        probe.cmd("PEXPIRE").arg(key).arg(1_000);
        // The newest command that is needed.
        probe.cmd("GETDEL").arg(key);
    }
    // Or one refused command would discard every reply.
    probe.ignore_errors();
    let replies: Vec<Value> =
        probe.query_async(connection).await.map_err(|error| endpoint.error_of(&error))?;
    match mode(hello).as_deref() {
        Some("sentinel") => return Err(StoreError::about(Kind::WrongTopology, SENTINEL)),
        // The key may be one that this very node keeps.
        Some("cluster") if !endpoint.access.in_cluster && has_others(connection).await => {
            return Err(StoreError::about(Kind::WrongTopology, CLUSTER));
        }
        _ => {}
    }
    let codes = replies.iter().filter_map(|reply| match reply {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    });
    let codes: Vec<&str> = codes.collect();
    if codes.len() == replies.len() && codes.iter().all(|code| *code == "ERR") {
        // A Sentinel knows none of these commands.
        return Err(StoreError::about(Kind::WrongTopology, SENTINEL));
    }
    let mut refused = None;
    for code in codes {
        match code {
            // Of a key that the cluster keeps elsewhere, nothing follows for this server.
            "MOVED" | "ASK" | "CLUSTERDOWN" if endpoint.access.in_cluster => {}
            "MOVED" | "ASK" | "CLUSTERDOWN" => {
                return Err(StoreError::about(Kind::WrongTopology, CLUSTER));
            }
            _ if gives_up(Failure::ErrorReply { code }) => return Err(StoreError::reply(code)),
            _ => refused = refused.or(Some(StoreError::reply(code))),
        }
    }
    // A server that answers later than calls wait would only be lost again.
    let sent = wall_clock();
    let time = redis::cmd("TIME");
    let time = tokio::time::timeout(deadline, connection.send_packed_command(&time)).await;
    let time = time
        .map_err(|_| endpoint.error(Kind::Timeout))?
        .map_err(|error| endpoint.error_of(&error))?;
    let round_trip = wall_clock().since(sent);
    let middle = sent.after(round_trip / 2);
    let clock_offset = server_time(time).map_or(0, |server| server.0 as i64 - middle.0 as i64);
    Ok((Probed { round_trip, clock_offset }, refused))
}

/// What `HELLO` says that the server is.
fn mode(hello: Value) -> Option<String> {
    let pairs: Vec<(Value, Value)> = match hello {
        Value::Map(pairs) => pairs,
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        _ => return None,
    };
    let text = |value| reply::text(value).ok();
    let mode = pairs.into_iter().find_map(|(name, value)| (text(name)? == "mode").then_some(value));
    mode.and_then(text)
}

/// Whether a cluster's node is not the only one that keeps slots: a cluster of one is as good as a
/// server alone.
async fn has_others(connection: &mut MultiplexedConnection) -> bool {
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let Ok(reply) = connection.send_packed_command(&slots).await else { return false };
    // What matters is only whether they are different.
    let asked = HostPort { host: "?".to_owned(), port: 1 };
    let ranges = ranges(reply, &asked).unwrap_or_default();
    ranges.windows(2).any(|two| two[0].primary != two[1].primary)
}

fn server_time(time: Value) -> Result<Timestamp, reply::Unexpected> {
    let [seconds, micros] = reply::array(time)?.map(|part| {
        let digits = reply::bytes(part)?.ok_or(reply::Unexpected)?;
        reply::parsed(&digits).ok_or(reply::Unexpected)
    });
    let (seconds, micros): (u64, u64) = (seconds?, micros?);
    Ok(Timestamp(seconds * 1_000_000 + micros))
}
