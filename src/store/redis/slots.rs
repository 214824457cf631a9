//! Which node of a cluster keeps which key.
//!
//! Source: "Redis cluster specification", sections "Key distribution model" and "Hash tags".

use std::sync::Arc;

use redis::Value;

use super::node::Node;
use super::reply::{self, Unexpected};
use crate::store::target::HostPort;

pub(super) const SLOTS: usize = 16_384;

/// The slot of a key: of what is in its first `{…}`, if there is anything in it.
pub(super) fn slot(key: &[u8]) -> usize {
    let tag = || {
        let rest = &key[key.iter().position(|byte| *byte == b'{')? + 1..];
        let tag = &rest[..rest.iter().position(|byte| *byte == b'}')?];
        (!tag.is_empty()).then_some(tag)
    };
    usize::from(crc16(tag().unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// A stretch of slots, the node that keeps them and its replicas, as a cluster's node says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: usize,
    last: usize,
    pub(super) primary: HostPort,
    pub(super) replicas: Vec<HostPort>,
}

/// Reads the reply to `CLUSTER SLOTS`. A node that does not know its own name is at `asked`.
pub(super) fn ranges(reply: Value, asked: &HostPort) -> Result<Vec<Range>, Unexpected> {
    let range = |value: Value| {
        let mut parts = reply::list(value)?.into_iter();
        let mut next = || parts.next().ok_or(Unexpected);
        let (first, last) = (reply::count(&next()?)?, reply::count(&next()?)?);
        let primary = place(next()?, asked)?;
        let replicas = parts.map(|part| place(part, asked)).collect::<Result<_, _>>()?;
        let (first, last) = (first as usize, last as usize);
        if first > last || last >= SLOTS {
            return Err(Unexpected);
        }
        Ok(Range { first, last, primary, replicas })
    };
    reply::list(reply)?.into_iter().map(range).collect()
}

fn place(node: Value, asked: &HostPort) -> Result<HostPort, Unexpected> {
    let mut parts = reply::list(node)?.into_iter();
    let host = reply::bytes(parts.next().ok_or(Unexpected)?)?.unwrap_or_default();
    let port = reply::count(&parts.next().ok_or(Unexpected)?)?;
    let host = std::str::from_utf8(&host).map_err(|_| Unexpected)?;
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    HostPort::new(host, port.try_into().map_err(|_| Unexpected)?).map_err(|_| Unexpected)
}

/// The nodes of a cluster by slot.
#[derive(Debug)]
pub(super) struct SlotMap {
    /// Per slot, the place in `owners`; `NOBODY` where there is none.
    slots: Box<[u16]>,
    owners: Vec<Owner>,
}

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) primary: Arc<Node>,
    pub(super) replicas: Vec<Arc<Node>>,
}

const NOBODY: u16 = u16::MAX;

impl SlotMap {
    pub(super) fn empty() -> SlotMap {
        SlotMap { slots: vec![NOBODY; SLOTS].into(), owners: Vec::new() }
    }

    /// `node` and `replica` give the node at a place.
    pub(super) fn new(
        ranges: &[Range],
        mut node: impl FnMut(&HostPort) -> Arc<Node>,
        mut replica: impl FnMut(&HostPort) -> Option<Arc<Node>>,
    ) -> SlotMap {
        let mut map = SlotMap::empty();
        let mut known: Vec<&HostPort> = Vec::new();
        for range in ranges {
            let index = known.iter().position(|place| **place == range.primary);
            let index = index.unwrap_or_else(|| {
                known.push(&range.primary);
                let replicas = range.replicas.iter().filter_map(&mut replica).collect();
                map.owners.push(Owner { primary: node(&range.primary), replicas });
                known.len() - 1
            });
            map.slots[range.first..=range.last].fill(index as u16);
        }
        map
    }

    pub(super) fn owner(&self, slot: usize) -> Option<&Owner> {
        self.owners.get(usize::from(self.slots[slot]))
    }

    pub(super) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Whether every slot is kept by a node that can be reached.
    pub(super) fn is_whole(&self) -> bool {
        !self.slots.contains(&NOBODY) && self.owners.iter().all(|owner| owner.primary.is_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_the_specification_says() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b""), 0);
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])])
    }

    #[test]
    fn slots_are_read_whatever_a_node_calls_itself() {
        let asked = HostPort::new("10.0.0.1", 1).unwrap();
        let range = |host| {
            Value::Array(vec![Value::Int(0), Value::Int(5), node(host, 7000), node(text("b"), 2)])
        };
        for (host, read) in [
            (text("a.example"), "a.example"),
            (text(""), "10.0.0.1"),
            (text("?"), "10.0.0.1"),
            (Value::Nil, "10.0.0.1"),
        ] {
            let ranges = ranges(Value::Array(vec![range(host)]), &asked).unwrap();
            assert_eq!(ranges[0].primary, HostPort::new(read, 7000).unwrap());
            assert_eq!(ranges[0].replicas, [HostPort::new("b", 2).unwrap()]);
        }
    }

    #[test]
    fn a_reply_of_another_shape_is_no_slots() {
        let asked = HostPort::new("a", 1).unwrap();
        for reply in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16_384)])]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(16_384),
                node(text("a"), 1),
            ])]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(1),
                node(text("a"), -1),
            ])]),
        ] {
            assert_eq!(ranges(reply, &asked), Err(Unexpected));
        }
    }
}
