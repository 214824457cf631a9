use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, ToRedisArgs, Value};

use crate::policy::breaker::{Failure, gives_up};

/// A Lua script of the kit. Scripts are constants: nothing a client sent is ever part of one.
pub(crate) struct Script {
    source: &'static str,
    sha1: LazyLock<String>,
}

/// Of one file, or of several, one after the other.
macro_rules! script {
    ($($file:literal),+) => {
        constant!(concat!($(include_str!(concat!("../scripts/", $file, ".lua"))),+))
    };
}

/// One act on one limit of an algorithm: its file, and which functions and number are meant.
macro_rules! limit {
    ($file:literal, $names:literal) => {
        constant!(concat!(
            include_str!("../scripts/limit/clock.lua"),
            include_str!(concat!("../scripts/limit/", $file, ".lua")),
            "local look, write, number = ",
            $names,
            "\n",
            include_str!("../scripts/limit/one.lua"),
        ))
    };
}

/// A script that is known when the kit is compiled: nothing else can be one.
macro_rules! constant {
    ($source:expr) => {{
        const SOURCE: &str = $source;
        Script {
            source: SOURCE,
            sha1: LazyLock::new(|| redis::Script::new(SOURCE).get_hash().to_owned()),
        }
    }};
}

pub(super) static TAKE_GCRA: Script = limit!("gcra", "gcra_look, gcra_write, 0");
pub(super) static TAKE_FIXED_WINDOW: Script =
    limit!("fixed_window", "fixed_window_look, fixed_window_write, 1");
pub(super) static TAKE_SLIDING_WINDOW: Script =
    limit!("sliding_window", "sliding_window_look, sliding_window_write, 2");
pub(super) static TAKE_SLIDING_LOG: Script =
    limit!("sliding_log", "sliding_log_look, sliding_log_write, 3");
pub(super) static TAKE_LOCKOUT: Script = limit!("lockout", "lockout_look, lockout_write, 4");
pub(super) static TAKE_ALL: Script = script!(
    "limit/clock",
    "limit/gcra",
    "limit/fixed_window",
    "limit/sliding_window",
    "limit/sliding_log",
    "limit/lockout",
    "limit/all"
);
pub(super) static BLOCK: Script = script!("limit/clock", "limit/block");
pub(super) static RESET: Script = script!("limit/reset");
pub(super) static SAVE_SESSION: Script = script!("save_session");
pub(super) static REVOKE_SUBJECT: Script = script!("revoke_subject");
pub(super) static STORE_RESPONSE: Script = script!("store_response");
pub(super) static PURGE: Script = script!("purge");
pub(super) static LIST_RESPONSE: Script = script!("list_response");
pub(super) static KEEP_RESPONSE: Script = script!("keep_response");
pub(super) static DELETE_IF: Script = script!("delete_if");
pub(super) static INCREMENT: Script = script!("increment");
pub(super) static LOCK: Script = script!("lock");
pub(super) static RENEW: Script = script!("renew");
pub(super) static ACQUIRE_PERMIT: Script = script!("limit/clock", "acquire_permit");
pub(super) static PRESENCE_TOUCH: Script = script!("presence_touch");
pub(super) static PRESENCE_LIST: Script = script!("presence_list");
pub(super) static CONSUME: Script = script!("consume");

pub(super) static ALL: &[&Script] = &[
    &TAKE_GCRA,
    &TAKE_FIXED_WINDOW,
    &TAKE_SLIDING_WINDOW,
    &TAKE_SLIDING_LOG,
    &TAKE_LOCKOUT,
    &TAKE_ALL,
    &BLOCK,
    &RESET,
    &SAVE_SESSION,
    &REVOKE_SUBJECT,
    &STORE_RESPONSE,
    &PURGE,
    &LIST_RESPONSE,
    &KEEP_RESPONSE,
    &DELETE_IF,
    &INCREMENT,
    &LOCK,
    &RENEW,
    &ACQUIRE_PERMIT,
    &PRESENCE_TOUCH,
    &PRESENCE_LIST,
    &CONSUME,
];

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

