//! Commands that handlers spell themselves.

use redis::{Arg, Cmd, Value};

use super::Redis;
use super::command::{Command, Lane, Request};
use crate::store::StoreError;
use crate::store::error::Kind;

impl Redis {
    /// On a cluster, the node of its first key is asked; what concerns several slots is the
    /// caller's to take apart.
    pub(crate) async fn raw(&self, cmd: Cmd) -> Result<Value, StoreError> {
        let key = key(&cmd)?;
        let request = Request::One(Command::raw(cmd, key));
        self.send(&request, Lane::Bulk, false).await
    }
}

/// Where a command has its first key; an error, if it would change the connection that everybody
/// shares, or keep it to itself.
fn key(cmd: &Cmd) -> Result<Option<usize>, StoreError> {
    let word = |at| match cmd.args_iter().nth(at) {
        Some(Arg::Simple(word)) => Word::of(word),
        _ => Word::default(),
    };
    let has = |name: &[u8]| cmd.args_iter().position(|arg| is(&arg, name));
    Ok(match word(0).as_bytes() {
        b"" => return Err(refused("a command has a name")),
        b"ASKING" | b"AUTH" | b"BLMOVE" | b"BLMPOP" | b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH"
        | b"BZMPOP" | b"BZPOPMAX" | b"BZPOPMIN" | b"DEBUG" | b"DISCARD" | b"EXEC" | b"HELLO"
        | b"MONITOR" | b"MULTI" | b"PSUBSCRIBE" | b"PSYNC" | b"PUNSUBSCRIBE" | b"QUIT"
        | b"READONLY" | b"READWRITE" | b"REPLCONF" | b"RESET" | b"SELECT" | b"SHUTDOWN"
        | b"SSUBSCRIBE" | b"SUBSCRIBE" | b"SUNSUBSCRIBE" | b"SYNC" | b"UNSUBSCRIBE"
        | b"UNWATCH" | b"WAIT" | b"WAITAOF" | b"WATCH" => return Err(refused(SHARED)),
        b"CLIENT" => match word(1).as_bytes() {
            b"CACHING" | b"NO-EVICT" | b"NO-TOUCH" | b"REPLY" | b"SETINFO" | b"SETNAME"
            | b"TRACKING" => return Err(refused(SHARED)),
            _ => None,
        },
        b"ACL" | b"CLUSTER" | b"COMMAND" | b"CONFIG" | b"DBSIZE" | b"ECHO" | b"FUNCTION"
        | b"INFO" | b"LASTSAVE" | b"LATENCY" | b"MODULE" | b"PING" | b"PUBLISH" | b"RANDOMKEY"
        | b"ROLE" | b"SCAN" | b"SCRIPT" | b"TIME" => None,
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => Some(3),
        b"BITOP" | b"MEMORY" | b"OBJECT" | b"XGROUP" | b"XINFO" => Some(2),
        b"XREAD" | b"XREADGROUP" if has(b"BLOCK").is_some() => return Err(refused(SHARED)),
        b"XREAD" | b"XREADGROUP" => has(b"STREAMS").map(|at| at + 1),
        _ => Some(1),
    })
}

const SHARED: &str = "the connection is shared: nothing may block it, or change it for the others";

/// A word in capitals, if it is as short as those that are known.
#[derive(Default)]
struct Word {
    bytes: [u8; 16],
    length: usize,
}

impl Word {
    fn of(word: &[u8]) -> Word {
        let mut bytes = [0; 16];
        let length = word.len().min(bytes.len());
        bytes[..length].copy_from_slice(&word[..length]);
        bytes.make_ascii_uppercase();
        Word { bytes, length }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn is(arg: &Arg<&[u8]>, name: &[u8]) -> bool {
    matches!(arg, Arg::Simple(word) if word.eq_ignore_ascii_case(name))
}

fn refused(why: &'static str) -> StoreError {
    StoreError::about(Kind::Unsupported, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmd(words: &str) -> Cmd {
        let mut cmd = Cmd::new();
        words.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        cmd
    }

    #[test]
    fn the_first_key_is_found() {
        for (words, at) in [
            ("GET a", Some(1)),
            ("get a", Some(1)),
            ("EVALSHA abc 1 a", Some(3)),
            ("OBJECT ENCODING a", Some(2)),
            ("XREAD COUNT 1 streams a 0", Some(4)),
            ("PING", None),
            ("CLIENT LIST", None),
        ] {
            assert_eq!(key(&cmd(words)).unwrap(), at, "{words}");
        }
    }

    #[test]
    fn what_would_disturb_the_others_is_refused() {
        for words in [
            "BLPOP a 0",
            "blpop a 0",
            "MULTI",
            "SELECT 1",
            "CLIENT reply OFF",
            "XREAD block 0 STREAMS a 0",
            "SUBSCRIBE a",
            "",
        ] {
            assert!(key(&cmd(words)).unwrap_err().is_unsupported(), "{words}");
        }
    }
}
