//! Passwords that are replaced while the service runs.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use support::RedisServer;
use tower_redis_kit::Store;

use crate::common::within;
use crate::servers::{PASSWORD, USER};
use crate::shown::{assert_nothing_secret, watch};
use crate::{RECOVERY, token_of};

const NEW: &str = "xyzzy-new";

fn server() -> RedisServer {
    let server = RedisServer::start();
    server.acl_user(USER, PASSWORD, "~* +@all");
    server
}

#[tokio::test]
async fn a_new_password_is_asked_for_with_each_connection() {
    let _watched = watch();
    let server = server();
    let password = Arc::new(Mutex::new(PASSWORD));
    let asked = password.clone();
    let store = Store::builder()
        .credentials(move || (Some(USER.to_owned()), (*asked.lock().unwrap()).to_owned()))
        .connect(&server.url())
        .await
        .expect("a store");
    assert_nothing_secret(&format!("{store:?}"));
    for new in [NEW, PASSWORD] {
        let generation = store.health().generation();
        server.set_password(USER, new);
        *password.lock().unwrap() = new;
        assert_eq!(store.is_revoked(token_of("t")).await, Ok(false), "who is logged in stays so");
        assert!(server.kill_clients() >= 2);
        within(RECOVERY, "it logs in anew", async || {
            store.health().is_up() && store.health().generation() > generation
        })
        .await;
        assert_eq!(store.is_revoked(token_of("t")).await, Ok(false));
    }
}

#[tokio::test]
async fn a_callback_that_panics_is_asked_again() {
    let _watched = watch();
    let server = server();
    let is_written = Arc::new(AtomicBool::new(true));
    let read = is_written.clone();
    let credentials = move || {
        assert!(read.load(SeqCst), "the file is not there");
        (Some(USER.to_owned()), PASSWORD.to_owned())
    };
    let store = Store::builder().credentials(credentials);
    let store = store.connect(&server.url()).await.expect("a store");
    is_written.store(false, SeqCst);
    server.kill_clients();
    within(RECOVERY, "that is why", async || {
        store.health().error().is_some_and(|error| error.to_string().contains("panicked"))
    })
    .await;
    is_written.store(true, SeqCst);
    within(RECOVERY, "it is up", async || store.health().is_up()).await;
    store.revoke(token_of("t")).await.expect("revoked");
}

#[tokio::test]
async fn a_password_that_is_no_longer_right_is_said_until_it_is_again() {
    let _watched = watch();
    let server = server();
    let url = format!("redis://{USER}:{PASSWORD}@{}", server.addr());
    let store = Store::connect(&url).await.expect("a store");
    server.set_password(USER, NEW);
    server.kill_clients();
    within(RECOVERY, "that is why", async || {
        store.health().error().is_some_and(|error| error.is_unauthorized())
    })
    .await;
    assert_nothing_secret(&format!("{:?} {store:?}", store.health()));
    store.revoke(token_of("t")).await.expect_err("nobody is logged in");
    server.set_password(USER, PASSWORD);
    within(RECOVERY, "it is up", async || store.health().is_up()).await;
    store.revoke(token_of("t")).await.expect("revoked");
}
