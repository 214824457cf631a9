use redis::Value;

use super::command::Command;
use super::values::{expire, set, unlink};
use super::{Lane, OnRedis, Request, Unexpected, reply};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::keys::Keys;
use crate::store::verbs::{Act, Batch};

impl OnRedis for Batch {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        // No scripts: one that the server has forgotten would fail among others that are done.
        let command = |act: &Act| match act {
            Act::Store { place, value, time_to_live, if_absent } => {
                let set = set(keys, place, value, *time_to_live);
                if *if_absent { set.arg("NX") } else { set }
            }
            Act::Delete { place } => unlink(keys, place),
            Act::Expire { place, time_to_live } => expire(keys, place, *time_to_live),
            Act::Add { place, by } => Command::new("INCRBY").arg(keys.value(place)).arg(*by),
        };
        Request::Atomic(self.acts.iter().map(command).collect())
    }

    fn answer(reply: Value) -> Result<Vec<Result<i64, StoreError>>, Unexpected> {
        let replies = reply::each(reply, |reply| match reply {
            Value::Okay => Ok(1),
            Value::Nil => Ok(0),
            reply => reply::integer(reply),
        })?;
        // Of these commands only an addition can fail for what is stored.
        let not_a_counter = |error| match error {
            error if error == StoreError::reply("ERR") => StoreError::new(Kind::NotACounter),
            error => error,
        };
        Ok(replies.into_iter().map(|reply| reply.map_err(not_a_counter)).collect())
    }
}