/// One command: plain, or a call of a script. All its keys are in one cluster slot.
#[derive(Clone)]
pub(crate) struct Command {
    cmd: Cmd,
    script: Option<&'static Script>,
    /// Which argument is a key; none, for a command that every node can answer.
    key: Option<usize>,
}

impl Command {
    pub(super) fn new(name: &'static str) -> Command {
        let mut cmd = Cmd::with_capacity(ARGS, BYTES);
        cmd.arg(name);
        Command { cmd, script: None, key: Some(1) }
    }

    /// What makes a string of `value` that ends after `time_to_live`.
    pub(super) fn set(
        key: impl ToRedisArgs,
        value: impl ToRedisArgs,
        time_to_live: Duration,
    ) -> Command {
        Command::new("SET").arg(key).arg(value).arg("PX").arg(millis(time_to_live))
    }

    /// A command without a key.
    pub(super) fn keyless(name: &'static str) -> Command {
        Command { key: None, ..Command::new(name) }
    }

    /// A command of a handler's own, and which argument is its first key.
    pub(super) fn raw(cmd: Cmd, key: Option<usize>) -> Command {
        Command { cmd, script: None, key }
    }

    pub(super) fn script<K: ToRedisArgs>(script: &'static Script, keys: &[K]) -> Command {
        Command { cmd: script.call(keys), script: Some(script), key: Some(3) }
    }

    pub(super) fn arg(mut self, arg: impl ToRedisArgs) -> Command {
        self.cmd.arg(arg);
        self
    }

    /// The key that says which node of a cluster it is for.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self.cmd.args_iter().nth(self.key?)? {
            redis::Arg::Simple(key) => Some(key),
            _ => None,
        }
    }

    /// What loads its script, if it is a call of one.
    pub(super) fn load(&self) -> Option<Command> {
        let load = self.script?.load();
        Some(Command { cmd: load, script: None, key: None })
    }

    /// For tests of one verb without a supervisor.
    #[cfg(test)]
    pub(super) fn query(&self, connection: &mut redis::Connection) -> Value {
        self.query_and(connection, Vec::new()).remove(0)
    }

    /// What comes `after` does so at the same moment.
    #[cfg(test)]
    pub(super) fn query_and(
        &self,
        connection: &mut redis::Connection,
        after: Vec<Cmd>,
    ) -> Vec<Value> {
        let mut all = redis::pipe();
        if let Some(script) = self.script {
            all.add_command(script.load()).ignore();
        }
        all.atomic().add_command(self.cmd.clone());
        after.into_iter().for_each(|cmd| _ = all.add_command(cmd));
        all.query(connection).expect("the commands are answered")
    }

    /// A script that the server has forgotten is loaded and called again in one more round trip;
    /// that is no repetition, because it did not run the first time.
    async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        // For a single command the crate leaves an error reply inside of the value.
        let reply = connection.send_packed_command(&self.cmd).await;
        let reply = reply.and_then(Value::extract_error);
        let (Err(error), Some(script)) = (&reply, self.script) else { return reply };
        if error.kind() != ErrorKind::Server(ServerErrorKind::NoScript) {
            return reply;
        }
        let mut again = redis::pipe();
        again.add_command(script.load()).ignore().add_command(self.cmd.clone());
        // Boxed, as whatever is rare: or every call would carry the room for it.
        let (reply,) = Box::pin(again.query_async(connection)).await?;
        Ok(reply)
    }
}

/// Redis refuses a time to live of 0, and one that passes its clock's range.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, u64::MAX >> 12)
}

/// Never the arguments: they hold keys and payloads.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("is_script", &self.script.is_some()).finish_non_exhaustive()
    }
}

