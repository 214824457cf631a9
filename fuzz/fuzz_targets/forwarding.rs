//! Whom a proxy speaks for: `X-Forwarded-For` and `Forwarded`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_redis_kit::fuzzing::forwarding(data));
