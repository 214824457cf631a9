use redis::Value;

use super::command::{Command, PRESENCE_LIST, PRESENCE_TOUCH, millis};
use super::{Lane, OnRedis, Request, Unexpected, reply};
use crate::store::keys::Keys;
use crate::store::verbs::{Leave, Present, Touch, WhoIsPresent};

impl OnRedis for Touch {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&PRESENCE_TOUCH, &[keys.presence(&self.presence)])
            .arg(&*self.who)
            .arg(millis(self.time_to_live))
            .into()
    }

    fn answer(_: Value) -> Result<(), Unexpected> {
        Ok(())
    }
}

impl OnRedis for WhoIsPresent {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let key = keys.presence(&self.presence);
        // The server takes a number with a sign.
        let limit = self.limit.min(i64::MAX as u64);
        Command::script(&PRESENCE_LIST, &[key]).arg(limit).into()
    }

    fn answer(reply: Value) -> Result<Present, Unexpected> {
        let mut reply = reply::list(reply)?.into_iter();
        let count = reply::count(&reply.next().ok_or(Unexpected)?)?;
        let who = reply.map(|who| {
            let who = reply::bytes(who)?.ok_or(Unexpected)?;
            String::from_utf8(who).map_err(|_| Unexpected)
        });
        Ok(Present { count, who: who.collect::<Result<_, _>>()? })
    }
}

impl OnRedis for Leave {
    fn request(&self, keys: &Keys) -> Request {
        Command::new("ZREM").arg(keys.presence(&self.presence)).arg(&*self.who).into()
    }

    fn answer(reply: Value) -> Result<(), Unexpected> {
        reply::integer(&reply).map(drop)
    }
}
