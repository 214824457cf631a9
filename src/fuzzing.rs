//! What `fuzz/` calls: a function for everything that reads bytes from outside. There is no panic,
//! and what was read is what writing it again gives.
//!
//! Only there with `--cfg fuzzing`, and no part of the interface.

use std::ffi::OsString;

use crate::policy::caching::StoredResponse;
use crate::policy::session::Record;

/// The field `Cookie`.
pub fn cookie(data: &[u8]) {
    crate::session::fuzz_cookie(data);
}

/// The field `Authorization`.
pub fn authorization(data: &[u8]) {
    crate::token::fuzz_bearer(data);
}

/// The fields `X-Forwarded-For` and `Forwarded`.
pub fn forwarding(data: &[u8]) {
    crate::key::fuzz_forwarding(data);
}

/// A session as the store keeps it.
pub fn session_record(data: &[u8]) {
    if let Some(record) = Record::decode(data) {
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }
}

/// A response as the store keeps it.
pub fn cached_response(data: &[u8]) {
    if let Some(stored) = StoredResponse::decode(data.to_vec().into()) {
        assert_eq!(StoredResponse::decode(stored.encode().into()), Some(stored));
    }
}

/// A handler's value as the store keeps it.
pub fn value(data: &[u8]) {
    crate::toolbox::fuzz_codec(data);
}

/// Where Redis is, as a URL.
pub fn url(data: &[u8]) {
    if let Ok(url) = std::str::from_utf8(data) {
        crate::store::fuzz_url(url);
    }
}

/// Where Redis is, as variables: one `NAME=value` on a line.
pub fn environment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let variables: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |name: &str| {
        // Files are another matter.
        let is_file = name.ends_with("_FILE");
        let found = variables.iter().find(|(known, _)| !is_file && *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    crate::store::fuzz_environment(get);
}

/// What a server says about itself.
pub fn info(data: &[u8]) {
    crate::store::fuzz_info(&String::from_utf8_lossy(data));
}
