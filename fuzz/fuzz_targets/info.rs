//! What a server says about itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_redis_kit::fuzzing::info(data));