/// What travels to Redis in one round trip to each server that it concerns.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    One(Command),
    /// Answered by a [`Value::Array`], each reply in its command's place; one that failed is a
    /// [`Value::ServerError`] there. Their keys may be in different slots.
    Together(Vec<Command>),
    /// All or nothing, and nothing in between: `MULTI` and `EXEC`. Their keys are in one slot.
    /// Answered as `Together`.
    Atomic(Vec<Command>),
    /// The strings at several keys, which may be in different slots: `MGET`, and its answer.
    GetAll(Vec<String>),
}

impl From<Command> for Request {
    fn from(command: Command) -> Request {
        Request::One(command)
    }
}

impl Request {
    pub(super) fn ping() -> Request {
        Command::keyless("PING").into()
    }

    /// What is sent in its place to a node that takes its slot over, of whose replies the last is
    /// the answer. None for what concerns several slots: it is taken apart before.
    pub(super) fn asking(&self) -> Option<Request> {
        let asking = Command::keyless("ASKING");
        Some(Request::Together(match self {
            // A script is loaded before: it could not be called again without asking again.
            Request::One(command) => {
                command.load().into_iter().chain([asking, command.clone()]).collect()
            }
            // From `MULTI` to `EXEC`, the node does not forget that it was asked.
            Request::Atomic(commands) => {
                let (begin, end) = (Command::keyless("MULTI"), Command::keyless("EXEC"));
                [asking, begin].into_iter().chain(commands.iter().cloned()).chain([end]).collect()
            }
            Request::Together(_) | Request::GetAll(_) => return None,
        }))
    }

    pub(super) async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Request::One(command) => command.send(connection).await,
            Request::GetAll(keys) => {
                let mut get = Cmd::with_capacity(ARGS, BYTES);
                get.arg("MGET").arg(keys);
                connection.send_packed_command(&get).await.and_then(Value::extract_error)
            }
            Request::Together(commands) => Box::pin(together(commands, connection)).await,
            Request::Atomic(commands) => Box::pin(atomically(commands, connection)).await,
        }
    }
}

/// Why a transaction was given up: what the server said to the first command that it refused.
fn cause(error: RedisError) -> RedisError {
    if error.kind() != ErrorKind::Server(ServerErrorKind::ExecAbort) {
        return error;
    }
    let refused = error.clone().into_server_errors();
    refused.and_then(|refused| Some(refused.first()?.1.clone().into())).unwrap_or(error)
}

async fn atomically(
    commands: &[Command],
    connection: &mut MultiplexedConnection,
) -> RedisResult<Value> {
    let mut pipe = redis::pipe();
    // Or one command that failed would discard every reply.
    pipe.atomic().ignore_errors();
    for command in commands {
        pipe.add_command(command.cmd.clone());
    }
    pipe.query_async(connection).await.map_err(cause)
}

async fn together(
    commands: &[Command],
    connection: &mut MultiplexedConnection,
) -> RedisResult<Value> {
    let mut pipe = redis::pipe();
    // Or one refused command would discard every reply.
    pipe.ignore_errors();
    for command in commands {
        pipe.add_command(command.cmd.clone());
    }
    let mut replies: Vec<Value> = pipe.query_async(connection).await?;
    for (command, reply) in commands.iter().zip(&mut replies) {
        let Value::ServerError(error) = &*reply else { continue };
        if gives_up(Failure::ErrorReply { code: error.code() }) {
            // It speaks of the connection, and all others fared the same.
            return Err(error.clone().into());
        }
        let forgotten = error.kind() == Some(ServerErrorKind::NoScript);
        if let Some(script) = command.script.filter(|_| forgotten) {
            let mut again = redis::pipe();
            again.ignore_errors();
            again.add_command(script.load());
            again.add_command(command.cmd.clone());
            let replies: Vec<Value> = again.query_async(connection).await?;
            *reply = replies.into_iter().next_back().unwrap_or(Value::Nil);
        }
    }
    Ok(Value::Array(replies))
}

/// Which connection a request takes: a body on its way must not keep a verdict waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Small requests with small answers.
    Verdict,
    /// What may be large.
    Bulk,
}
