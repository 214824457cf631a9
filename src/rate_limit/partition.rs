use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::store::keys::Subject;

/// Names the callers of a limit, to whom it tells nothing else.
#[derive(Clone)]
pub(super) struct Partition {
    key: [u8; 32],
}

const CONTEXT: &str = "tower-redis-kit 2026 rate limit partition keys";

/// A whole number of groups of base64. That two callers have the same takes billions of them, and
/// then tells a client too little.
const LENGTH: usize = 9;

impl Partition {
    /// Of a limit: a caller has another name at each.
    pub(super) fn new(limit: &str, secret: &[u8]) -> Partition {
        assert!(secret.len() >= 16, "a secret of less than 16 bytes can be guessed");
        let key = blake3::derive_key(CONTEXT, secret);
        Partition { key: *blake3::keyed_hash(&key, limit.as_bytes()).as_bytes() }
    }

    /// In base64, as a byte sequence is written.
    pub(super) fn key<T>(&self, subject: &Subject, read: impl FnOnce(&str) -> T) -> T {
        let mut bytes = Vec::with_capacity(17);
        subject.write_bytes(&mut bytes);
        let digest = blake3::keyed_hash(&self.key, &bytes);
        let mut text = [0; LENGTH / 3 * 4];
        STANDARD.encode_slice(&digest.as_bytes()[..LENGTH], &mut text).expect("they fit");
        read(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Key;

    fn key(limit: &str, secret: &[u8; 16], caller: &str) -> String {
        Partition::new(limit, secret).key(&Key::named(caller).0, str::to_owned)
    }

    #[test]
    fn a_caller_has_one_name_for_each_limit_and_secret() {
        let name = key("api", b"0123456789abcdef", "ada");
        assert_eq!(name, key("api", b"0123456789abcdef", "ada"));
        for other in [
            key("log-in", b"0123456789abcdef", "ada"),
            key("api", b"another secret !", "ada"),
            key("api", b"0123456789abcdef", "bob"),
        ] {
            assert_ne!(name, other);
        }
    }

    #[test]
    #[should_panic(expected = "can be guessed")]
    fn a_short_secret_is_refused() {
        Partition::new("api", b"secret");
    }
}
