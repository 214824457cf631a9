//! Every key, spelled once.
//!
//! A key never holds a byte that a client chose: an identity is an address in its canonical
//! spelling or a fingerprint. So no client can move a key to another cluster slot (`{`, `}`), reach
//! into a glob, or make a key long.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// 128 bits of SHA-256: names something without telling what it is.
///
/// Finding a second input for a known fingerprint takes 2^128 attempts, so nobody can aim at
/// somebody else's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of several parts, each preceded by its length: distinct tuples never run together.
    pub(crate) fn of(parts: &[&[u8]]) -> Fingerprint {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Fingerprint(*digest.first_chunk().expect("32 bytes hold 16"))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Fingerprint> {
        bytes.try_into().ok().map(Fingerprint)
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Who a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Address(IpAddr),
    Named(Fingerprint),
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

    /// A limit's state for one subject.
    pub(crate) fn limit(&self, name: &str, subject: &Subject) -> String {
        match subject {
            Subject::Address(address) => format!("{}:limit:{name}:{address}", self.prefix),
            Subject::Named(fingerprint) => {
                format!("{}:limit:{name}:{}", self.prefix, fingerprint.text())
            }
        }
    }

    /// A session's record.
    pub(crate) fn session(&self, id: &Fingerprint) -> String {
        format!("{}:session:{}", self.prefix, id.text())
    }

    /// There while the token is revoked.
    pub(crate) fn revoked_token(&self, token: &Fingerprint) -> String {
        format!("{}:revoked:token:{}", self.prefix, token.text())
    }

    /// The time up to which the subject's tokens are revoked.
    pub(crate) fn revoked_subject(&self, subject: &Fingerprint) -> String {
        format!("{}:revoked:subject:{}", self.prefix, subject.text())
    }

    /// A stored response.
    pub(crate) fn response(&self, response: &Fingerprint) -> String {
        format!("{}:response:{}", self.prefix, response.text())
    }

    /// The responses that carry a tag, by the time they expire.
    pub(crate) fn tagged(&self, tag: &Fingerprint) -> String {
        format!("{}:tagged:{}", self.prefix, tag.text())
    }

    /// When a tag or a URI was last purged.
    pub(crate) fn purged(&self, what: &Fingerprint) -> String {
        format!("{}:purged:{}", self.prefix, what.text())
    }

    /// When anything was last purged.
    pub(crate) fn last_purge(&self) -> String {
        format!("{}:purged", self.prefix)
    }

    /// Written when a connection is probed.
    pub(crate) fn probe(&self) -> String {
        format!("{}:probe", self.prefix)
    }
}

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
            prop_assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_".contains(&byte)));
            prop_assert_eq!(key.len(), "kit:session:".len() + 22);
        }
    }
}
