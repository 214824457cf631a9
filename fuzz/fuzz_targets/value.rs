//! What is stored as a handler's value.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_redis_kit::fuzzing::value(data));
