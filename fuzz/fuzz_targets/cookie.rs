//! The session's cookie, among others.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_redis_kit::fuzzing::cookie(data));
