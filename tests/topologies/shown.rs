//! What is printed and logged: never a password, a name or a payload.
//!
//! Every one of them in these tests has [`SECRET`] in it. All that the crate and its Redis client
//! trace, down to the last detail, is read for it, by every test.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) const SECRET: &str = "xyzzy";

static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LINES: AtomicUsize = AtomicUsize::new(0);

/// Reads what is traced, until this is dropped at the end of a test.
#[must_use]
pub(crate) struct Watched(());

pub(crate) fn watch() -> Watched {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        let ours = Targets::new()
            .with_target("tower_redis_kit", LevelFilter::TRACE)
            .with_target("redis", LevelFilter::TRACE);
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Reader);
        tracing_subscriber::registry().with(ours).with(lines).init();
    });
    Watched(())
}

impl Drop for Watched {
    fn drop(&mut self) {
        let leaks = LEAKS.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::thread::panicking() {
            assert!(leaks.is_empty(), "{leaks:#?}");
        }
    }
}

struct Reader;

impl Write for Reader {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(line);
        if text.contains(SECRET) {
            LEAKS.lock().unwrap_or_else(PoisonError::into_inner).push(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
pub(crate) fn assert_nothing_secret(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn what_is_traced_is_read() {
    let _watched = watch();
    let before = LINES.load(Ordering::Relaxed);
    let mut server = support::RedisServer::start();
    let store = tower_redis_kit::Store::connect(&server.url()).await.expect("a store");
    server.stop();
    crate::common::eventually("it is down", async || !store.health().is_up()).await;
    assert!(LINES.load(Ordering::Relaxed) > before, "that it is lost is logged");
}
