//! Every key, spelled once.
//!
//! A layer's key never holds a byte that a client chose: an identity is an address in its canonical
//! spelling or a fingerprint. Handlers choose the text of their keys, and may take it from a client:
//! a [`Place`] is escaped and bounded. So no client can move a key to another cluster slot (`{`,
//! `}`), reach into a glob, or make a key long.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::StoreError;
use super::error::Kind;
use super::verbs::Rule;
use crate::policy::digest;
use crate::policy::limiting::Counting;

/// 128 bits of BLAKE3: names something without telling what it is.
///
/// Finding a second input for a known fingerprint takes 2^128 attempts, so nobody can aim at
/// somebody else's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of several parts, each preceded by its length: distinct tuples never run together.
    pub(crate) fn of(parts: &[&[u8]]) -> Fingerprint {
        let digest = digest(parts.iter().copied());
        Fingerprint(*digest.first_chunk().expect("32 bytes hold 16"))
    }

    /// Of a secret, beginning with the three bytes of `shard` in the place of its own: what has the
    /// same shard is in the same slot of a cluster.
    pub(crate) fn sharded(shard: [u8; 3], secret: &[u8]) -> Fingerprint {
        let mut fingerprint = Fingerprint::of(&[secret]);
        fingerprint.0[..3].copy_from_slice(&shard);
        fingerprint
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Fingerprint> {
        bytes.try_into().ok().map(Fingerprint)
    }

    fn write_to(&self, key: &mut String) {
        self.spell(|text| key.push_str(text));
    }

    fn spell<T>(&self, write: impl FnOnce(&str) -> T) -> T {
        let mut text = [0; 22];
        URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).expect("16 bytes are 22 letters");
        write(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

/// Who a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Address(IpAddr),
    Named(Fingerprint),
}

impl Subject {
    /// A byte that is about as often any as any other, for whoever spreads subjects.
    pub(crate) fn any_byte(&self) -> u8 {
        match self {
            Subject::Address(IpAddr::V4(address)) => {
                address.octets().into_iter().fold(0, u8::wrapping_add)
            }
            Subject::Address(IpAddr::V6(address)) => {
                address.octets().into_iter().fold(0, u8::wrapping_add)
            }
            Subject::Named(fingerprint) => fingerprint.0[0],
        }
    }
}

/// The longest text that a handler can name something by, in bytes.
const LONGEST_TEXT: usize = 512;

/// The longest glob that a scan can match, in bytes: the server tries it on every key it has.
const LONGEST_GLOB: usize = 256;

/// Where a handler keeps something, without the store's prefix: `articles:7`, or
/// `cart:{user 7}:items` in a group.
///
/// No two of them run together, whatever their texts: in a namespace, `:` is escaped, and the
/// braces of a group are the only ones.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place(Arc<str>);

impl Place {
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
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        assert!(
            (1..=64).contains(&name.len()) && name.bytes().all(plain),
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
        let mut head = String::with_capacity(self.name.len() + group.len() + LONGEST_NAME);
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
    let mut glob = String::with_capacity(text.len() + LONGEST_NAME);
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

/// The keys of one application: all under its prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.into() }
    }

    /// A limit's state for one subject. All limits of a subject are in one slot; an algorithm's state
    /// is none to another, and has another key.
    pub(crate) fn limit(&self, rule: &Rule, subject: &Subject) -> String {
        let mut key = self.begin(&[":limit:{"]);
        match subject {
            Subject::Address(address) => {
                write!(key, "{address}").expect("a string takes everything");
            }
            Subject::Named(fingerprint) => fingerprint.write_to(&mut key),
        }
        let algorithm = match rule.counting {
            Counting::Gcra(_) => "",
            Counting::FixedWindow(_) => ":window",
            Counting::SlidingWindow(_) => ":windows",
            Counting::SlidingLog(_) => ":log",
            Counting::Lockout(_) => ":lockout",
        };
        key.extend(["}:", &rule.name, algorithm]);
        key
    }

    /// A session's record. The id that it rotates to has the same shard, so both are in one slot.
    pub(crate) fn session(&self, id: &Fingerprint) -> String {
        let mut key = self.begin(&[":session:{"]);
        id.spell(|text| {
            let (shard, rest) = text.split_at(4);
            key.extend([shard, "}", rest]);
        });
        key
    }

    /// There while the token is revoked.
    pub(crate) fn revoked_token(&self, token: &Fingerprint) -> String {
        self.named(":revoked:token:", token)
    }

    /// The time up to which the subject's tokens are revoked.
    pub(crate) fn revoked_subject(&self, subject: &Fingerprint) -> String {
        self.named(":revoked:subject:", subject)
    }

    /// A stored response. What follows is in one slot with it, where it has the same name.
    pub(crate) fn response(&self, response: &Fingerprint) -> String {
        self.alone(":response:{", response)
    }

    /// A response that not all of its tags have listed yet. In one slot with the response.
    pub(crate) fn pending(&self, response: &Fingerprint) -> String {
        self.alone(":pending:{", response)
    }

    /// The responses that carry a tag, by the time they expire.
    pub(crate) fn tagged(&self, tag: &Fingerprint) -> String {
        self.alone(":tagged:{", tag)
    }

    /// The part of that which a purge is dropping.
    pub(crate) fn dropping(&self, tag: &Fingerprint) -> String {
        self.alone(":dropping:{", tag)
    }

    /// When a tag or a URI was last purged.
    pub(crate) fn purged(&self, what: &Fingerprint) -> String {
        self.alone(":purged:{", what)
    }

    /// When anything was last purged.
    pub(crate) fn last_purge(&self) -> String {
        self.begin(&[":purged"])
    }

    /// A handler's value.
    pub(crate) fn value(&self, place: &Place) -> String {
        self.begin(&[VALUE, &place.0])
    }

    /// The glob of the values whose places begin like this.
    pub(crate) fn values_glob(&self, prefix: &PlacePrefix) -> String {
        self.begin(&[VALUE, &glob(&prefix.0), "*"])
    }

    /// The place of the value at a key.
    pub(crate) fn place_of_value(&self, key: &str) -> Option<Place> {
        let place = key.strip_prefix(&*self.prefix)?.strip_prefix(VALUE)?;
        Some(Place(place.into()))
    }

    /// A log.
    pub(crate) fn log(&self, log: &Place) -> String {
        self.begin(&[":log:", &log.0])
    }

    /// Who is present, by when that ends.
    pub(crate) fn presence(&self, presence: &Place) -> String {
        self.begin(&[":presence:", &presence.0])
    }

    /// There while a lock is held: its holder. In one slot with its number.
    pub(crate) fn lock(&self, name: &Fingerprint) -> String {
        self.alone(":lock:{", name)
    }

    /// The fencing number of a lock's last holder.
    pub(crate) fn lock_number(&self, name: &Fingerprint) -> String {
        let mut key = self.lock(name);
        key.push_str(":number");
        key
    }

    /// A channel, which is no key: the developer's text, so that other programs can find it.
    pub(crate) fn channel(&self, name: &str) -> String {
        self.begin(&[":channel:", name])
    }

    /// Written when a connection is probed.
    pub(crate) fn probe(&self) -> String {
        self.begin(&[":probe"])
    }

    fn named(&self, noun: &str, name: &Fingerprint) -> String {
        let mut key = self.begin(&[noun]);
        name.write_to(&mut key);
        key
    }

    /// `noun` ends with the brace that begins what alone chooses the slot.
    fn alone(&self, noun: &str, name: &Fingerprint) -> String {
        let mut key = self.named(noun, name);
        key.push('}');
        key
    }

    /// By hand and not by `format!`: keys are spelled for every request.
    fn begin(&self, parts: &[&str]) -> String {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut key = String::with_capacity(self.prefix.len() + length + LONGEST_NAME);
        key.push_str(&self.prefix);
        parts.iter().for_each(|part| key.push_str(part));
        key
    }
}

const VALUE: &str = ":value:";

/// An IPv6 address in full; a fingerprint in braces is shorter.
const LONGEST_NAME: usize = 39;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Fingerprint::of(&[b"ab", b"c"]), Fingerprint::of(&[b"a", b"bc"]));
        assert_ne!(Fingerprint::of(&[b"ab"]), Fingerprint::of(&[b"ab", b""]));
    }

    proptest! {
        #[test]
        fn no_byte_of_a_client_reaches_a_key(name in prop::collection::vec(any::<u8>(), 0..80)) {
            let key = Keys::new("kit").session(&Fingerprint::of(&[&name]));
            let ours = |byte: u8| byte.is_ascii_alphanumeric() || b":-_{}".contains(&byte);
            prop_assert!(key.bytes().all(ours), "{key}");
            prop_assert_eq!(key.len(), "kit:session:".len() + 24);
        }

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
