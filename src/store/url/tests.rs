use super::*;

fn error(url: &str) -> String {
    let error = Target::from_url(url).expect_err(url);
    assert!(error.is_invalid_url(), "{url}: {error}");
    format!("{error}")
}

/// A server, without anything else.
fn plain(host: &str, port: u16) -> Target {
    Target {
        topology: Topology::Standalone(Address::Tcp(place(host, port))),
        login: Login::default(),
        database: 0,
        tls: None,
        resp3: false,
    }
}

fn place(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

pub(super) fn login(username: &str, password: &str) -> Login {
    Login::of(username.to_owned(), password.to_owned())
}

#[test]
fn one_server() {
    let redis = || plain("localhost", 6379);
    let tls = |insecure| Some(Tls { insecure });
    for (url, target) in [
        ("redis://localhost", redis()),
        ("valkey://localhost/", redis()),
        ("REDIS://localhost/0?", redis()),
        ("redis://localhost:6379/0/?protocol=resp2", redis()),
        ("redis://[0:0::1]:7/3", Target { database: 3, ..plain("::1", 7) }),
        ("redis://localhost?protocol=resp3", Target { resp3: true, ..redis() }),
        ("redis://localhost/?protocol=3", Target { resp3: true, ..redis() }),
        ("rediss://localhost", Target { tls: tls(false), ..redis() }),
        ("valkeys://localhost/#insecure", Target { tls: tls(true), ..redis() }),
        ("redis://:secret@localhost", Target { login: login("", "secret"), ..redis() }),
        ("redis://ada:secret@localhost", Target { login: login("ada", "secret"), ..redis() }),
        ("redis://ada@localhost", Target { login: login("ada", ""), ..redis() }),
        ("redis://ada:@localhost", Target { login: login("ada", ""), ..redis() }),
        ("redis://:@localhost", redis()),
        ("redis://:a:b@c+ü@localhost", Target { login: login("", "a:b@c+ü"), ..redis() }),
        (
            "redis://a%64a:a%40b%3Ac%2Fd%3Fe%23f%25%c3%bc%20@localhost",
            Target { login: login("ada", "a@b:c/d?e#f%ü "), ..redis() },
        ),
    ] {
        assert_eq!(Target::from_url(url), Ok(target), "{url}");
    }
}

#[test]
fn a_unix_socket() {
    let socket = |path: &str| Target {
        topology: Topology::Standalone(Address::Unix(path.into())),
        ..plain("", 0)
    };
    for (url, target) in [
        ("unix:///tmp/redis.sock", socket("/tmp/redis.sock")),
        ("unix:/tmp/redis.sock", socket("/tmp/redis.sock")),
        ("redis+unix://localhost/a%20b@c", socket("/a b@c")),
        (
            "valkey+unix:///s?db=3&user=ada&pass=a%2Bb@c&protocol=resp3",
            Target { login: login("ada", "a+b@c"), database: 3, resp3: true, ..socket("/s") },
        ),
        ("unix:///s?user=&pass=", socket("/s")),
    ] {
        assert_eq!(Target::from_url(url), Ok(target), "{url}");
    }
}

#[test]
fn sentinels() {
    let behind = |sentinels: &[HostPort], service: &str| Target {
        topology: Topology::Sentinel {
            sentinels: sentinels.to_vec(),
            service: service.to_owned(),
            login: Login::default(),
            timeout: None,
        },
        ..plain("", 0)
    };
    let one = |service: &str| behind(&[place("a", 26379)], service);
    for (url, target) in [
        ("redis-sentinel://a/mymaster", one("mymaster")),
        ("valkey+sentinel://a:26379/my%2Fmaster/", one("my/master")),
        ("redis+sentinel://a/m/2", Target { database: 2, ..one("m") }),
        (
            "rediss-sentinel://ada:a%40b@a,[::1]:7,10.0.0.1/m/2?protocol=resp3#insecure",
            Target {
                login: login("ada", "a@b"),
                database: 2,
                tls: Some(Tls { insecure: true }),
                resp3: true,
                ..behind(&[place("a", 26379), place("::1", 7), place("10.0.0.1", 26379)], "m")
            },
        ),
        (
            "redis-sentinel://a/m?sentinel_password=p@%25&timeout=.25&sentinel_user=eve",
            Target {
                topology: Topology::Sentinel {
                    sentinels: vec![place("a", 26379)],
                    service: "m".to_owned(),
                    login: login("eve", "p@%"),
                    timeout: Some(Duration::from_millis(250)),
                },
                ..plain("", 0)
            },
        ),
    ] {
        assert_eq!(Target::from_url(url), Ok(target), "{url}");
    }
}

#[test]
fn a_cluster() {
    let cluster = |seeds: &[HostPort], read_from_replicas| Target {
        topology: Topology::Cluster { seeds: seeds.to_vec(), read_from_replicas },
        ..plain("", 0)
    };
    let one = |read_from_replicas| cluster(&[place("a", 6379)], read_from_replicas);
    for (url, target) in [
        ("redis-cluster://a", one(false)),
        ("redis+cluster://a/", one(false)),
        ("valkey-cluster://a/0?read_from_replicas=false", one(false)),
        ("redis-cluster://a?read_from_replicas=true", one(true)),
        (
            "valkeys+cluster://ada:secret@a:1,b,[::2]:3?protocol=resp3",
            Target {
                login: login("ada", "secret"),
                tls: Some(Tls { insecure: false }),
                resp3: true,
                ..cluster(&[place("a", 1), place("b", 6379), place("::2", 3)], false)
            },
        ),
    ] {
        assert_eq!(Target::from_url(url), Ok(target), "{url}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (url, about) in [
        ("", "scheme"),
        ("redis", "scheme"),
        ("localhost:6379", "scheme"),
        ("http://localhost", "scheme"),
        ("redis-unix:///s", "scheme"),
        ("rediss+unix:///s", "scheme"),
        ("redis-sentinels://a/m", "scheme"),
        (" redis://localhost", "blank"),
        ("redis://localhost ", "blank"),
        ("redis://localhost\n", "control"),
        ("redis://:a\u{85}b@localhost", "control"),
        ("redis://:a%00b@localhost", "control"),
        ("redis:", "// is missing"),
        ("redis:localhost", "// is missing"),
        ("redis://", "host is missing"),
        ("redis:///0", "host is missing"),
        ("redis://:secret@/0", "host is missing"),
        ("redis://:6379", "host is missing"),
        ("redis://localhost:", "port"),
        ("redis://localhost:0", "port"),
        ("redis://localhost:port", "port"),
        ("redis://localhost:99999", "port"),
        ("redis://::1", "brackets"),
        ("redis://[::1", "brackets"),
        ("redis://0.0.0.0", "0.0.0.0"),
        ("redis://a,b", "redis-cluster://"),
        ("redis://localhost/-1", "database"),
        ("redis://localhost/+1", "database"),
        ("redis://localhost/1/2", "database"),
        ("redis://localhost/database", "database"),
        ("redis://localhost/99999999999", "database"),
        ("redis://localhost/0#fragment", "fragment"),
        ("redis://localhost#insecure", "TLS"),
        ("rediss://localhost#", "fragment"),
        ("rediss://localhost#Insecure", "fragment"),
        ("redis://localhost?db=1", "means nothing"),
        ("redis://localhost?timeout=1", "means nothing"),
        ("redis://localhost?a=&b=&c=&d=&e=&f=&g=&h=&i=", "means nothing"),
        ("redis://localhost?protocol", "without a ="),
        ("redis://localhost?protocol=2&&", "without a ="),
        ("redis://localhost?protocol=4", "protocol"),
        ("redis://localhost?protocol=2&protocol=3", "twice"),
        ("redis://localhost?protocol=3?protocol=3", "second ?"),
        ("redis://:100%@localhost", "%25"),
        ("redis://:%4@localhost", "%25"),
        ("redis://:%+4@localhost", "%25"),
        ("redis://:%ff@localhost", "UTF-8"),
        ("redis://:a/b@localhost", "%2F"),
        ("redis://ada:1/b@localhost", "%2F"),
        ("redis://:a?b@localhost", "%2F"),
        ("rediss://:a#b@localhost", "%2F"),
        ("unix://", "path is missing"),
        ("unix:///", "path is missing"),
        ("unix:s", "path is missing"),
        ("unix://tmp/s", "begins with a slash"),
        ("unix://ada:secret@localhost/s", "query"),
        ("unix:///s?db=", "database"),
        ("unix:///s?password=secret", "means nothing"),
        ("unix:///s?pass=a+b", "%2B"),
        ("unix:///s?pass=a%0A", "control"),
        ("unix:///s#insecure", "TLS"),
        ("redis-sentinel://a", "service"),
        ("redis-sentinel://a/", "service"),
        ("redis-sentinel://a//0", "service"),
        ("redis-sentinel://a/m/x", "database"),
        ("redis-sentinel://a/m/0/", "database"),
        ("redis-sentinel:///m", "host is missing"),
        ("redis-sentinel://a,/m", "host is missing"),
        ("redis-sentinel://a,,b/m", "host is missing"),
        ("redis-sentinel://:p@a,:p@b/m", "second @"),
        ("redis-sentinel://ada:1/3@a/m", "%2F"),
        ("redis-sentinel://ada:1/3@a", "%2F"),
        ("redis-sentinel://a/m?timeout=0", "seconds"),
        ("redis-sentinel://a/m?timeout=5000", "seconds"),
        ("redis-sentinel://a/m?timeout=-1", "seconds"),
        ("redis-sentinel://a/m?timeout=1e1", "seconds"),
        ("redis-sentinel://a/m?timeout=inf", "seconds"),
        ("redis-sentinel://a/m?timeout=", "seconds"),
        ("redis-sentinel://a/m?timeout=.", "seconds"),
        ("redis-sentinel://a/m?sentinel_password=a+b", "%2B"),
        ("redis-sentinel://a/m?read_from_replicas=true", "means nothing"),
        ("redis-cluster://", "host is missing"),
        ("redis-cluster://a/1", "no database but 0"),
        ("redis-cluster://a/mymaster", "no database but 0"),
        ("redis-cluster://a?read_from_replicas=maybe", "true or false"),
        ("redis-cluster://a?timeout=1", "means nothing"),
        (&format!("redis://{}", "a".repeat(4089)), "4096"),
    ] {
        let error = error(url);
        assert!(error.contains(about), "{url}: {error}");
    }
    assert!(Target::from_url(&format!("redis://{}", "a".repeat(4088))).is_ok());
}

#[test]
fn a_user_has_a_password() {
    let checked =
        |url: &str, has_credentials| check_users(&Target::from_url(url).unwrap(), has_credentials);
    for url in [
        "redis://ada@a",
        "redis://ada:@a",
        "unix:///s?user=ada",
        "redis-sentinel://ada@a/m",
        "redis-cluster://ada@a",
    ] {
        assert!(checked(url, false).unwrap_err().contains("has no password"), "{url}");
        assert_eq!(checked(url, true), Ok(()), "{url}");
    }
    for has_credentials in [true, false] {
        let error = checked("redis-sentinel://a/m?sentinel_user=eve", has_credentials);
        assert!(error.unwrap_err().contains("no sentinel_password"));
        for url in
            ["redis://a", "redis://:@a", "redis://:p@a", "redis://ada:p@a", "redis://default@a"]
        {
            assert_eq!(checked(url, has_credentials), Ok(()), "{url}");
        }
    }
}

#[test]
fn an_error_says_how_to_write_it() {
    assert_eq!(
        error("redis-cluster://localhost/1"),
        "the store's URL cannot be used (a cluster has no database but 0; write \
         redis-cluster://[user:password@]host[:port][,host[:port]...]\
         [?read_from_replicas=true&protocol=resp3], or rediss-cluster:// for TLS)"
    );
}

#[test]
fn in_process_is_said_by_one_word() {
    assert_eq!(is_in_process("memory:"), Ok(true));
    assert_eq!(is_in_process("redis://localhost"), Ok(false));
    assert_eq!(is_in_process("MEMORY:"), Ok(false));
    assert!(is_in_process("memory://").unwrap_err().is_invalid_url());
}

#[test]
fn times_are_exact() {
    for (text, millis) in [("0.001", 1), ("0.1", 100), ("5.", 5_000), ("3600", 3_600_000)] {
        assert_eq!(seconds(text), Ok(Duration::from_millis(millis)));
    }
}
