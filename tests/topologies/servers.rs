//! Servers that several tests share, with passwords.

use std::fs;
use std::sync::OnceLock;

use support::{RedisCluster, RedisServer, SentinelSetup, Sentinels, TlsSetup};

pub(crate) const PASSWORD: &str = "xyzzy-of-data";
pub(crate) const SENTINEL_PASSWORD: &str = "xyzzy-of-sentinels";
pub(crate) const USER: &str = "xyzzy-user";

/// A server with a password, and a user of its own who has all rights to all keys.
pub(crate) fn server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = RedisServer::with(&["--requirepass", PASSWORD]);
        server.acl_user(USER, PASSWORD, "~* &* +@all");
        server
    })
}

pub(crate) fn cluster() -> &'static RedisCluster {
    static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
    CLUSTER.get_or_init(guarded_cluster)
}

const GUARDED: [&str; 4] = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];

/// A cluster with a password.
pub(crate) fn guarded_cluster() -> RedisCluster {
    RedisCluster::with(&GUARDED)
}

/// A cluster with a password that speaks nothing but TLS.
pub(crate) fn tls_cluster() -> RedisCluster {
    RedisCluster::tls_with(&GUARDED)
}

pub(crate) fn sentinels() -> &'static Sentinels {
    static SENTINELS: OnceLock<Sentinels> = OnceLock::new();
    SENTINELS.get_or_init(guarded_sentinels)
}

pub(crate) fn guarded_sentinels() -> Sentinels {
    Sentinels::with(&sentinel_setup(false))
}

/// Sentinels, and what they watch, that speak nothing but TLS.
pub(crate) fn tls_sentinels() -> Sentinels {
    Sentinels::with(&sentinel_setup(true))
}

fn sentinel_setup(tls: bool) -> SentinelSetup<'static> {
    SentinelSetup {
        password: Some(PASSWORD),
        sentinel_password: Some(SENTINEL_PASSWORD),
        tls,
        ..SentinelSetup::default()
    }
}

pub(crate) fn tls_server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let args = &["--requirepass", PASSWORD];
        RedisServer::tls_with(&TlsSetup { args, ..TlsSetup::default() })
    })
}

pub(crate) fn ca(server: &RedisServer) -> Vec<u8> {
    fs::read(server.ca_path()).expect("the authority's certificate")
}

/// The URL with this log-in put in.
pub(crate) fn with_login(url: &str, login: &str) -> String {
    url.replacen("://", &format!("://{login}@"), 1)
}

pub(crate) fn server_url() -> String {
    with_login(&server().url(), &format!(":{PASSWORD}"))
}

pub(crate) fn cluster_url(cluster: &RedisCluster) -> String {
    with_login(&cluster.url(), &format!(":{PASSWORD}"))
}

pub(crate) fn sentinel_url(sentinels: &Sentinels) -> String {
    let url = with_login(&sentinels.url(), &format!(":{PASSWORD}"));
    format!("{url}?sentinel_password={SENTINEL_PASSWORD}")
}
