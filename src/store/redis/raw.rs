//! Commands that handlers spell themselves.

use redis::{Arg, Cmd, Value};

use super::command::{Command, Lane, Request};
use super::{Redis, reply};
use crate::store::StoreError;
use crate::store::error::Kind;

/// What would change the connection that everybody shares, or keep it to itself.
const REFUSED: [&str; 42] = [
    "ASKING",
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT CACHING",
    "CLIENT NO-EVICT",
    "CLIENT NO-TOUCH",
    "CLIENT REPLY",
    "CLIENT SETINFO",
    "CLIENT SETNAME",
    "CLIENT TRACKING",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SHUTDOWN",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

/// What has no key, so that any node of a cluster can answer.
const KEYLESS: [&str; 19] = [
    "ACL",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "ECHO",
    "FUNCTION",
    "INFO",
    "LASTSAVE",
    "LATENCY",
    "MODULE",
    "PING",
    "PUBLISH",
    "RANDOMKEY",
    "ROLE",
    "SCAN",
    "SCRIPT",
    "TIME",
];

impl Redis {
    /// On a cluster, the node of its first key is asked; what concerns several slots is the
    /// caller's to take apart.
    pub(crate) async fn raw(&self, cmd: Cmd) -> Result<Value, StoreError> {
        let words = words(&cmd);
        let name = words.first().ok_or_else(|| refused("a command has a name"))?;
        let both = words.get(1).map(|second| format!("{name} {second}"));
        let blocks = || matches!(name.as_str(), "XREAD" | "XREADGROUP") && has(&cmd, b"BLOCK");
        let is_refused = |it: &str| it == name || both.as_deref() == Some(it);
        if REFUSED.into_iter().any(is_refused) || blocks() {
            return Err(refused(
                "the connection is shared: nothing may block it, or change it for the others",
            ));
        }
        let key = key(name, &cmd);
        let request = Request::One(Command::raw(cmd, key));
        reply::extracted(self.call(request, Lane::Bulk).await?)
    }
}

fn refused(why: &'static str) -> StoreError {
    StoreError::about(Kind::Unsupported, why)
}

/// The first two words, in capitals.
fn words(cmd: &Cmd) -> Vec<String> {
    let words = cmd.args_iter().take(2).filter_map(|arg| match arg {
        Arg::Simple(word) => Some(String::from_utf8_lossy(word).to_ascii_uppercase()),
        _ => None,
    });
    words.collect()
}

fn has(cmd: &Cmd, word: &[u8]) -> bool {
    cmd.args_iter().any(|arg| matches!(arg, Arg::Simple(it) if it.eq_ignore_ascii_case(word)))
}

/// Where a command has its first key.
fn key(name: &str, cmd: &Cmd) -> Option<usize> {
    match name {
        _ if KEYLESS.contains(&name) => None,
        "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => Some(3),
        "BITOP" | "MEMORY" | "OBJECT" | "XGROUP" | "XINFO" => Some(2),
        "XREAD" | "XREADGROUP" => {
            let streams = cmd.args_iter().position(
                |arg| matches!(arg, Arg::Simple(it) if it.eq_ignore_ascii_case(b"STREAMS")),
            );
            streams.map(|at| at + 1)
        }
        _ => Some(1),
    }
}
