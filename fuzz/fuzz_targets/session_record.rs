//! What is stored as a session.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_redis_kit::fuzzing::session_record(data));
