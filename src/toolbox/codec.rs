use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plain;
use crate::StoreError;
use crate::store::Kind;

/// How values become bytes in the store: in their [plain form](plain), and wrapped where that is
/// needed.
///
/// What begins with `WRAPPED` is a wrapping, followed by a byte that says which. Everything else is
/// plain: no JSON and no text begins so, for the byte 0xff is in no UTF-8, and bytes that do are
/// wrapped for that reason alone. So nothing that is written can be mistaken for something else.
#[derive(Clone, Debug)]
pub(super) struct Codec {
    pub(super) max_size: usize,
    #[cfg_attr(not(feature = "compression"), expect(dead_code, reason = "nothing is compressed"))]
    pub(super) compress_above: usize,
}

impl Default for Codec {
    fn default() -> Codec {
        Codec { max_size: 16 << 20, compress_above: 4 << 10 }
    }
}

const WRAPPED: [u8; 4] = *b"\xfftrk";

/// The bytes as they are follow.
const AS_IS: u8 = 0;

/// Their number in 4 bytes, the lowest first, and the bytes as an LZ4 block follow.
const LZ4: u8 = 1;

/// Why stored bytes are no value.
#[derive(Debug, PartialEq)]
pub(super) enum Unreadable {
    /// They are a value of no kind, or of another type.
    Corrupt,
    /// They may be one for others.
    Refused(StoreError),
}

impl Codec {
    pub(super) fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, StoreError> {
        let plain = plain::write(value).map_err(|_| StoreError::new(Kind::InvalidValue))?;
        if plain.len() > self.max_size {
            return Err(StoreError::new(Kind::TooLarge));
        }
        if let Some(compressed) = self.compressed(&plain) {
            return Ok(compressed.into());
        }
        if !plain.starts_with(&WRAPPED) {
            return Ok(plain.into());
        }
        Ok([&WRAPPED[..], &[AS_IS], &plain].concat().into())
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, stored: &[u8]) -> Result<T, Unreadable> {
        let plain = self.plain(stored)?;
        if plain.len() > self.max_size {
            return Err(Unreadable::Refused(StoreError::new(Kind::TooLarge)));
        }
        plain::read(&plain).map_err(|_| Unreadable::Corrupt)
    }

    fn plain<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, Unreadable> {
        let Some(wrapped) = stored.strip_prefix(&WRAPPED) else { return Ok(stored.into()) };
        match wrapped.split_first() {
            Some((&AS_IS, plain)) => Ok(plain.into()),
            Some((&LZ4, compressed)) => self.decompressed(compressed).map(Cow::Owned),
            // A wrapping of a version to come, which must not be removed.
            Some(_) => Err(Unreadable::Refused(StoreError::new(Kind::Unsupported))),
            None => Err(Unreadable::Corrupt),
        }
    }

    #[cfg(feature = "compression")]
    fn compressed(&self, plain: &[u8]) -> Option<Vec<u8>> {
        use lz4_flex::block::{compress_into, get_maximum_output_size};

        if plain.len() <= self.compress_above {
            return None;
        }
        let size = u32::try_from(plain.len()).ok()?;
        let mut wrapped = Vec::with_capacity(9 + get_maximum_output_size(plain.len()));
        wrapped.extend(WRAPPED);
        wrapped.push(LZ4);
        wrapped.extend(size.to_le_bytes());
        let head = wrapped.len();
        wrapped.resize(wrapped.capacity(), 0);
        let compressed = compress_into(plain, &mut wrapped[head..]).ok()?;
        wrapped.truncate(head + compressed);
        wrapped.shrink_to_fit();
        (wrapped.len() < plain.len()).then_some(wrapped)
    }

    /// Nothing is allocated beyond the cap, whatever the bytes say.
    #[cfg(feature = "compression")]
    fn decompressed(&self, compressed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (size, block) = compressed.split_first_chunk().ok_or(Unreadable::Corrupt)?;
        let size = u32::from_le_bytes(*size) as usize;
        if size > self.max_size {
            return Err(Unreadable::Refused(StoreError::new(Kind::TooLarge)));
        }
        let mut plain = vec![0; size];
        match lz4_flex::block::decompress_into(block, &mut plain) {
            Ok(written) if written == size => Ok(plain),
            _ => Err(Unreadable::Corrupt),
        }
    }

