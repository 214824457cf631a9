//! Reads replies. The redis crate's own conversions put the reply into their errors, and a reply
//! holds sessions and bodies; these say nothing but that it was unexpected.

use std::str::FromStr;

use redis::Value;

use crate::store::StoreError;
use crate::store::error::Kind;

/// The reply has a shape that its command does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unexpected;

impl From<Unexpected> for StoreError {
    fn from(_: Unexpected) -> StoreError {
        StoreError::new(Kind::UnexpectedReply)
    }
}

/// A reply out of several.
pub(super) fn extracted(reply: Value) -> Result<Value, StoreError> {
    match reply {
        Value::ServerError(error) => Err(StoreError::reply(error.code())),
        reply => Ok(reply),
    }
}

/// Several replies, none of which is an error.
pub(super) fn all(replies: Value) -> Result<Vec<Value>, StoreError> {
    list(replies)?.into_iter().map(extracted).collect()
}

pub(super) fn okay(value: &Value) -> Result<(), Unexpected> {
    matches!(value, Value::Okay).then_some(()).ok_or(Unexpected)
}

pub(super) fn integer(value: &Value) -> Result<i64, Unexpected> {
    match value {
        Value::Int(int) => Ok(*int),
        _ => Err(Unexpected),
    }
}

/// An integer that is not negative.
pub(super) fn count(value: &Value) -> Result<u64, Unexpected> {
    integer(value)?.try_into().map_err(|_| Unexpected)
}

/// Whether it was done, as a script or command says that by a number.
pub(super) fn is_one(value: &Value) -> Result<bool, Unexpected> {
    Ok(integer(value)? == 1)
}

pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>, Unexpected> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(Unexpected),
    }
}

pub(super) fn array<const N: usize>(value: Value) -> Result<[Value; N], Unexpected> {
    list(value)?.try_into().map_err(|_| Unexpected)
}

/// The replies to several commands, each by itself.
pub(super) fn each<T>(
    value: Value,
    read: impl Fn(&Value) -> Result<T, Unexpected>,
) -> Result<Vec<Result<T, StoreError>>, Unexpected> {
    let one = |reply: &Value| match reply {
        Value::ServerError(error) => Ok(Err(StoreError::reply(error.code()))),
        reply => read(reply).map(Ok),
    };
    list(value)?.iter().map(one).collect()
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, Unexpected> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Unexpected),
    }
}

/// What a text spells, if it spells one.
pub(super) fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Text in whichever form the protocol has for it; bytes that are no UTF-8 are replaced.
pub(super) fn text(value: Value) -> Result<String, Unexpected> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(Unexpected),
    }
}
