//! What connecting says where it cannot: each reason by its predicate, with what to change, and
//! never a password.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use support::{Certificate, Proxy, RedisServer, TlsSetup, free_port};
use tower_redis_kit::{Store, StoreBuilder, StoreError};

use crate::servers::{self, PASSWORD, SENTINEL_PASSWORD, USER, ca, with_login};
use crate::shown::{assert_nothing_secret, watch};
use crate::{MINUTE, timed, token_of};

const WRONG: &str = "xyzzy-wrong";

async fn refusal_of(builder: StoreBuilder, url: &str) -> StoreError {
    let error = builder.connect(url).await.expect_err("no store");
    assert_nothing_secret(&format!("{error} {error:?} {error:#?}"));
    error
}

async fn refusal(url: &str) -> StoreError {
    refusal_of(Store::builder(), url).await
}

/// Every way to say where `place` is, with a log-in.
fn urls(place: &str) -> Vec<String> {
    let mut urls = Vec::new();
    for (scheme, path) in [("", ""), ("-sentinel", "/mymaster"), ("-cluster", "")] {
        for tls in ["redis", "rediss"] {
            urls.push(format!("{tls}{scheme}://{USER}:{PASSWORD}@{place}{path}"));
        }
    }
    urls
}

#[tokio::test]
async fn a_silent_network_is_a_timeout() {
    let _watched = watch();
    let proxy = Proxy::to(servers::server().addr());
    proxy.set_silent(true);
    let urls = urls(&proxy.addr().to_string());
    let asked = urls.iter().map(async |url| {
        let (error, time) = timed(refusal(url)).await;
        assert!(error.is_timeout(), "{url}: {error}");
        assert!(error.to_string().contains(&proxy.addr().to_string()), "{url}: {error}");
        assert!(time.as_millis() < 3500, "{url}: {time:?}");
    });
    futures_join(asked).await;
}

