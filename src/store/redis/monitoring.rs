use futures_util::future::try_join_all;
use redis::Value;

use super::command::Command;
use super::{Lane, OnRedis, Redis, Request, Unexpected, info, reply};
use crate::policy::monitoring::ServerInfo;
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::keys::Keys;
use crate::store::verbs::{ReadInfo, Reported};

/// `INFO` without a section is one that every version knows; several sections in one command came
/// with 7.0. `PING` comes first so that a server of which the rest is kept from this user shows
/// that it answers.
impl OnRedis for ReadInfo {
    fn request(&self, _: &Keys) -> Request {
        let mut commands = vec![Command::keyless("PING"), Command::keyless("INFO")];
        if self.with_settings {
            commands.push(Command::keyless("CONFIG").arg("GET").arg("save"));
        }
        Request::Together(commands)
    }

    fn answer(reply: Value) -> Result<Reported, Unexpected> {
        let mut replies = reply::list(reply)?.into_iter();
        let (ping, info) = (replies.next().ok_or(Unexpected)?, replies.next().ok_or(Unexpected)?);
        let settings = replies.next();
        let settings_refused = matches!(settings, Some(Value::ServerError(_)));
        let info = match info {
            Value::ServerError(error) => refused(&ping, error.code()),
            told => {
                let mut info = info::parse(&reply::text(told)?);
                info.persistence.snapshots = settings.and_then(snapshots);
                Ok(info)
            }
        };
        Ok(Reported { info, settings_refused })
    }

    /// Asks every server that holds keys: each has a part of the whole.
    async fn on_cluster(self, redis: &Redis) -> Result<Reported, StoreError> {
        let by = redis.by(Lane::Verdict);
        let asked = redis.primaries()?.into_iter().map(|(_, node)| async move {
            let reply = node.call(&self.request(&redis.keys), Lane::Verdict, by).await;
            Ok::<_, StoreError>(ReadInfo::answer(reply.map_err(|failed| failed.error)?)?)
        });
        let reported = try_join_all(asked).await?;
        if reported.is_empty() {
            return Err(StoreError::new(Kind::Unavailable));
        }
        let settings_refused = reported.iter().any(|node| node.settings_refused);
        let nodes: Result<Vec<ServerInfo>, _> =
            reported.into_iter().map(|node| node.info).collect();
        Ok(Reported { info: nodes.map(ServerInfo::of_nodes), settings_refused })
    }
}

/// A server that answers otherwise but will not do this one command keeps it from this user: by its
/// access list, or by having no command of that name.
fn refused(ping: &Value, code: &str) -> Result<ServerInfo, StoreError> {
    let pong = !matches!(ping, Value::ServerError(error) if error.code() != "NOPERM");
    if pong && matches!(code, "NOPERM" | "ERR") {
        return Ok(ServerInfo { is_withheld: true, ..ServerInfo::default() });
    }
    Err(StoreError::reply(code))
}

/// Whether `CONFIG GET save` names any snapshot that is due by itself.
fn snapshots(reply: Value) -> Option<bool> {
    let value = match reply {
        // By RESP3.
        Value::Map(pairs) => pairs.into_iter().next()?.1,
        list => reply::list(list).ok()?.into_iter().nth(1)?,
    };
    Some(!reply::text(value).ok()?.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn answer(wire: &str) -> Result<Reported, Unexpected> {
        ReadInfo::answer(parse_redis_value(wire.as_bytes()).unwrap())
    }

    #[test]
    fn both_protocols_say_the_same() {
        let info = "$15\r\nmaxmemory:7\r\nx:\r\n";
        let list = "*2\r\n$4\r\nsave\r\n$6\r\n3600 1\r\n";
        let map = "%1\r\n$4\r\nsave\r\n$6\r\n3600 1\r\n";
        let by_list = answer(&format!("*3\r\n+PONG\r\n{info}{list}")).unwrap();
        let verbatim = "=19\r\ntxt:maxmemory:7\r\nx:\r\n";
        let by_map = answer(&format!("*3\r\n+PONG\r\n{verbatim}{map}")).unwrap();
        assert_eq!(by_list, by_map);
        assert_eq!(by_list.info.unwrap().persistence.snapshots, Some(true));
    }

    #[test]
    fn what_is_refused_is_told_apart() {
        let withheld = |reported: Reported| reported.info.map(|info| info.is_withheld);
        let reported = answer("*2\r\n+PONG\r\n-NOPERM no\r\n").unwrap();
        assert_eq!(withheld(reported), Ok(true));
        let reported = answer("*2\r\n-NOPERM no\r\n-NOPERM no\r\n").unwrap();
        assert_eq!(withheld(reported), Ok(true));
        let reported = answer("*2\r\n-NOAUTH no\r\n-NOAUTH no\r\n").unwrap();
        assert!(withheld(reported).unwrap_err().is_unauthorized());
        let no_settings = answer("*3\r\n+PONG\r\n$0\r\n\r\n-ERR unknown command\r\n").unwrap();
        assert!(no_settings.settings_refused);
        assert_eq!(no_settings.info.unwrap(), ServerInfo::default());
    }

    #[test]
    fn another_shape_is_unexpected_and_never_a_panic() {
        for wire in ["+OK\r\n", "*0\r\n", "*1\r\n+PONG\r\n", "*2\r\n+PONG\r\n:1\r\n", "$-1\r\n"] {
            assert_eq!(answer(wire), Err(Unexpected), "{wire:?}");
        }
        let settings = ["*0\r\n", "%0\r\n", ":1\r\n", "*2\r\n$4\r\nsave\r\n$-1\r\n"];
        for settings in settings {
            let reported = answer(&format!("*3\r\n+PONG\r\n$0\r\n\r\n{settings}")).unwrap();
            assert_eq!(reported.info.unwrap().persistence.snapshots, None, "{settings:?}");
        }
    }
}
