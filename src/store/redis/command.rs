use std::fmt;
use std::sync::LazyLock;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, ToRedisArgs, Value};

/// A Lua script of the kit. Scripts are constants: nothing a client sent is ever part of one.
pub(crate) struct Script {
    source: &'static str,
    sha1: LazyLock<String>,
}

macro_rules! script {
    ($file:literal) => {
        Script {
            source: include_str!(concat!("../scripts/", $file, ".lua")),
            sha1: LazyLock::new(|| {
                redis::Script::new(include_str!(concat!("../scripts/", $file, ".lua")))
                    .get_hash()
                    .to_owned()
            }),
        }
    };
}

pub(super) static TAKE: Script = script!("take");
pub(super) static SAVE_SESSION: Script = script!("save_session");
pub(super) static REVOKE_SUBJECT: Script = script!("revoke_subject");
pub(super) static STORE_RESPONSE: Script = script!("store_response");
pub(super) static PURGE: Script = script!("purge");

pub(super) static DROP_TAGGED: Script = script!("drop_tagged");

pub(super) static ALL: [&Script; 6] =
    [&TAKE, &SAVE_SESSION, &REVOKE_SUBJECT, &STORE_RESPONSE, &PURGE, &DROP_TAGGED];

impl Script {
    pub(super) fn call<K: ToRedisArgs>(&self, keys: &[K]) -> Cmd {
        let mut call = Cmd::with_capacity(ARGS, BYTES);
        call.arg("EVALSHA").arg(self.sha1.as_str()).arg(keys.len()).arg(keys);
        call
    }

    pub(super) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.source);
        load
    }
}

/// Room for a command of the usual size, so that it grows into no second allocation.
const ARGS: usize = 9;
const BYTES: usize = 160;

/// One command to send: plain, or a call of a script.
pub(crate) struct Command {
    cmd: Cmd,
    script: Option<&'static Script>,
}

impl Command {
    pub(super) fn new(name: &'static str) -> Command {
        let mut cmd = Cmd::with_capacity(ARGS, BYTES);
        cmd.arg(name);
        Command { cmd, script: None }
    }

    pub(super) fn script<K: ToRedisArgs>(script: &'static Script, keys: &[K]) -> Command {
        Command { cmd: script.call(keys), script: Some(script) }
    }

    pub(super) fn arg(mut self, arg: impl ToRedisArgs) -> Command {
        self.cmd.arg(arg);
        self
    }

    /// For tests of one verb without a supervisor.
    #[cfg(test)]
    pub(super) fn query(&self, connection: &mut redis::Connection) -> Value {
        if let Some(script) = self.script {
            let _: String = script.load().query(connection).expect("the script loads");
        }
        self.cmd.query(connection).expect("the command is answered")
    }

    /// A script that the server has forgotten is loaded and called again in one more round trip;
    /// that is no repetition, because it did not run the first time.
    pub(super) async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        // For a single command the crate leaves an error reply inside of the value.
        let reply = connection.req_packed_command(&self.cmd).await;
        let reply = reply.and_then(Value::extract_error);
        let (Err(error), Some(script)) = (&reply, self.script) else { return reply };
        if error.kind() != ErrorKind::Server(ServerErrorKind::NoScript) {
            return reply;
        }
        let mut again = redis::pipe();
        again.add_command(script.load()).ignore().add_command(self.cmd.clone());
        let (reply,) = again.query_async(connection).await?;
        Ok(reply)
    }
}

/// Never the arguments: they hold keys and payloads.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("is_script", &self.script.is_some()).finish_non_exhaustive()
    }
}
