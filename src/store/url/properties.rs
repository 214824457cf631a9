use std::fmt::Write;

use proptest::prelude::*;
use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion};

use super::tests::login;
use super::*;

/// The URL of a target, with as much percent-encoding as there can be.
fn spell(target: &Target) -> String {
    let encode = |text: &str| text.bytes().fold(String::new(), |text, it| text + &code(it));
    let text = |text: &Option<String>| encode(text.as_deref().unwrap_or_default());
    let secret = |secret: &Option<Secret>| encode(secret.as_ref().map_or("", Secret::expose));
    let list =
        |hosts: &[HostPort]| hosts.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",");
    let Target { topology, login, database, tls, resp3 } = target;
    let user = format!("{}:{}@", text(&login.username), secret(&login.password));
    let s = if tls.is_some() { "s" } else { "" };
    let mut url = match topology {
        Topology::Standalone(Address::Tcp(host)) => {
            format!("redis{s}://{user}{host}/{database}?")
        }
        Topology::Standalone(Address::Unix(path)) => format!(
            "unix://{}?db={database}&user={}&pass={}&",
            path.to_str().unwrap(),
            text(&login.username),
            secret(&login.password),
        ),
        Topology::Sentinel { sentinels, service, login, timeout } => {
            let mut url = format!(
                "redis{s}-sentinel://{user}{}/{}/{database}?sentinel_user={}&sentinel_password={}&",
                list(sentinels),
                encode(service),
                text(&login.username),
                secret(&login.password),
            );
            if let Some(timeout) = timeout {
                write!(url, "timeout={}&", timeout.as_secs_f64()).unwrap();
            }
            url
        }
        Topology::Cluster { seeds, read_from_replicas } => format!(
            "redis{s}-cluster://{user}{}?read_from_replicas={read_from_replicas}&",
            list(seeds)
        ),
    };
    url += if *resp3 { "protocol=resp3" } else { "protocol=2" };
    url += if tls.as_ref().is_some_and(|tls| tls.insecure) { "#insecure" } else { "" };
    url
}

fn code(byte: u8) -> String {
    format!("%{byte:02X}")
}

fn logins() -> impl Strategy<Value = Login> {
    ("\\PC{0,12}", "\\PC{0,12}").prop_map(|(user, password)| login(&user, &password))
}

fn places() -> impl Strategy<Value = HostPort> {
    let ipv6 = any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string());
    let host = prop_oneof!["[a-zA-Z][a-zA-Z0-9._-]{0,12}", ipv6];
    (host.prop_filter("an address", |host| host != "::"), 1..=u16::MAX)
        .prop_map(|(host, port)| HostPort { host, port })
}

fn topologies() -> impl Strategy<Value = Topology> {
    let hosts = || prop::collection::vec(places(), 1..4);
    let millis = prop::option::of((1_u64..3_600_000).prop_map(Duration::from_millis));
    prop_oneof![
        places().prop_map(|place| Topology::Standalone(Address::Tcp(place))),
        "(/[a-z_-][a-z._-]{0,9}){1,3}"
            .prop_map(|path| Topology::Standalone(Address::Unix(path.into()))),
        (hosts(), "\\PC{1,9}", logins(), millis).prop_map(
            |(sentinels, service, login, timeout)| {
                Topology::Sentinel { sentinels, service, login, timeout }
            }
        ),
        (hosts(), any::<bool>()).prop_map(|(seeds, read_from_replicas)| Topology::Cluster {
            seeds,
            read_from_replicas
        }),
    ]
}

fn targets() -> impl Strategy<Value = Target> {
    let tls = prop::option::of(any::<bool>().prop_map(|insecure| Tls { insecure }));
    (topologies(), logins(), any::<u32>(), tls, any::<bool>()).prop_map(
        |(topology, login, database, tls, resp3)| {
            let cluster = matches!(topology, Topology::Cluster { .. });
            let socket = matches!(topology, Topology::Standalone(Address::Unix(_)));
            let database = if cluster { 0 } else { database };
            Target { topology, login, database, tls: tls.filter(|_| !socket), resp3 }
        },
    )
}

/// Almost URLs: their parts, in any order.
fn almost() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "(redis|rediss|unix|redis-sentinel|redis-cluster|memory):(//)?",
        "[/?#@:,&=%\\[\\]+]",
        "[a-z0-9]{0,5}",
        "(protocol|db|user|pass|timeout|sentinel_password|read_from_replicas)=",
        ".",
    ];
    let scheme = "(redis|rediss|unix|redis-sentinel|rediss-cluster):(//)?";
    (scheme, prop::collection::vec(part, 0..12)).prop_map(|(url, parts)| url + &parts.concat())
}