    #[cfg(not(feature = "compression"))]
    fn compressed(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    #[cfg(not(feature = "compression"))]
    fn decompressed(&self, _: &[u8]) -> Result<Vec<u8>, Unreadable> {
        Err(Unreadable::Refused(StoreError::about(Kind::Unsupported, COMPRESSED)))
    }
}

#[cfg(not(feature = "compression"))]
const COMPRESSED: &str = "the value is compressed: enable the feature `compression`";

/// Whatever is stored: what can be read is the same after it was written, and within the cap.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    fn survives<T>(codec: &Codec, stored: &[u8])
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        if let Ok(value) = codec.decode::<T>(stored)
            && let Ok(again) = codec.encode(&value)
        {
            assert_eq!(codec.decode::<T>(&again), Ok(value));
        }
    }
    let codec = Codec { max_size: 1 << 16, compress_above: 16 };
    survives::<Bytes>(&codec, data);
    survives::<String>(&codec, data);
    // What takes anything reads a string that looks like JSON as JSON, so these say what they take.
    survives::<Vec<serde_json::Value>>(&codec, data);
    survives::<(f64, Option<char>, Vec<u8>)>(&codec, data);
    survives::<std::collections::BTreeMap<String, Option<i128>>>(&codec, data);
    if let Ok(bytes) = codec.decode::<Bytes>(data) {
        assert!(bytes.len() <= codec.max_size);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(how: u8, rest: &[u8]) -> Vec<u8> {
        [&WRAPPED[..], &[how], rest].concat()
    }

    #[test]
    fn a_small_value_is_stored_as_it_is() {
        let codec = Codec::default();
        assert_eq!(codec.encode("text").unwrap(), "text");
        assert_eq!(codec.encode(&[1, 2]).unwrap(), "[1,2]");
        assert_eq!(codec.decode::<String>(b"text"), Ok("text".to_owned()));
    }

    #[test]
    fn the_cap_holds_both_ways() {
        let codec = Codec { max_size: 4, ..Codec::default() };
        assert!(codec.encode("12345").unwrap_err().is_too_large());
        let large = codec.decode::<String>(b"12345").unwrap_err();
        assert!(matches!(large, Unreadable::Refused(error) if error.is_too_large()));
        assert_eq!(codec.decode::<String>(&codec.encode("1234").unwrap()), Ok("1234".to_owned()));
    }

    #[test]
    fn a_wrapping_of_a_version_to_come_is_an_error_and_none_at_all_is_corrupt() {
        let codec = Codec::default();
        assert_eq!(codec.decode::<Bytes>(&WRAPPED), Err(Unreadable::Corrupt));
        for stored in [wrapped(2, b"x"), wrapped(0x7f, b"")] {
            let refused = codec.decode::<Bytes>(&stored).unwrap_err();
            assert!(matches!(refused, Unreadable::Refused(error) if error.is_unsupported()));
        }
    }

    proptest! {
        #[test]
        fn all_bytes_come_back_even_those_that_look_wrapped(
            bytes: Vec<u8>,
            wrap in any::<bool>(),
            compress_above in 0usize..64,
        ) {
            let codec = Codec { compress_above, ..Codec::default() };
            let bytes = Bytes::from(if wrap { [&WRAPPED[..], &bytes].concat() } else { bytes });
            prop_assert_eq!(codec.decode::<Bytes>(&codec.encode(&bytes).unwrap()), Ok(bytes));
        }

        #[test]
        fn no_stored_bytes_are_too_strange(how in 0u8..4, rest: Vec<u8>) {
            let codec = Codec { max_size: 1 << 16, ..Codec::default() };
            let _ = codec.decode::<Bytes>(&wrapped(how, &rest));
        }
    }

    #[cfg(feature = "compression")]
    mod compression {
        use super::*;

        #[test]
        fn a_large_value_is_compressed_where_that_makes_it_smaller() {
            let codec = Codec::default();
            let text = "all work and no play ".repeat(1_000);
            let stored = codec.encode(&text).unwrap();
            assert!(stored.starts_with(&WRAPPED) && stored.len() < text.len() / 10);
            assert_eq!(codec.decode::<String>(&stored), Ok(text));
            let noise: Bytes = std::iter::repeat_with(|| fastrand::u8(..)).take(10_000).collect();
            assert_eq!(codec.encode(&noise).unwrap(), noise);
        }

        #[test]
        fn a_bomb_is_not_set_off() {
            let codec = Codec::default();
            let large = Codec { max_size: 64 << 20, ..Codec::default() };
            let bomb = large.encode(&" ".repeat(64 << 20)).unwrap();
            assert!(bomb.len() < 1 << 20);
            let refused = codec.decode::<String>(&bomb).unwrap_err();
            assert!(matches!(refused, Unreadable::Refused(error) if error.is_too_large()));
            // It says that it is small.
            let mut lying = bomb.to_vec();
            lying[5..9].copy_from_slice(&1_000u32.to_le_bytes());
            assert_eq!(codec.decode::<String>(&lying), Err(Unreadable::Corrupt));
            for size in [1, 4, 8, 9, 20] {
                assert!(codec.decode::<String>(&bomb[..size]).is_err());
            }
        }
    }

    #[cfg(not(feature = "compression"))]
    #[test]
    fn a_compressed_value_names_the_feature_that_is_missing() {
        let refused = Codec::default().decode::<Bytes>(&wrapped(LZ4, b"")).unwrap_err();
        let Unreadable::Refused(error) = refused else { panic!("it is no corrupt value") };
        assert!(error.is_unsupported() && error.to_string().ends_with("(compression)"));
    }
}
