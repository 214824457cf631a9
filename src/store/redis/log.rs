use bytes::Bytes;
use redis::Value;

use super::command::{Command, millis};
use super::{Lane, OnRedis, Request, Unexpected, reply};
use crate::policy::LogId;
use crate::store::StoreError;
use crate::store::keys::Keys;
use crate::store::verbs::{Append, Entry, LogLength, Part, ReadLog};

/// The field that holds an entry.
const FIELD: &str = "v";

/// Redis reads numbers of entries as signed ones.
const MOST: u64 = i64::MAX as u64;

impl OnRedis for Append {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let key = keys.log(&self.log);
        // `~` drops whole nodes of the stream: exactness would cost every append.
        let max_len = self.max_len.min(MOST);
        let append = Command::new("XADD").arg(&key).arg("MAXLEN").arg("~").arg(max_len);
        let append = append.arg("*").arg(FIELD).arg(&self.entry[..]);
        let keep = Command::new("PEXPIRE").arg(&key).arg(millis(self.retention));
        Request::Atomic(vec![append, keep])
    }

    fn answer(reply: Value) -> Result<Result<LogId, StoreError>, Unexpected> {
        let mut replies = reply::each(reply, |reply| match reply {
            Value::BulkString(id) => log_id(id).map(Some),
            _ => Ok(None),
        })?
        .into_iter();
        match replies.next().ok_or(Unexpected)? {
            Ok(id) => id.map(Ok).ok_or(Unexpected),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl OnRedis for ReadLog {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let key = keys.log(&self.log);
        let read = match self.part {
            Part::After(id) => Command::new("XRANGE").arg(key).arg(format!("({id}")).arg("+"),
            Part::Last => Command::new("XREVRANGE").arg(key).arg("+").arg("-"),
        };
        read.arg("COUNT").arg(self.limit.min(MOST)).into()
    }

    fn answer(reply: Value) -> Result<Vec<Entry>, Unexpected> {
        let mut entries = entries(reply)?;
        // The last ones come the newest first.
        if entries.first() > entries.last() {
            entries.reverse();
        }
        Ok(entries)
    }
}

impl OnRedis for LogLength {
    fn request(&self, keys: &Keys) -> Request {
        Command::new("XLEN").arg(keys.log(&self.log)).into()
    }

    fn answer(reply: Value) -> Result<u64, Unexpected> {
        reply::count(&reply)
    }
}

pub(super) fn entries(reply: Value) -> Result<Vec<Entry>, Unexpected> {
    reply::list(reply)?.into_iter().map(entry).collect()
}

/// An entry without our field, of something else's, is one that nothing can be read from.
fn entry(reply: Value) -> Result<Entry, Unexpected> {
    let [id, fields] = reply::array(reply)?;
    let id = log_id(&reply::bytes(id)?.ok_or(Unexpected)?)?;
    let mut fields = reply::list(fields)?.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        if reply::bytes(field)?.as_deref() == Some(FIELD.as_bytes()) {
            return Ok((id, reply::bytes(value)?.ok_or(Unexpected)?.into()));
        }
    }
    Ok((id, Bytes::new()))
}

fn log_id(text: &[u8]) -> Result<LogId, Unexpected> {
    reply::parsed(text).ok_or(Unexpected)
}
