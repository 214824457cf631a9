use redis::Value;

use super::command::{CONSUME, Command, millis};
use super::log::entries;
use super::{Lane, OnRedis, Request, Unexpected, reply};
use crate::store::keys::Keys;
use crate::store::verbs::{Consume, Done, Entry};

impl OnRedis for Consume {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        Command::script(&CONSUME, &[keys.log(&self.log)])
            .arg(&*self.group)
            .arg(&*self.worker)
            .arg(self.limit)
            .arg(millis(self.again_after))
            .arg(format!("({}", self.after))
            .into()
    }

    fn answer(reply: Value) -> Result<Vec<Entry>, Unexpected> {
        entries(reply)
    }
}

impl OnRedis for Done {
    fn request(&self, keys: &Keys) -> Request {
        let ids: Vec<String> = self.ids.iter().map(ToString::to_string).collect();
        Command::new("XACK").arg(keys.log(&self.log)).arg(&*self.group).arg(ids).into()
    }

    fn answer(reply: Value) -> Result<u64, Unexpected> {
        reply::count(&reply)
    }
}
