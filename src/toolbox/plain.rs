//! The plain form of a value: JSON, but that a string is its text and bytes are themselves.
//!
//! The decision is the type's, by what it asks of serde, and the same both ways: what is written as
//! a string is read as one. A type that takes anything, such as `serde_json::Value`, is read as JSON
//! where it is JSON, and as a string where it is not.

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Error;

/// Writes a value.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut json = serde_json::Serializer::new(Vec::new());
    let mut raw = None;
    value.serialize(Write { json: &mut json, raw: &mut raw })?;
    Ok(raw.unwrap_or_else(|| json.into_inner()))
}

/// Reads a value.
pub(super) fn read<T: DeserializeOwned>(plain: &[u8]) -> Result<T, Error> {
    T::deserialize(Read(plain))
}

type Json = serde_json::Serializer<Vec<u8>>;

struct Write<'a> {
    json: &'a mut Json,
    /// What is written as it is, in the place of JSON.
    raw: &'a mut Option<Vec<u8>>,
}

/// Methods of a serializer that write JSON.
macro_rules! writes_json {
    ($($method:ident($($arg:ident: $type:ty),*) $(-> $part:ident)?;)*) => { $(
        fn $method(self, $($arg: $type),*) -> Result<writes_json!(@ $($part)?), Error> {
            self.json.$method($($arg),*)
        }
    )* };
    (@) => { () };
    (@ $part:ident) => { Self::$part };
}

impl<'a> Serializer for Write<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = <&'a mut Json as Serializer>::SerializeSeq;
    type SerializeTuple = <&'a mut Json as Serializer>::SerializeTuple;
    type SerializeTupleStruct = <&'a mut Json as Serializer>::SerializeTupleStruct;
    type SerializeTupleVariant = <&'a mut Json as Serializer>::SerializeTupleVariant;
    type SerializeMap = <&'a mut Json as Serializer>::SerializeMap;
    type SerializeStruct = <&'a mut Json as Serializer>::SerializeStruct;
    type SerializeStructVariant = <&'a mut Json as Serializer>::SerializeStructVariant;

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        *self.raw = Some(text.as_bytes().to_vec());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        *self.raw = Some(bytes.to_vec());
        Ok(())
    }

    /// `struct Name(String)` is what is in it.
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    /// `Some("null")` must not become `None`.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.json.serialize_some(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.json.serialize_newtype_variant(name, index, variant, value)
    }

    writes_json! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str,
            index: u32,
            variant: &'static str,
            len: usize
        ) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(
            name: &'static str,
            index: u32,
            variant: &'static str,
            len: usize
        ) -> SerializeStructVariant;
    }
}

struct Read<'de>(&'de [u8]);

impl<'de> Read<'de> {
    fn text(&self) -> Result<&'de str, Error> {
        std::str::from_utf8(self.0).map_err(serde::de::Error::custom)
    }
}

/// Methods of a deserializer that read JSON, all of it.
macro_rules! reads_json {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => { $(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, Error> {
            let mut json = serde_json::Deserializer::from_slice(self.0);
            let value = json.$method($($arg,)* visitor)?;
            json.end()?;
            Ok(value)
        }
    )* };
}

impl<'de> Deserializer<'de> for Read<'de> {
    type Error = Error;

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // Looked through first: a visitor can be asked only once.
        match serde_json::from_slice::<serde::de::IgnoredAny>(self.0) {
            Ok(_) => serde_json::Deserializer::from_slice(self.0).deserialize_any(visitor),
            Err(_) => self.deserialize_str(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    reads_json! {
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name(String);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Article {
        title: String,
        #[serde(default)]
        lines: Vec<u32>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Circle(f64),
        Box(u8, u8),
        Path { to: String },
    }

    #[track_caller]
    fn is<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, plain: &str) {
        assert_eq!(write(&value).unwrap(), plain.as_bytes());
        assert_eq!(read::<T>(plain.as_bytes()).unwrap(), value);
    }

    #[test]
    fn strings_and_bytes_are_themselves_and_all_else_is_json() {
        is("te\"xt".to_owned(), "te\"xt");
        is(Name("ada".to_owned()), "ada");
        is(Bytes::from_static(b"\0\x01"), "\0\x01");
        is(std::net::IpAddr::from([127, 0, 0, 1]), "127.0.0.1");
        is(7u8, "7");
        is(i128::MIN, "-170141183460469231731687303715884105728");
        is(1.5f64, "1.5");
        is(true, "true");
        is('x', "\"x\"");
        is((), "null");
        is(Unit, "null");
        is(None::<String>, "null");
        is(Some("null".to_owned()), "\"null\"");
        is(vec!["a".to_owned()], "[\"a\"]");
        is(("a".to_owned(), 1u8), "[\"a\",1]");
        is(BTreeMap::from([("a".to_owned(), 1u8)]), "{\"a\":1}");
        is(Article { title: "A".to_owned(), lines: vec![1] }, r#"{"title":"A","lines":[1]}"#);
        is(Shape::Dot, "\"Dot\"");
        is(Shape::Circle(1.0), "{\"Circle\":1.0}");
        is(Shape::Box(1, 2), "{\"Box\":[1,2]}");
        is(Shape::Path { to: "b".to_owned() }, r#"{"Path":{"to":"b"}}"#);
        is(serde_json::json!({"a": [1, null]}), r#"{"a":[1,null]}"#);
        is(serde_json::json!("a text"), "a text");
    }

    #[test]
    fn json_of_another_service_can_be_read() {
        let article = read::<Article>(b" {\n \"title\" : \"A\", \"more\": {} } ").unwrap();
        assert_eq!(article, Article { title: "A".to_owned(), lines: vec![] });
    }

    #[test]
    fn what_is_no_value_of_the_type_is_an_error() {
        assert!(read::<Article>(b"{\"title\":\"A\"} x").is_err());
        assert!(read::<Article>(b"").is_err());
        assert!(read::<String>(b"\xff").is_err());
        assert!(read::<u8>(b"256").is_err());
        assert!(write(&BTreeMap::from([((1, 2), 3)])).is_err());
    }

    proptest! {
        #[test]
        fn every_string_and_all_bytes_come_back(text: String, bytes: Vec<u8>) {
            prop_assert_eq!(read::<String>(&write(&text).unwrap()).unwrap(), text);
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(read::<Bytes>(&write(&bytes).unwrap()).unwrap(), bytes);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = read::<Article>(&bytes);
            let _ = read::<Shape>(&bytes);
            let _ = read::<serde_json::Value>(&bytes);
        }
    }
}
