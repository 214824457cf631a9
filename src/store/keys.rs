//! Every key, spelled once.
//!
//! A layer's key never holds a byte that a client chose: an identity is an address in its canonical
//! spelling or a fingerprint. Handlers choose the text of their keys, and may take it from a client:
//! a [`Place`] is escaped and bounded. So no client can move a key to another cluster slot (`{`,
//! `}`), reach into a glob, or make a key long.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::place::{Place, PlacePrefix};
use super::verbs::{Rule, Semaphore};
use crate::policy::digest;
use crate::policy::limiting::Counting;

/// 128 bits of BLAKE3: names something without telling what it is.
///
/// Finding a second input for a known fingerprint takes 2^128 attempts, so nobody can aim at
/// somebody else's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 16]);

/// In one piece: maps are asked at every request.
impl Hash for Fingerprint {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.to_bits());
    }
}

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

    #[inline]
    pub(super) fn to_bits(self) -> u128 {
        u128::from_ne_bytes(self.0)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Address(IpAddr),
    Named(Fingerprint),
}

impl Hash for Subject {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.to_bits());
    }
}

impl Subject {
    /// Of different subjects of one kind they differ.
    #[inline]
    pub(super) fn to_bits(self) -> u128 {
        match self {
            Subject::Address(IpAddr::V4(address)) => address.to_bits().into(),
            Subject::Address(IpAddr::V6(address)) => address.to_bits(),
            Subject::Named(fingerprint) => fingerprint.to_bits(),
        }
    }

    /// As bytes that are no other subject's.
    pub(crate) fn write_bytes(&self, to: &mut Vec<u8>) {
        match self {
            Subject::Address(IpAddr::V4(address)) => to.extend(address.octets()),
            Subject::Address(IpAddr::V6(address)) => {
                to.push(b'6');
                to.extend(address.octets());
            }
            Subject::Named(fingerprint) => to.extend(fingerprint.0),
        }
    }

    /// By [`write_bytes`](Subject::write_bytes), whose lengths differ.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Subject> {
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Some(Subject::Address(IpAddr::from(octets)));
        }
        if let [b'6', octets @ ..] = bytes {
            return <[u8; 16]>::try_from(octets).ok().map(|it| Subject::Address(IpAddr::from(it)));
        }
        Fingerprint::from_bytes(bytes).map(Subject::Named)
    }

    /// A byte that is about as often any as any other, for whoever spreads subjects.
    #[inline]
    pub(crate) fn any_byte(&self) -> u8 {
        let bits: u64 = match self {
            Subject::Address(IpAddr::V4(address)) => address.to_bits().into(),
            Subject::Address(IpAddr::V6(address)) => {
                let bits = address.to_bits();
                (bits >> 64) as u64 ^ bits as u64
            }
            Subject::Named(fingerprint) => return fingerprint.0[0],
        };
        // Multiplicative hashing (Knuth, volume 3, 6.4), by 2^64 over the golden ratio.
        (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
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

    /// A limit's state for one subject. All limits of a subject are in one slot; an algorithm's
    /// state is none to another, and has another key.
    pub(crate) fn limit(&self, rule: &Rule, subject: &Subject) -> String {
        let algorithm = match rule.counting {
            Counting::Gcra(_) => "",
            Counting::FixedWindow(_) => ":window",
            Counting::SlidingWindow(_) => ":windows",
            Counting::SlidingLog(_) => ":log",
            Counting::Lockout(_) => ":lockout",
        };
        let mut key = self.of_subject(":limit:{", subject);
        key.extend([&*rule.name, algorithm]);
        key
    }

    /// Who holds permits of a semaphore for one subject, by when their leases end.
    pub(crate) fn semaphore(&self, semaphore: &Semaphore, subject: &Subject) -> String {
        let mut key = self.of_subject(":semaphore:{", subject);
        key.push_str(&semaphore.name);
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
        self.begin(&[VALUE, place.as_str()])
    }

    /// The glob of the values whose places begin like this.
    pub(crate) fn values_glob(&self, prefix: &PlacePrefix) -> String {
        self.begin(&[VALUE, &prefix.glob(), "*"])
    }

    /// The place of the value at a key.
    pub(crate) fn place_of_value(&self, key: &str) -> Option<Place> {
        let place = key.strip_prefix(&*self.prefix)?.strip_prefix(VALUE)?;
        Some(Place::spelled(place))
    }

    /// A log.
    pub(crate) fn log(&self, log: &Place) -> String {
        self.begin(&[":log:", log.as_str()])
    }

    /// Who is present, by when that ends.
    pub(crate) fn presence(&self, presence: &Place) -> String {
        self.begin(&[":presence:", presence.as_str()])
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

    /// The channel on which processes tell each other that a limit was given something back, was
    /// forgotten, or shut.
    pub(crate) fn limits_changed(&self) -> String {
        self.begin(&[":limits-changed"])
    }

    /// Written when a connection is probed.
    pub(crate) fn probe(&self) -> String {
        self.begin(&[":probe"])
    }

    /// `noun` ends with the brace that begins what alone chooses the slot; a name follows.
    fn of_subject(&self, noun: &str, subject: &Subject) -> String {
        let mut key = self.begin(&[noun]);
        match subject {
            Subject::Address(address) => {
                write!(key, "{address}").expect("a string takes everything");
            }
            Subject::Named(fingerprint) => fingerprint.write_to(&mut key),
        }
        key.push_str("}:");
        key
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

/// Whether a name of the program's may be part of keys as it is: it has 1 to 64 letters, digits or
/// any of `-_.:`.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
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
    }
}
