use redis::Value;

use super::command::{Command, SAVE_SESSION, millis};
use super::{OnRedis, Request, Unexpected, reply};
use crate::policy::session::Record;
use crate::store::keys::Keys;
use crate::store::verbs::{CreateSession, EndSession, LoadSession, SaveSession, Saved};

impl OnRedis for LoadSession {
    const ALL_OR_ERROR: bool = true;

    fn request(&self, keys: &Keys) -> Request {
        // And not `GETEX`, which would carry whatever is there. What is longer arrives cut off, and
        // is no session: an object in JSON is none without its last byte.
        let key = keys.session(&self.id);
        let read = Command::new("GETRANGE").arg(&key).arg(0).arg(last_byte(self.max_size));
        let keep = Command::new("PEXPIRE").arg(key).arg(millis(self.idle));
        Request::Together(vec![read, keep])
    }

    fn answer(reply: Value) -> Result<Option<Record>, Unexpected> {
        let [read, keep] = reply::array(reply)?;
        reply::integer(&keep)?;
        // Of a key that is not there, the range is empty.
        Ok(reply::bytes(read)?.and_then(|bytes| Record::decode(&bytes)))
    }
}

impl OnRedis for CreateSession {
    fn request(&self, keys: &Keys) -> Request {
        Command::set(keys.session(&self.id), self.record.encode(), self.time_to_live).into()
    }

    fn answer(reply: Value) -> Result<(), Unexpected> {
        reply::okay(&reply)
    }
}

impl OnRedis for SaveSession {
    fn request(&self, keys: &Keys) -> Request {
        let mut names = vec![keys.session(&self.id)];
        names.extend(self.rotate_to.map(|id| keys.session(&id)));
        Command::script(&SAVE_SESSION, &names)
            .arg(&self.from[..])
            .arg(self.record.encode())
            .arg(millis(self.time_to_live))
            .arg(last_byte(self.max_size))
            .into()
    }

    fn answer(reply: Value) -> Result<Saved, Unexpected> {
        match reply {
            Value::Int(1) => Ok(Saved::Done),
            Value::Int(0) => Ok(Saved::Gone),
            Value::BulkString(bytes) => {
                Ok(Record::decode(&bytes).map_or(Saved::Gone, Saved::Conflict))
            }
            _ => Err(Unexpected),
        }
    }
}

impl OnRedis for EndSession {
    fn request(&self, keys: &Keys) -> Request {
        Command::new("DEL").arg(keys.session(&self.id)).into()
    }

    fn answer(reply: Value) -> Result<(), Unexpected> {
        reply::integer(&reply).map(drop)
    }
}

/// Where the longest record ends.
fn last_byte(max_size: usize) -> usize {
    (Record::longest(max_size) - 1).min(LONGEST_STRING)
}

/// No string on Redis is longer, unless it is told otherwise.
const LONGEST_STRING: usize = 512 << 20;
