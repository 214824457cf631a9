//! Where Redis is, as variables.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_redis_kit::fuzzing::environment(data));
