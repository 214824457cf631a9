//! What a session's record holds, when it ends, and how concurrent changes come together.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serializer;
use serde_json::{Map, Value};

use super::Timestamp;

/// A session's fields: a JSON object.
pub(crate) type Fields = Map<String, Value>;

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// It ends when it was not loaded or saved for this long.
    pub(crate) idle: Duration,
    /// It ends this long after it began, whatever happens.
    pub(crate) absolute: Duration,
}

/// A session as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Raised by every save: a save is accepted only by the version it was made from.
    pub(crate) version: u32,
    pub(crate) expires_at: Timestamp,
    pub(crate) fields: Fields,
}

/// The first bytes of an encoded record, which identify its version.
pub(crate) type VersionTag = [u8; 5];

const FORMAT: u8 = 1;
const HEADER: usize = size_of::<VersionTag>() + 8;

impl Record {
    pub(crate) fn begin(fields: Fields, lifetime: Lifetime, now: Timestamp) -> Record {
        Record { version: 0, expires_at: now.after(lifetime.absolute), fields }
    }

    /// The record after `changes`, as the next version.
    pub(crate) fn next(&self, changes: &Changes) -> Record {
        let mut fields = self.fields.clone();
        changes.apply_to(&mut fields);
        Record { version: self.version.wrapping_add(1), expires_at: self.expires_at, fields }
    }

    /// How long the bytes are of a record whose fields have at most this size.
    pub(crate) fn longest(max_size: usize) -> usize {
        HEADER.saturating_add(max_size)
    }

    pub(crate) fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// How long to keep the record from `now` on: the idle time, but never past its end.
    pub(crate) fn time_to_live(&self, lifetime: Lifetime, now: Timestamp) -> Duration {
        lifetime.idle.min(self.expires_at.since(now))
    }

    pub(crate) fn version_tag(&self) -> VersionTag {
        let [a, b, c, d] = self.version.to_be_bytes();
        [FORMAT, a, b, c, d]
    }

    /// Format, version, end of life, then the fields as JSON.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 64);
        bytes.extend_from_slice(&self.version_tag());
        bytes.extend_from_slice(&self.expires_at.0.to_be_bytes());
        serde_json::to_writer(&mut bytes, &self.fields).expect("JSON values write into memory");
        bytes
    }

    /// `None` for bytes that are no record of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
        let (format, rest) = bytes.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (expires_at, fields) = rest.split_first_chunk()?;
        (*format == FORMAT).then_some(())?;
        Some(Record {
            version: u32::from_be_bytes(*version),
            expires_at: Timestamp(u64::from_be_bytes(*expires_at)),
            fields: serde_json::from_slice(fields).ok()?,
        })
    }
}

/// What one request did to a session's fields. Kept apart from the fields, so that it can be made
/// again on top of what another request saved meanwhile: changes to different fields both stand,
/// of two changes to one field the later save wins.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Changes {
    cleared: bool,
    fields: BTreeMap<String, Option<Value>>,
}

impl Changes {
    pub(crate) fn set(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), Some(value));
    }

    pub(crate) fn remove(&mut self, field: &str) {
        self.fields.insert(field.to_owned(), None);
    }

    pub(crate) fn clear(&mut self) {
        *self = Changes { cleared: true, fields: BTreeMap::new() };
    }

    /// The field's new value: `None` when it is as it was, `Some(None)` when it was removed.
    pub(crate) fn get(&self, field: &str) -> Option<Option<&Value>> {
        match self.fields.get(field) {
            Some(value) => Some(value.as_ref()),
            None => self.cleared.then_some(None),
        }
    }

    /// How long the fields are as JSON with these changes made.
    pub(crate) fn size_with(&self, fields: &Fields) -> usize {
        let kept = fields.iter().filter(|(field, _)| self.get(field).is_none());
        let set = self.fields.iter().filter_map(|(field, value)| Some((field, value.as_ref()?)));
        let mut length = Length(0);
        serde_json::Serializer::new(&mut length)
            .collect_map(kept.chain(set))
            .expect("JSON values write into memory");
        length.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.cleared && self.fields.is_empty()
    }

    pub(crate) fn apply_to(&self, fields: &mut Fields) {
        if self.cleared {
            fields.clear();
        }
        for (field, value) in &self.fields {
            match value {
                Some(value) => fields.insert(field.clone(), value.clone()),
                None => fields.remove(field),
            };
        }
    }
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const LIFETIME: Lifetime = Lifetime { idle: Duration::from_secs(60), absolute: DAY };

    fn record() -> Record {
        let Value::Object(fields) = json!({"user": 7, "cart": ["a"]}) else { unreachable!() };
        Record::begin(fields, LIFETIME, Timestamp(1_000))
    }

    #[test]
    fn a_record_survives_the_store() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
    }

    #[test]
    fn a_number_is_the_same_after_the_store() {
        let number = |text| [&record().encode()[..HEADER], text].concat();
        let read = Record::decode(&number(b"{\"pi\":3.14100000000626748991}")).unwrap();
        assert_eq!(Record::decode(&read.encode()), Some(read));
    }

    #[test]
    fn bytes_that_are_no_record_are_none() {
        let good = record().encode();
        assert_eq!(Record::decode(b""), None);
        assert_eq!(Record::decode(&good[..HEADER]), None);
        assert_eq!(Record::decode(&[&[9], &good[1..]].concat()), None);
        assert_eq!(Record::decode(&[&good[..], b"}"].concat()), None);
    }

    #[test]
    fn the_version_tag_is_the_start_of_the_bytes() {
        assert!(record().encode().starts_with(&record().version_tag()));
    }

    #[test]
    fn changes_to_different_fields_both_stand() {
        let mut mine = Changes::default();
        mine.set("theme", json!("dark"));
        mine.remove("cart");
        let mut theirs = Changes::default();
        theirs.set("user", json!(8));
        let both = record().next(&theirs).next(&mine);
        assert_eq!(Value::Object(both.fields), json!({"user": 8, "theme": "dark"}));
        assert_eq!(both.version, 2);
    }

    #[test]
    fn the_size_is_that_of_the_fields_with_the_changes_made() {
        let mut changes = Changes::default();
        changes.set("theme", json!("dark"));
        changes.remove("cart");
        let size = changes.size_with(&record().fields);
        assert_eq!(size, Value::Object(record().next(&changes).fields).to_string().len());
        changes.clear();
        assert_eq!(changes.size_with(&record().fields), "{}".len());
    }

    #[test]
    fn clearing_forgets_what_came_before_it_and_keeps_what_follows() {
        let mut changes = Changes::default();
        changes.set("lost", json!(1));
        changes.clear();
        changes.set("kept", json!(2));
        assert_eq!(Value::Object(record().next(&changes).fields), json!({"kept": 2}));
    }

    #[test]
    fn idle_time_never_outlives_the_session() {
        let record = record();
        let last_minute = Timestamp(1_000).after(DAY - Duration::from_secs(20));
        assert_eq!(record.time_to_live(LIFETIME, Timestamp(1_000)), LIFETIME.idle);
        assert_eq!(record.time_to_live(LIFETIME, last_minute), Duration::from_secs(20));
        assert!(!record.is_alive(record.expires_at));
    }
}
