/// A digest (BLAKE3) of several parts, each preceded by its length: distinct lists of parts never
/// run together.
pub(crate) fn digest<'a>(parts: impl Iterator<Item = &'a [u8]> + Clone) -> [u8; 32] {
    // What a request has in names is short, and hashed in one go from the stack.
    let mut short = [0; 256];
    let mut length = 0;
    for part in parts.clone() {
        for bytes in [&(part.len() as u64).to_be_bytes()[..], part] {
            let Some(room) = short.get_mut(length..length + bytes.len()) else {
                return digest_long(parts);
            };
            room.copy_from_slice(bytes);
            length += bytes.len();
        }
    }
    *blake3::hash(&short[..length]).as_bytes()
}

fn digest_long<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_are_the_same_digest() {
        for length in [0, 1, 200, 247, 248, 249, 1_000] {
            let part = vec![7; length];
            let parts = [&part[..], b"x"];
            assert_eq!(digest(parts.into_iter()), digest_long(parts.into_iter()), "{length}");
        }
    }
}