async fn futures_join<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn nothing_there_is_refused_and_no_address_is_unresolved() {
    let _watched = watch();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())).to_string();
    for url in urls(&nobody) {
        let error = refusal(&url).await;
        assert!(error.is_refused() && error.is_unavailable(), "{url}: {error}");
        assert!(error.to_string().contains(&nobody), "{url}: {error}");
    }
    let error = refusal("unix:///tmp/no-such-socket-here.sock").await;
    assert!(error.is_refused(), "{error}");
    // A label of more than 63 letters: no resolver needs to ask anybody about it.
    let host = format!("{}.invalid:6379", "a".repeat(64));
    for url in urls(&host) {
        let error = refusal(&url).await;
        assert!(error.is_unresolved(), "{url}: {error}");
        assert!(error.to_string().contains(&host), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_unauthorized() {
    let _watched = watch();
    let (server, sentinels) = (servers::server(), servers::sentinels());
    let of_sentinels = |password| format!("?sentinel_password={password}");
    let right = of_sentinels(SENTINEL_PASSWORD);
    let logins = [String::new(), format!(":{WRONG}@"), format!("{USER}:{WRONG}@")];
    let mut wrong = Vec::new();
    for login in &logins {
        let put = |url: String| url.replacen("://", &format!("://{login}"), 1);
        for database in ["", "/1"] {
            wrong.push(put(server.url() + database));
            wrong.push(put(sentinels.url() + database) + &right);
        }
        wrong.push(put(servers::cluster().url()));
    }
    wrong.push(format!("{}?user={USER}&pass={WRONG}", server.socket_url()));
    wrong.push(with_login(&server.url(), &format!("xyzzy-nobody:{PASSWORD}")));
    for url in &wrong {
        let error = refusal(url).await;
        assert!(error.is_unauthorized(), "{url}: {error}");
        assert!(error.to_string().contains("check"), "{url}: {error}");
        assert!(!error.to_string().contains("sentinel_password"), "{url}: {error}");
    }
    let url = with_login(&sentinels.url(), &format!(":{PASSWORD}"));
    for query in [String::new(), of_sentinels(WRONG)] {
        let error = refusal(&(url.clone() + &query)).await;
        assert!(error.is_unauthorized(), "{query}: {error}");
        assert!(error.to_string().contains("sentinel_password"), "{query}: {error}");
    }
}

#[tokio::test]
async fn a_user_who_may_too_little_is_forbidden() {
    let _watched = watch();
    let server = servers::server();
    for (user, rules, database) in [
        ("xyzzy-keys", "~other:* +@all", ""),
        ("xyzzy-commands", "~* +@read", ""),
        ("xyzzy-databases", "~* +@all -select", "/1"),
    ] {
        server.acl_user(user, PASSWORD, rules);
        let url = with_login(&server.url(), &format!("{user}:{PASSWORD}")) + database;
        let error = refusal(&url).await;
        assert!(error.is_forbidden(), "{user}: {error}");
    }
}

fn tls_with(certificate: Certificate, client_certificates: bool) -> RedisServer {
    RedisServer::tls_with(&TlsSetup { certificate, client_certificates, args: &[] })
}

#[track_caller]
fn assert_tls(error: &StoreError, fix: &str) {
    assert!(error.is_tls(), "{error}");
    assert!(error.to_string().contains(fix), "{fix}: {error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let _watched = watch();
    let server = servers::tls_server();
    let url = with_login(&server.rediss_url(), &format!(":{PASSWORD}"));
    let trusting = |server: &RedisServer| Store::builder().tls_roots(ca(server));

    let other = RedisServer::tls();
    assert_tls(&refusal_of(trusting(&other), &url).await, "tls_roots");
    let expired = tls_with(Certificate::Expired, false);
    assert_tls(&refusal_of(trusting(&expired), &expired.rediss_url()).await, "renew");
    let elsewhere = tls_with(Certificate::OtherHost, false);
    assert_tls(&refusal_of(trusting(&elsewhere), &elsewhere.rediss_url()).await, "the name");

    for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_tls(&refusal_of(Store::builder().tls_roots(pem), &url).await, "tls_roots");
    }
    let identified = trusting(server).tls_identity(ca(server), "xyzzy-key");
    assert_tls(&refusal_of(identified, &url).await, "tls_identity");

    let insecure = format!("{}#insecure", other.rediss_url());
    assert_tls(&refusal(&insecure).await, "allow_insecure_tls");
    assert!(Store::builder().allow_insecure_tls().connect(&insecure).await.is_ok());
    // What is allowed is not yet asked for.
    let allowed = Store::builder().allow_insecure_tls().tls_roots(ca(server));
    assert_tls(&refusal_of(allowed, &other.rediss_url()).await, "tls_roots");
    assert!(trusting(server).connect(&url).await.is_ok());
}

#[tokio::test]
async fn a_missing_client_certificate_is_said() {
    let _watched = watch();
    let server = tls_with(Certificate::Valid, true);
    let url = server.rediss_url();
    let trusting = || Store::builder().tls_roots(ca(&server));
    assert_tls(&refusal_of(trusting(), &url).await, "tls_identity");
    let read = |path| std::fs::read_to_string(path).expect("a file in PEM");
    let (certificate, key) = (server.client_certificate_path(), server.client_key_path());
    let with_identity = trusting().tls_identity(read(certificate), &read(key));
    assert!(with_identity.connect(&url).await.is_ok());
}

#[tokio::test]
async fn tls_on_one_side_alone_is_said() {
    let _watched = watch();
    let (server, tls) = (servers::server(), servers::tls_server());
    let trusting = || Store::builder().tls_roots(ca(tls));
    for url in urls(&server.addr().to_string()).into_iter().filter(|url| url.starts_with("rediss"))
    {
        assert_tls(&refusal_of(trusting(), &url).await, "use redis://");
    }
    for url in urls(&tls.tls_addr().to_string()).into_iter().filter(|it| !it.starts_with("rediss"))
    {
        assert_tls(&refusal(&url).await, "use rediss://");
    }
}

#[tokio::test]
async fn another_topology_is_named() {
    let _watched = watch();
    let (cluster, sentinels) = (servers::cluster(), servers::sentinels());
    let server = servers::server();
    let sentinel = with_login(
        &format!("redis://{}", sentinels.sentinel_addrs()[0]),
        &format!(":{SENTINEL_PASSWORD}"),
    );
    let of =
        |scheme: &str, addr: SocketAddr, path: &str| format!("{scheme}://:{PASSWORD}@{addr}{path}");
    let unknown = format!("redis-sentinel://{}/other", sentinels.sentinel_addrs()[0]);
    let mut wrong = vec![
        (sentinel.clone(), "redis-sentinel://"),
        (format!("{sentinel}/3"), "redis-sentinel://"),
        (format!("{sentinel}?protocol=resp3"), "redis-sentinel://"),
        (of("redis-cluster", server.addr(), ""), "redis://"),
        (
            format!("redis-sentinel://{}/mymaster?sentinel_password={PASSWORD}", server.addr()),
            "redis://",
        ),
        (format!("{unknown}?sentinel_password={SENTINEL_PASSWORD}"), "no service \"other\""),
        (of("redis", cluster.node(0).addr(), "/3"), "redis-cluster://"),
        (of("redis", cluster.node(0).addr(), "?protocol=resp3"), "redis-cluster://"),
    ];
    // Whichever of them keeps the slot that is tried.
    wrong.extend(
        cluster.nodes().iter().map(|node| (of("redis", node.addr(), ""), "redis-cluster://")),
    );
    for (url, fix) in &wrong {
        let error = refusal(url).await;
        assert!(error.is_wrong_topology(), "{url}: {error}");
        assert!(error.to_string().contains(fix), "{url}: {error}");
    }
}

#[tokio::test]
async fn seeds_that_are_away_or_hang_do_not_matter() {
    let _watched = watch();
    let (cluster, sentinels) = (servers::cluster(), servers::sentinels());
    let silent = Proxy::to(servers::server().addr());
    silent.set_silent(true);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let others = format!("{},{nobody}", silent.addr());
    let (last, named) = (cluster.node(5).addr(), sentinels.sentinel_addrs()[2]);
    for url in [
        format!("redis-cluster://:{PASSWORD}@{others},{last}"),
        format!(
            "redis-sentinel://:{PASSWORD}@{others},{named}/mymaster\
             ?sentinel_password={SENTINEL_PASSWORD}"
        ),
    ] {
        let (store, time) = timed(Store::connect(&url)).await;
        assert!(store.expect("a store").health().is_up());
        assert!(time.as_millis() < 1500, "{url}: {time:?}");
    }
}

#[tokio::test]
async fn a_sentinel_that_hangs_is_not_waited_for_all_of_an_attempt() {
    let _watched = watch();
    let silent = Proxy::to(servers::server().addr());
    silent.set_silent(true);
    let (silent, named) = (silent.addr(), servers::sentinels().sentinel_addrs()[0]);
    let place = format!("redis-sentinel://:{PASSWORD}@{silent},{named}/mymaster");
    for timeout in ["2", "3600"] {
        let query = format!("sentinel_password={SENTINEL_PASSWORD}&timeout={timeout}");
        let store = Store::connect(&format!("{place}?{query}")).await.expect("a store");
        assert!(store.health().is_up());
    }
}

#[tokio::test]
async fn a_deadline_beyond_all_time_is_a_long_one() {
    let _watched = watch();
    let endless = Store::builder().deadline(Duration::MAX).bulk_deadline(Duration::MAX);
    let store = endless.connect(&servers::server_url()).await.expect("a store");
    assert_eq!(store.is_revoked(token_of("endless")).await, Ok(false));
    store.values("endless").set("a", &1, MINUTE).await.expect("stored");
}
