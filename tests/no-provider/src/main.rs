//! Without a crypto provider, `rediss://` is an error that says what to do, and never a panic.
//!
//! The tests cannot show that: they are built with `tls-ring`, and features add up. So this is a
//! program of its own, which `scripts/test` runs.

use rustls::crypto::ring::default_provider;
use tower_redis_kit::Store;

/// Nothing listens on port 1.
const PLACES: [&str; 3] = [
    "rediss://:xyzzy@127.0.0.1:1",
    "rediss-sentinel://:xyzzy@127.0.0.1:1/mymaster",
    "rediss-cluster://:xyzzy@127.0.0.1:1",
];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for url in PLACES {
            let lazy = Store::connect_lazy(url).expect_err("there is no provider");
            let error = Store::connect(url).await.expect_err("there is no provider");
            for text in [lazy.to_string(), error.to_string(), format!("{error:?}")] {
                assert!(error.is_tls() && lazy.is_tls(), "{text}");
                assert!(text.contains("tls-ring") && text.contains("install_default"), "{text}");
                assert!(!text.contains("xyzzy"), "{text}");
            }
        }
        default_provider().install_default().expect("the first one");
        for url in PLACES {
            let insecure = format!("{url}#insecure");
            let builder = Store::builder().allow_insecure_tls();
            let error = builder.connect(&insecure).await.expect_err("nothing listens");
            assert!(error.is_refused(), "{error}");
        }
    });
    println!("a missing crypto provider is an error, and one that is installed is used");
}
