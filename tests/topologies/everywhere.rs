//! All four layers and the toolbox, on every topology and with every setting that changes how a
//! connection is made.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use support::{RedisServer, TlsSetup};
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{Header, Quota, RateLimitLayer};
use tower_redis_kit::session::SessionLayer;
use tower_redis_kit::token::RevocationLayer;
use tower_redis_kit::{Store, StoreBuilder};

use crate::common::{eventually, unique};
use crate::servers::{self, PASSWORD, USER, ca, with_login};
use crate::shown::watch;
use crate::{assert_everything_works, assert_layers_work, is_found, token_of, verify, with_token};

pub(crate) async fn everything_works(builder: StoreBuilder, url: &str) {
    let _watched = watch();
    // What is tested is not how fast the machine is.
    let builder = builder.prefix(&unique("shop")).deadline(std::time::Duration::from_secs(2));
    let store = builder.connect(url).await.expect("a store");
    assert_everything_works(&store).await;
    assert!(store.health().is_up());
}

#[tokio::test]
async fn on_a_database_with_a_number() {
    everything_works(Store::builder(), &format!("{}/7", servers::server_url())).await;
    assert!(servers::server().command(&["INFO", "keyspace"]).contains("db7:"));
}

#[tokio::test]
async fn as_a_user_of_the_access_list() {
    let url = with_login(&servers::server().url(), &format!("{USER}:{PASSWORD}"));
    everything_works(Store::builder(), &url).await;
}

#[tokio::test]
async fn by_resp3() {
    everything_works(Store::builder(), &format!("{}?protocol=resp3", servers::server_url())).await;
    let cluster = servers::cluster_url(servers::cluster());
    everything_works(Store::builder(), &format!("{cluster}?protocol=resp3")).await;
    let sentinels = servers::sentinel_url(servers::sentinels());
    everything_works(Store::builder(), &format!("{sentinels}&protocol=resp3")).await;
}

#[tokio::test]
async fn on_a_unix_socket() {
    let url = format!("{}?user={USER}&pass={PASSWORD}&db=2", servers::server().socket_url());
    everything_works(Store::builder(), &url).await;
}

#[tokio::test]
async fn with_tls() {
    let server = servers::tls_server();
    let url = with_login(&server.rediss_url(), &format!(":{PASSWORD}"));
    everything_works(Store::builder().tls_roots(ca(server)), &url).await;
    let url = format!("{url}/1?protocol=resp3");
    everything_works(Store::builder().tls_roots(ca(server)), &url).await;
}

#[tokio::test]
async fn with_a_certificate_of_the_client() {
    let setup = TlsSetup { client_certificates: true, ..TlsSetup::default() };
    let server = RedisServer::tls_with(&setup);
    let read = |path| std::fs::read_to_string(path).expect("a file in PEM");
    let (certificate, key) = (server.client_certificate_path(), server.client_key_path());
    let builder =
        Store::builder().tls_roots(ca(&server)).tls_identity(read(certificate), &read(key));
    everything_works(builder, &server.rediss_url()).await;
}

#[tokio::test]
async fn behind_sentinels_with_passwords_of_their_own() {
    let url = servers::sentinel_url(servers::sentinels());
    everything_works(Store::builder(), &url).await;
}

#[tokio::test]
async fn on_a_cluster() {
    let url = servers::cluster_url(servers::cluster());
    for connections in [1, 2, 4] {
        everything_works(Store::builder().connections(connections), &url).await;
    }
}

#[tokio::test]
async fn on_a_cluster_whose_replicas_answer() {
    let cluster = servers::cluster();
    let url = format!("{}?read_from_replicas=true", servers::cluster_url(cluster));
    everything_works(Store::builder(), &url).await;
    // Nodes of a cluster that is new do not name their replicas yet.
    let store = Store::connect(&url).await.expect("a store");
    let app = crate::app(&store, 2);
    let sum = || -> u64 { (3..6).map(|node| reads(cluster.node(node))).sum() };
    let before = sum();
    eventually("a replica is asked", async || {
        is_found(&app, &format!("/cached/{}", unique("n"))).await;
        sum() > before
    })
    .await;
}

pub(crate) fn reads(server: &RedisServer) -> u64 {
    server.count().commands.get("get").copied().unwrap_or(0)
}

#[tokio::test]
async fn on_nodes_that_do_not_know_what_they_are_called() {
    let cluster =
        support::RedisCluster::with(&["--cluster-preferred-endpoint-type", "unknown-endpoint"]);
    everything_works(Store::builder(), &cluster.url()).await;
}

#[tokio::test]
async fn each_layer_on_a_store_of_its_own() {
    let _watched = watch();
    let (server, other) = (servers::server(), RedisServer::start());
    let prefix = unique("own");
    let connect =
        async |url: &str| Store::builder().prefix(&prefix).connect(url).await.expect("a store");
    let url = servers::server_url();
    let (first, second) =
        (connect(&format!("{url}/11")).await, connect(&format!("{url}/12")).await);
    let cluster = connect(&servers::cluster_url(servers::cluster())).await;
    let elsewhere = connect(&other.url()).await;
    let limit = RateLimitLayer::new("api", Quota::per_hour(2), Header::new("x-api-key"));
    let session = || SessionLayer::new().with_store(second.clone());
    let count = async |session: tower_redis_kit::session::Session| {
        let visits = session.get::<u32>("visits").await?.unwrap_or(0) + 1;
        session.insert("visits", visits).await?;
        Ok::<_, tower_redis_kit::session::SessionError>(visits.to_string())
    };
    let rotate = async |session: tower_redis_kit::session::Session| session.rotate().await;
    let fresh = async || ([("cache-control", "public, max-age=60")], crate::PAYLOAD);
    // No store for all: each layer has its own.
    let app = Router::new()
        .route("/limited", get(async || {}).layer(limit.with_store(first.clone())))
        .route("/session", get(count).layer(session()))
        .route("/rotate", get(rotate).layer(session()))
        .route("/cached/{n}", get(fresh).layer(CacheLayer::new().with_store(cluster.clone())))
        .route(
            "/token",
            get(async || {}).layer(RevocationLayer::new(verify).with_store(elsewhere.clone())),
        );
    assert_layers_work(&app).await;
    elsewhere.revoke(token_of("xyzzy-a")).await.expect("revoked");
    first.revoke(token_of("xyzzy-b")).await.expect("revoked");
    assert_eq!(with_token(&app, "xyzzy-a").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(with_token(&app, "xyzzy-b").await.status(), StatusCode::OK);
    let keyspace = server.command(&["INFO", "keyspace"]);
    assert!(keyspace.contains("db11:") && keyspace.contains("db12:"), "{keyspace}");
    let revoked = format!("{prefix}:revoked:");
    assert!(other.keys().iter().any(|key| key.starts_with(&revoked)));
    let cached = servers::cluster().keys();
    assert!(cached.iter().any(|key| key.starts_with(&format!("{prefix}:response:"))));
}