/// Where a password can be put, or ends up by mistake.
fn misplaced(secret: &str) -> Vec<String> {
    let url = |url: &str| url.replace("SECRET", secret);
    let mut urls: Vec<_> = [
        "SECRET",
        "SECRET://localhost",
        "http://ada:SECRET@localhost",
        "redis://ada:SECRET@localhost:port",
        "redis://:SECRET@/0",
        "redis://:SECRET@localhost/database",
        "redis://:SECRET@localhost?protocol=9",
        "redis://:SECRET@localhost#fragment",
        "redis://:SECRET%@localhost",
        "redis://:SECRET/more@localhost",
        "redis://:/SECRET@localhost",
        "redis://:more?SECRET@localhost",
        "redis://:more#SECRET@localhost",
        "redis://ada:SECRET",
        "redis://localhost/SECRET",
        "redis://localhost?SECRET",
        "redis://localhost?password=SECRET",
        "redis://localhost?protocol=SECRET",
        "rediss://localhost#SECRET",
        "redis:ada:SECRET@localhost",
        "unix://ada:SECRET@localhost/s",
        "unix:///s?pass=SECRET&pass=SECRET",
        "unix:///s?pass=SECRET+",
        "unix:///s?pass=SECRET?",
        "unix://SECRET",
        "redis-sentinel://:SECRET@a",
        "redis-sentinel://:SECRET@a,:SECRET@b/m",
        "redis-sentinel://ada:1/SECRET@a/m",
        "redis-sentinel://a/m/SECRET",
        "redis-sentinel://a/m?sentinel_pass=SECRET",
        "redis-sentinel://a/m?timeout=SECRET",
        "redis-cluster://:SECRET@a/1",
        "redis-cluster://a/SECRET",
    ]
    .into_iter()
    .map(url)
    .collect();
    urls.push(url("redis://:SECRET@localhost\n"));
    urls.push(url(&format!("redis://:SECRET@{}", "a".repeat(LONGEST))));
    urls
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>(), almost in almost()) {
        for text in [&text, &almost] {
            if let Ok(target) = Target::from_url(text) {
                // Whatever is accepted means what its full spelling means.
                let unix = matches!(target.topology, Topology::Standalone(Address::Unix(_)));
                if !unix {
                    prop_assert_eq!(Target::from_url(&spell(&target)), Ok(target));
                }
            }
        }
    }

    #[test]
    fn a_target_survives_its_url(target in targets()) {
        prop_assert_eq!(Target::from_url(&spell(&target)), Ok(target));
    }

    #[test]
    fn a_login_needs_no_encoding_but_of_a_few_bytes(
        user in "[^\\p{C}/?#@%:]{0,12}",
        password in "[^\\p{C}/?#@%]{0,12}",
    ) {
        for form in ["redis://{}@a", "redis-sentinel://{}@a/m", "redis-cluster://{}@a"] {
            let url = form.replace("{}", &format!("{user}:{password}"));
            let target = Target::from_url(&url);
            prop_assert_eq!(target.map(|it| it.login), Ok(login(&user, &password)), "{}", url);
        }
    }

    #[test]
    fn no_error_holds_a_password(secret in "[A-Z]{3}[a-zA-Z0-9]{3}") {
        for url in misplaced(&secret) {
            let error = Target::from_url(&url).expect_err(&url);
            let text = format!("{error} {error:?} {error:#?}");
            prop_assert!(!text.contains(&secret), "{}: {}", url, text);
        }
    }

    #[test]
    fn debug_shows_no_login(mut target in targets(), secret in "[A-Z]{4}[a-zA-Z0-9]{4}") {
        target.login = login(&secret, &secret);
        if let Topology::Sentinel { login: theirs, .. } = &mut target.topology {
            *theirs = login(&secret, &secret);
        }
        let text = format!("{target:?} {target:#?}");
        prop_assert!(!text.contains(&secret), "{}", text);
    }

    #[test]
    fn a_server_or_socket_is_what_the_redis_crate_takes_it_for(target in targets()) {
        let Topology::Standalone(address) = &target.topology else { return Ok(()) };
        // Its TLS is not in this build; and to it, an empty text is one.
        let url = spell(&Target { tls: None, ..target.clone() });
        let url = url.replace("&user=&", "&").replace("&pass=&", "&");
        let info = redis::parse_redis_url(&url).unwrap().into_connection_info().unwrap();
        match (address, info.addr()) {
            (Address::Tcp(place), ConnectionAddr::Tcp(host, port)) => {
                prop_assert_eq!((&place.host, place.port), (host, *port));
            }
            (Address::Unix(path), ConnectionAddr::Unix(other)) => prop_assert_eq!(path, other),
            (_, other) => prop_assert!(false, "{}: {}", url, other),
        }
        let settings = info.redis_settings();
        prop_assert_eq!(settings.db(), i64::from(target.database));
        prop_assert_eq!(settings.username(), target.login.username.as_deref());
        let password = target.login.password.as_ref().map(Secret::expose);
        prop_assert_eq!(settings.password(), password);
        prop_assert_eq!(settings.protocol() == ProtocolVersion::RESP3, target.resp3);
    }
}
