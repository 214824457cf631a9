use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::command::{Command, DELETE_IF, INCREMENT, millis};
use super::{Lane, OnRedis, Request, Unexpected, reply};
use crate::store::StoreError;
use crate::store::keys::Keys;
use crate::store::place::Place;
use crate::store::verbs::{
    DeleteValues, DeleteValuesIf, ExpireValue, Increment, LoadValues, StoreValue, StoreValues,
    TakeValue, TimeToLive,
};

impl OnRedis for LoadValues {
    const LANE: Lane = Lane::Bulk;
    const FROM_REPLICA: bool = true;

    fn request(&self, keys: &Keys) -> Request {
        Request::GetAll(self.places.iter().map(|place| keys.value(place)).collect())
    }

    fn answer(reply: Value) -> Result<Vec<Option<Bytes>>, Unexpected> {
        reply::list(reply)?.into_iter().map(bytes).collect()
    }
}

impl OnRedis for TakeValue {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        Command::new("GETDEL").arg(keys.value(&self.place)).into()
    }

    fn answer(reply: Value) -> Result<Option<Bytes>, Unexpected> {
        bytes(reply)
    }
}

impl OnRedis for StoreValue {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let set = set(keys, &self.place, &self.value, self.time_to_live);
        if self.if_absent { set.arg("NX").into() } else { set.into() }
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        match reply {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            _ => Err(Unexpected),
        }
    }
}

impl OnRedis for StoreValues {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let set = |(place, value): &(Place, Bytes)| set(keys, place, value, self.time_to_live);
        Request::Together(self.values.iter().map(set).collect())
    }

    fn answer(reply: Value) -> Result<Vec<Result<(), StoreError>>, Unexpected> {
        reply::each(reply, reply::okay)
    }
}

impl OnRedis for DeleteValues {
    fn request(&self, keys: &Keys) -> Request {
        Request::Together(self.places.iter().map(|place| unlink(keys, place)).collect())
    }

    fn answer(reply: Value) -> Result<Vec<Result<bool, StoreError>>, Unexpected> {
        reply::each(reply, reply::is_one)
    }
}

impl OnRedis for DeleteValuesIf {
    const LANE: Lane = Lane::Bulk;

    fn request(&self, keys: &Keys) -> Request {
        let delete = |(place, value): &(Place, Bytes)| {
            Command::script(&DELETE_IF, &[keys.value(place)]).arg(&value[..])
        };
        Request::Together(self.values.iter().map(delete).collect())
    }

    fn answer(reply: Value) -> Result<Vec<Result<bool, StoreError>>, Unexpected> {
        reply::each(reply, reply::is_one)
    }
}

impl OnRedis for ExpireValue {
    fn request(&self, keys: &Keys) -> Request {
        expire(keys, &self.place, self.time_to_live).into()
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

impl OnRedis for TimeToLive {
    fn request(&self, keys: &Keys) -> Request {
        Command::new("PTTL").arg(keys.value(&self.place)).into()
    }

    fn answer(reply: Value) -> Result<Option<Duration>, Unexpected> {
        match reply::integer(&reply)? {
            -2 => Ok(None),
            // Written by something else, without an end.
            -1 => Ok(Some(Duration::MAX)),
            millis => Ok(Some(Duration::from_millis(millis.try_into().map_err(|_| Unexpected)?))),
        }
    }
}

impl OnRedis for Increment {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&INCREMENT, &[keys.value(&self.place)])
            .arg(self.by)
            .arg(millis(self.time_to_live))
            .into()
    }

    fn answer(reply: Value) -> Result<Option<i64>, Unexpected> {
        reply::bytes(reply)?.map(|sum| reply::parsed(&sum).ok_or(Unexpected)).transpose()
    }
}

pub(super) fn set(keys: &Keys, place: &Place, value: &[u8], time_to_live: Duration) -> Command {
    Command::set(keys.value(place), value, time_to_live)
}

/// `UNLINK` frees a large value beside the commands that follow.
pub(super) fn unlink(keys: &Keys, place: &Place) -> Command {
    Command::new("UNLINK").arg(keys.value(place))
}

pub(super) fn expire(keys: &Keys, place: &Place, time_to_live: Duration) -> Command {
    Command::new("PEXPIRE").arg(keys.value(place)).arg(millis(time_to_live))
}

fn bytes(reply: Value) -> Result<Option<Bytes>, Unexpected> {
    Ok(reply::bytes(reply)?.map(Bytes::from))
}
