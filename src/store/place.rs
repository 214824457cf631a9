//! What handlers name things by, escaped and bounded: it may be a user's text.

use std::fmt::{self, Write};
use std::sync::Arc;

use super::StoreError;
use super::error::Kind;
use super::keys::is_plain_name;

/// The longest text that a handler can name something by, in bytes.
const LONGEST_TEXT: usize = 512;

/// The longest glob that a scan can match, in bytes: the server tries it on every key it has.
const LONGEST_GLOB: usize = 256;

/// For a text of the usual size, so that it grows into no second allocation.
const ROOM: usize = 39;

/// Where a handler keeps something, without the store's prefix: `articles:7`, or
/// `cart:{user 7}:items` in a group.
///
/// No two of them run together, whatever their texts: in a namespace, `:` is escaped, and the
/// braces of a group are the only ones.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place(Arc<str>);

impl Place {
    /// The place that is spelled like this, as in a key that is there.
    pub(super) fn spelled(text: &str) -> Place {
        Place(text.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn begins_with(&self, prefix: &PlacePrefix) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

/// What the places of a scan begin with.
#[derive(Clone)]
pub(crate) struct PlacePrefix(String);

impl PlacePrefix {
    /// A glob that matches the prefix alone.
    pub(super) fn glob(&self) -> String {
        glob(&self.0)
    }
}

/// A namespace of places, and in it the group whose places share a cluster slot.
#[derive(Clone)]
pub(crate) struct Namespace {
    name: Arc<str>,
    group: Option<Result<Arc<str>, StoreError>>,
}

impl Namespace {
    /// # Panics
    /// As [`StoreBuilder::prefix`](super::StoreBuilder::prefix).
    #[track_caller]
    pub(crate) fn new(name: &str) -> Namespace {
        assert!(
            is_plain_name(name),
            "a name is 1 to 64 letters, digits or any of - _ . : (got {name:?}); text of a user \
             goes into keys"
        );
        Namespace { name: name.replace(':', "%3A").into(), group: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// The group of this name. One that cannot be is an error of every place in it.
    pub(crate) fn grouped(&self, group: &str) -> Namespace {
        let tag = check_text(group, "a group is 1 to 512 bytes").map(|()| {
            let mut tag = String::with_capacity(group.len() + "{}:".len());
            tag.push('{');
            escape(group, &mut tag);
            tag.push_str("}:");
            tag.into()
        });
        Namespace { name: self.name.clone(), group: Some(tag) }
    }

    /// The place that has the namespace's name, where there is one only.
    pub(crate) fn whole(&self) -> Place {
        Place(self.name.clone())
    }

    pub(crate) fn place(&self, text: &str) -> Result<Place, StoreError> {
        check_text(text, "a key is 1 to 512 bytes")?;
        let mut place = self.head()?;
        escape(text, &mut place);
        Ok(Place(place.into()))
    }

    /// What the places whose text begins with `text` begin with.
    pub(crate) fn prefix(&self, text: &str) -> Result<PlacePrefix, StoreError> {
        if text.is_empty() {
            let fix = "an empty prefix names all there is: give the keys of one kind a prefix in \
                       common; to leave all behind, change the namespace's name and let them expire";
            return Err(StoreError::about(Kind::InvalidKey, fix));
        }
        let mut prefix = self.head()?;
        let head = prefix.len();
        escape(text, &mut prefix);
        if glob(&prefix[head..]).len() > LONGEST_GLOB {
            let fix = "a prefix is at most 256 bytes, as it is escaped for a scan";
            return Err(StoreError::about(Kind::InvalidKey, fix));
        }
        Ok(PlacePrefix(prefix))
    }

    /// The text of a place in this namespace and group.
    pub(crate) fn text(&self, place: &Place) -> Option<String> {
        unescape(place.0.strip_prefix(self.head().ok()?.as_str())?)
    }

    fn head(&self) -> Result<String, StoreError> {
        let group = self.group.as_ref().map_or(Ok(""), |group| group.as_deref());
        let group = group.map_err(StoreError::clone)?;
        let mut head = String::with_capacity(self.name.len() + group.len() + ROOM);
        head.push_str(&self.name);
        head.push(':');
        head.push_str(group);
        Ok(head)
    }
}

/// Bounds what somebody is named by.
pub(crate) fn check_text(text: &str, rule: &'static str) -> Result<(), StoreError> {
    if (1..=LONGEST_TEXT).contains(&text.len()) {
        Ok(())
    } else {
        Err(StoreError::about(Kind::InvalidKey, rule))
    }
}

/// Escapes what moves a key to another slot, the escape itself, and what garbles a terminal.
fn escape(text: &str, key: &mut String) {
    for char in text.chars() {
        if char.is_ascii_control() || "{}%".contains(char) {
            write!(key, "%{:02X}", u32::from(char)).expect("a string takes everything");
        } else {
            key.push(char);
        }
    }
}

/// Takes `escape` back; `None` for what it does not make.
fn unescape(key: &str) -> Option<String> {
    let mut parts = key.split('%');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        text.push(char::from(byte));
        text.push_str(&part[2..]);
    }
    Some(text)
}

/// A glob that matches this text alone.
fn glob(text: &str) -> String {
    let mut glob = String::with_capacity(text.len() + ROOM);
    for char in text.chars() {
        if r"*?[\".contains(char) {
            glob.push('\\');
        }
        glob.push(char);
    }
    glob
}

/// Never the text: it may be a user's.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl fmt::Debug for PlacePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacePrefix").finish_non_exhaustive()
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("name", &self.name)
            .field("is_grouped", &self.is_grouped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::keys::Keys;

    proptest! {
        #[test]
        fn a_place_gives_its_text_back_and_moves_no_slot(
            text in "\\PC{1,40}|[{}%:*\\x00-\\x7f]{1,40}",
            group in "\\PC{1,20}|[{}%:]{1,20}",
        ) {
            let alone = Namespace::new("a:b");
            let place = alone.place(&text).unwrap();
            prop_assert_eq!(alone.text(&place), Some(text.clone()));
            let moves = |key: &str| key.contains(['{', '}']) || key.contains('\0');
            prop_assert!(!moves(&place.0));
            prop_assert!(place.begins_with(&alone.prefix(&text).unwrap()));

            let grouped = alone.grouped(&group);
            let place = grouped.place(&text).unwrap();
            prop_assert_eq!(grouped.text(&place), Some(text.clone()));

            // The cluster hashes what is between the first `{` and the first `}` after it.
            let key = Keys::new("kit").value(&place);
            let (_, tagged) = key.split_once('{').unwrap();
            let (tag, rest) = tagged.split_once('}').unwrap();
            prop_assert!(!tag.is_empty() && !moves(rest));
            prop_assert_eq!(unescape(tag), Some(group));
        }

        #[test]
        fn distinct_names_and_texts_are_distinct_places(
            one in ("[a:]{1,3}", prop::option::of("[a:{}]{1,3}"), "[a:{}]{1,3}"),
            other in ("[a:]{1,3}", prop::option::of("[a:{}]{1,3}"), "[a:{}]{1,3}"),
        ) {
            let place = |(name, group, text): &(String, Option<String>, String)| {
                let namespace = Namespace::new(name);
                let namespace = group.as_ref().map_or(namespace.clone(), |it| namespace.grouped(it));
                namespace.place(text).unwrap()
            };
            prop_assert_eq!(place(&one) == place(&other), one == other);
        }
    }

    #[test]
    fn a_text_that_cannot_be_a_key_is_refused() {
        let values = Namespace::new("a");
        for text in ["", &"x".repeat(513)] {
            assert!(values.place(text).unwrap_err().is_invalid_key());
            assert!(values.grouped(text).place("x").unwrap_err().is_invalid_key());
            assert!(values.prefix(text).unwrap_err().is_invalid_key());
        }
        assert!(values.place(&"x".repeat(512)).is_ok());
        assert!(values.prefix(&"x".repeat(256)).is_ok());
        assert!(values.prefix(&"*".repeat(129)).unwrap_err().is_invalid_key());
    }
}
