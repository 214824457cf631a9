//! A server that is still loading its keys.

use std::fs;
use std::time::Duration;

use crate::RedisServer;

/// How long the server is made to wait after each key that it loads.
const PER_KEY: Duration = Duration::from_millis(10);

/// It looks after its clients whenever it has read so many bytes more, the least that it can be
/// told: once for each of our keys.
const PER_LOOK: usize = 1024;

/// Where the server looks for what it has saved.
const FILE: &str = "dump.rdb";

impl RedisServer {
    /// Starts the server again on the same port with the keys that it has, which take it about so
    /// long to load: it answers `LOADING` meanwhile. A few seconds are needed to read many keys of
    /// its own, 10 ms for each.
    ///
    /// # Panics
    ///
    /// Panics if the server does not run.
    #[track_caller]
    pub fn loading(&mut self, duration: Duration) {
        self.command(&["SAVE"]);
        let saved = fs::read(self.folder().join(FILE)).expect("the server has saved");
        self.stop();
        let keys = duration.as_millis() / PER_KEY.as_millis();
        let delay = PER_KEY.as_micros().to_string();
        let look = PER_LOOK.to_string();
        let args = ["--key-load-delay", &delay, "--loading-process-events-interval-bytes", &look];
        let mut setup = self.setup.clone().and(&args);
        setup.files.insert(FILE, with_expired_keys(saved, keys));
        self.start_as(&setup);
    }
}

/// Adds keys to a dump that expired long ago: they take their time to load, and then are not there.
/// A replica keeps them in memory until its primary has its say, and wants each only once.
fn with_expired_keys(mut dump: Vec<u8>, number: u128) -> Vec<u8> {
    const EXPIRES_MS: u8 = 0xfc;
    const STRING: u8 = 0;
    const END: u8 = 0xff;
    // The end mark and a checksum of eight bytes, which is not checked if it is zero.
    let end = dump.len().checked_sub(9).expect("a dump has an end");
    assert_eq!(dump[end], END, "the server's dumps have another format");
    dump.truncate(end);
    for key in 0..number {
        dump.push(EXPIRES_MS);
        dump.extend(1_u64.to_le_bytes());
        dump.push(STRING);
        // A length takes 6 bits for the key, and 14 for the value.
        let key = format!("loading:{key}");
        dump.push(u8::try_from(key.len()).expect("a short key"));
        dump.extend(key.into_bytes());
        let length = u16::try_from(PER_LOOK).expect("a short value") | 0x4000;
        dump.extend(length.to_be_bytes());
        dump.extend([b'x'; PER_LOOK]);
    }
    dump.push(END);
    dump.extend([0; 8]);
    dump
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{eventually, refusal, stranger};

    #[test]
    fn is_loading_for_about_so_long() {
        let mut server = RedisServer::start();
        for key in ["a", "b", "c"] {
            server.command(&["SET", key, "1"]);
        }
        let client = stranger(&server);
        let start = Instant::now();
        server.loading(Duration::from_millis(500));
        assert!(refusal(&client, &["GET", "a"]).starts_with("LOADING"));
        assert!(refusal(&client, &["SET", "a", "2"]).starts_with("LOADING"));
        assert!(eventually(|| client.call(&["GET", "a"]).is_ok()));
        assert!(start.elapsed() >= Duration::from_millis(500));
        assert_eq!(server.keys(), ["a", "b", "c"]);
        server.start_again();
        assert!(server.keys().is_empty());
        server.loading(Duration::ZERO);
        assert!(eventually(|| client.call(&["GET", "a"]).is_ok()));
    }
}
