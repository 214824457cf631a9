use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

/// An environment from `NAME=value` in lines.
fn configured(lines: &str) -> Result<Configured, StoreError> {
    let lines = lines.split_whitespace().map(|line| line.split_once('=').unwrap());
    let variables: HashMap<_, _> = lines.collect();
    Configured::from_env(|name| variables.get(name).map(OsString::from))
}

fn target(lines: &str) -> Option<Target> {
    configured(lines).unwrap_or_else(|error| panic!("{lines}: {error}")).target
}

fn error(lines: &str) -> String {
    let error = configured(lines).expect_err(lines);
    assert!(error.is_invalid_config(), "{lines}: {error}");
    error.to_string()
}

fn url(url: &str) -> Option<Target> {
    Some(Target::from_url(url).unwrap())
}

/// A file of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn with(content: &[u8]) -> Scratch {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kit-environment-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn nothing_set_is_in_process() {
    let nothing =
        Configured { target: None, by_url: false, prefix: None, deadline: None, connections: None };
    assert_eq!(configured(""), Ok(nothing.clone()));
    let by_url = Configured { by_url: true, ..nothing.clone() };
    assert_eq!(configured("REDIS_URL=memory:"), Ok(by_url));
    for lines in [
        "REDIS_URL= REDIS_HOST= REDIS_PASSWORD= REDIS_PORT_FILE= REDIS_TIMEOUT=",
        "REDIS_USE_SSL=false REDIS_USE_SENTINEL=no REDIS_USE_CLUSTERS=0",
        "REDIS_USE_SENTINEL=off REDIS_SENTINELS=a:1 REDIS_SENTINEL_SERVICE_NAME=m",
        "REDIS_PORT=tcp://10.0.0.1:6379",
        "UNRELATED=1 REDIS_SOMETHING=2",
    ] {
        assert_eq!(configured(lines), Ok(nothing.clone()), "{lines}");
    }
}

#[test]
fn one_way_is_taken() {
    let full = "REDIS_PORT=7 REDIS_DB=3 REDIS_USERNAME=ada REDIS_PASSWORD=se:c@r%t";
    let defaults = "REDIS_HOST=redis REDIS_PORT=6379 REDIS_DB=0 REDIS_USERNAME= \
                    REDIS_USE_SSL=false REDIS_SENTINEL_SOCKET_TIMEOUT=0.1";
    for (lines, expected) in [
        ("REDIS_HOST=redis", "redis://redis"),
        ("REDIS_HOST=::1", "redis://[::1]"),
        ("REDIS_HOST=[::1] REDIS_PORT=7", "redis://[::1]:7"),
        ("REDIS_HOST=redis REDIS_PORT=tcp://10.0.0.1:6379", "redis://redis:6379"),
        ("REDIS_HOST=redis REDIS_DATABASE=2", "redis://redis/2"),
        ("REDIS_HOST=redis REDIS_DATABASE=02 REDIS_DB=2", "redis://redis/2"),
        ("REDIS_HOST=redis REDIS_USE_SSL=TRUE", "rediss://redis"),
        ("REDIS_HOST=redis REDIS_PASSWORD=secret", "redis://:secret@redis"),
        (&format!("REDIS_HOST=redis {full}"), "redis://ada:se:c%40r%25t@redis:7/3"),
        (
            "REDIS_USE_SENTINEL=true REDIS_SENTINELS=a,b:7 REDIS_SENTINEL_SERVICE_NAME=m/1",
            "redis-sentinel://a:26379,b:7/m%2F1",
        ),
        (
            &format!(
                "REDIS_USE_SENTINEL=yes REDIS_SENTINELS=[::1] REDIS_SENTINEL_SERVICE_NAME=m \
                 REDIS_SENTINEL_USERNAME=eve REDIS_SENTINEL_PASSWORD=p+w REDIS_USE_SSL=1 \
                 REDIS_SENTINEL_SOCKET_TIMEOUT=0.1 REDIS_USE_CLUSTERS=false \
                 REDIS_CLUSTERS=not:a:place REDIS_HOST=not/a/host {full}"
            ),
            "rediss-sentinel://ada:se:c%40r%25t@[::1]/m/3?sentinel_user=eve\
             &sentinel_password=p%2Bw&timeout=0.1",
        ),
        ("REDIS_USE_CLUSTERS=on REDIS_CLUSTERS=a,b:7", "redis-cluster://a:6379,b:7"),
        (
            "REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a REDIS_USERNAME=ada REDIS_PASSWORD=p \
             REDIS_DB=0 REDIS_USE_SSL=on",
            "rediss-cluster://ada:p@a",
        ),
        ("REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a REDIS_CLUSTERS_PASSWORD=p", "redis-cluster://:p@a"),
        (
            "REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a REDIS_CLUSTERS_PASSWORD=p REDIS_PASSWORD=p",
            "redis-cluster://:p@a",
        ),
        (defaults, "redis://redis"),
        (&format!("{defaults} REDIS_USE_CLUSTERS=true REDIS_CLUSTERS=a"), "redis-cluster://a"),
        ("REDIS_HOST=redis REDIS_CLUSTERS_PASSWORD=p", "redis://redis"),
    ] {
        assert_eq!(target(lines), url(expected), "{lines}");
    }
}

#[test]
fn blanks_may_follow_the_commas_of_a_list() {
    let get = |name: &str| {
        let value = match name {
            "REDIS_USE_CLUSTERS" => "true",
            "REDIS_CLUSTERS" => "a, b:7 ,[::1]",
            _ => return None,
        };
        Some(value.into())
    };
    assert_eq!(Configured::from_env(get).unwrap().target, url("redis-cluster://a,b:7,[::1]"));
}

#[test]
fn a_url_wins_and_the_rest_need_not_even_be_right() {
    let rest = "REDIS_HOST=other REDIS_PORT=port REDIS_USE_SSL=perhaps REDIS_DB=x \
                REDIS_PASSWORD=p REDIS_PASSWORD_FILE=/does/not/exist REDIS_SENTINELS=a \
                REDIS_USE_SENTINEL=true REDIS_USE_CLUSTERS=true";
    for (lines, target) in
        [("REDIS_URL=redis://redis/1", url("redis://redis/1")), ("REDIS_URL=memory:", None)]
    {
        let lines = format!("{rest} {lines} REDIS_TIMEOUT=0.25 REDIS_KEY_PREFIX=shop");
        let configured = configured(&lines).unwrap();
        assert_eq!(configured.target, target);
        assert_eq!(configured.deadline, Some(Duration::from_millis(250)));
        assert_eq!(configured.prefix.as_deref(), Some("shop"));
    }
}

#[test]
fn settings_of_the_store_apply_to_every_way() {
    let settings = "REDIS_TIMEOUT=2 REDIS_MAX_CONNECTIONS=64 REDIS_KEY_PREFIX=a-b_c.d:e";
    for way in ["", "REDIS_URL=redis://a", "REDIS_URL=memory:", "REDIS_HOST=a"] {
        let configured = configured(&format!("{settings} {way}")).unwrap();
        assert_eq!(configured.deadline, Some(Duration::from_secs(2)), "{way}");
        assert_eq!(configured.connections, Some(64), "{way}");
        assert_eq!(configured.prefix.as_deref(), Some("a-b_c.d:e"), "{way}");
    }
}

#[test]
fn what_contradicts_is_named() {
    let host = "REDIS_HOST=redis";
    let both = "REDIS_USE_SENTINEL=1 REDIS_USE_CLUSTERS=1";
    let sentinel = "REDIS_USE_SENTINEL=true";
    let cluster = "REDIS_USE_CLUSTERS=true REDIS_CLUSTERS=a";
    for (lines, names) in [
        (both, ["REDIS_USE_SENTINEL", "REDIS_USE_CLUSTERS"]),
        ("REDIS_URL=redis://a REDIS_URL_FILE=b", ["REDIS_URL", "REDIS_URL_FILE"]),
        (
            &format!("{host} REDIS_PASSWORD=p REDIS_PASSWORD_FILE=b"),
            ["REDIS_PASSWORD", "REDIS_PASSWORD_FILE"],
        ),
        (&format!("{host} REDIS_DB=0 REDIS_DATABASE=1"), ["REDIS_DB", "REDIS_DATABASE"]),
        (
            &format!("{sentinel} REDIS_SENTINEL_SERVICE_NAME=m {host}"),
            ["REDIS_USE_SENTINEL", "REDIS_SENTINELS"],
        ),
        (
            &format!("{sentinel} REDIS_SENTINELS=a {host}"),
            ["REDIS_USE_SENTINEL", "REDIS_SENTINEL_SERVICE_NAME"],
        ),
        ("REDIS_USE_CLUSTERS=on", ["REDIS_USE_CLUSTERS", "REDIS_CLUSTERS"]),
        (&format!("{host} REDIS_SENTINELS=a"), ["REDIS_SENTINELS", "REDIS_USE_SENTINEL"]),
        ("REDIS_SENTINELS_FILE=a", ["REDIS_SENTINELS_FILE", "REDIS_USE_SENTINEL"]),
        (&format!("{host} REDIS_CLUSTERS=a"), ["REDIS_CLUSTERS", "REDIS_USE_CLUSTERS"]),
        (&format!("{cluster} REDIS_SENTINELS=a"), ["REDIS_SENTINELS", "REDIS_USE_SENTINEL"]),
        (&format!("{cluster} REDIS_DB=1"), ["REDIS_DB is", "REDIS_USE_CLUSTERS"]),
        (&format!("{cluster} REDIS_DATABASE=1"), ["REDIS_DATABASE is", "REDIS_USE_CLUSTERS"]),
        (
            &format!("{cluster} REDIS_CLUSTERS_PASSWORD=p REDIS_PASSWORD=q"),
            ["REDIS_CLUSTERS_PASSWORD", "REDIS_PASSWORD"],
        ),
        ("REDIS_PORT=6379", ["REDIS_PORT", "REDIS_HOST"]),
        ("REDIS_DB=0", ["REDIS_DB", "REDIS_HOST"]),
        ("REDIS_USERNAME=ada REDIS_PASSWORD=p", ["REDIS_USERNAME, REDIS_PASSWORD", "HOST"]),
        ("REDIS_PASSWORD_FILE=/does/not/exist", ["REDIS_PASSWORD_FILE", "REDIS_HOST"]),
        ("REDIS_USE_SSL=true", ["REDIS_USE_SSL", "REDIS_HOST"]),
        ("REDIS_SENTINEL_PASSWORD=p", ["REDIS_SENTINEL_PASSWORD", "REDIS_HOST"]),
        (
            "REDIS_USE_SENTINEL=off REDIS_CLUSTERS_PASSWORD=p",
            ["REDIS_CLUSTERS_PASSWORD", "REDIS_HOST"],
        ),
    ] {
        let error = error(lines);
        for name in names {
            assert!(error.contains(name), "{lines}: {error}");
        }
    }
    assert_eq!(
        error("REDIS_HOST=a REDIS_DB=0 REDIS_DATABASE=1"),
        "the environment's Redis settings cannot be used (REDIS_DB and REDIS_DATABASE differ)"
    );
}

#[test]
fn a_user_has_a_password() {
    let sentinel = "REDIS_USE_SENTINEL=on REDIS_SENTINELS=a REDIS_SENTINEL_SERVICE_NAME=m";
    let cluster = "REDIS_USE_CLUSTERS=on REDIS_CLUSTERS=a REDIS_USERNAME=ada";
    let checked = |lines: &str, has_credentials| {
        configured(lines).unwrap().check_users(has_credentials).map_err(|error| {
            assert_ne!(error.is_invalid_config(), lines.contains("REDIS_URL"), "{error}");
            error.to_string()
        })
    };
    for (lines, missing) in [
        ("REDIS_HOST=a REDIS_USERNAME=ada", "REDIS_USERNAME is set, but REDIS_PASSWORD is not"),
        (&format!("{sentinel} REDIS_USERNAME=ada"), "(REDIS_USERNAME is set"),
        (cluster, "REDIS_USERNAME is set, but REDIS_PASSWORD is not"),
        ("REDIS_URL=redis://ada@a", "REDIS_URL: the user has no password"),
    ] {
        let error = checked(lines, false).expect_err(lines);
        assert!(error.contains(missing), "{lines}: {error}");
        assert_eq!(checked(lines, true), Ok(()), "they bring the name and the password");
    }
    for has_credentials in [true, false] {
        let error = checked(&format!("{sentinel} REDIS_SENTINEL_USERNAME=eve"), has_credentials);
        let missing = "REDIS_SENTINEL_USERNAME is set, but REDIS_SENTINEL_PASSWORD is not";
        assert!(error.expect_err("it is another's").contains(missing));
        for lines in [
            "",
            "REDIS_HOST=a REDIS_USERNAME= REDIS_PASSWORD=p",
            "REDIS_HOST=a REDIS_USERNAME=ada REDIS_PASSWORD=p",
            &format!("{cluster} REDIS_CLUSTERS_PASSWORD=p"),
            &format!("{sentinel} REDIS_SENTINEL_USERNAME=eve REDIS_SENTINEL_PASSWORD=p"),
        ] {
            assert_eq!(checked(lines, has_credentials), Ok(()), "{lines}");
        }
    }
}

#[test]
fn a_value_that_cannot_be_one_is_said() {
    let sentinel = "REDIS_USE_SENTINEL=on REDIS_SENTINELS=a REDIS_SENTINEL_SERVICE_NAME=m";
    for (lines, about) in [
        ("REDIS_USE_SENTINEL=maybe", "REDIS_USE_SENTINEL: expected true or false"),
        ("REDIS_USE_CLUSTERS=2", "REDIS_USE_CLUSTERS: expected"),
        ("REDIS_HOST=a REDIS_USE_SSL=y", "REDIS_USE_SSL: expected"),
        ("REDIS_HOST=a REDIS_PORT=0", "REDIS_PORT: a port"),
        ("REDIS_HOST=a REDIS_PORT=redis", "REDIS_PORT: a port"),
        ("REDIS_HOST=a REDIS_DB=-1", "REDIS_DB: a database"),
        ("REDIS_HOST=a REDIS_DATABASE=x", "REDIS_DATABASE: a database"),
        ("REDIS_HOST=a:6379", "REDIS_HOST: "),
        ("REDIS_HOST=redis://a", "into REDIS_URL"),
        ("REDIS_HOST=/tmp/redis.sock", "into REDIS_URL"),
        ("REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a,", "REDIS_CLUSTERS: a host is missing"),
        ("REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a:x", "REDIS_CLUSTERS: a port"),
        (&format!("{sentinel} REDIS_SENTINEL_SOCKET_TIMEOUT=0"), "SOCKET_TIMEOUT: a time"),
        ("REDIS_TIMEOUT=0", "REDIS_TIMEOUT: a time"),
        ("REDIS_TIMEOUT=100ms", "REDIS_TIMEOUT: a time"),
        ("REDIS_TIMEOUT=5000", "REDIS_TIMEOUT: a time"),
        ("REDIS_MAX_CONNECTIONS=0", "REDIS_MAX_CONNECTIONS: "),
        ("REDIS_MAX_CONNECTIONS=65", "REDIS_MAX_CONNECTIONS: "),
        ("REDIS_MAX_CONNECTIONS=+1", "REDIS_MAX_CONNECTIONS: "),
        ("REDIS_KEY_PREFIX={a}", "REDIS_KEY_PREFIX: a key prefix"),
        (&format!("REDIS_KEY_PREFIX={}", "a".repeat(65)), "REDIS_KEY_PREFIX: a key prefix"),
        (&format!("REDIS_HOST={}", "a".repeat(4097)), "REDIS_HOST: longer"),
        ("REDIS_URL=redis://a REDIS_TIMEOUT=x", "REDIS_TIMEOUT: a time"),
    ] {
        let error = error(lines);
        assert!(error.contains(about), "{lines}: {error}");
    }
}

#[test]
fn a_url_that_cannot_be_used_is_the_same_error_as_elsewhere() {
    for lines in ["REDIS_URL=http://a", "REDIS_URL=redis://a/x", "REDIS_URL=memory:x"] {
        let error = configured(lines).unwrap_err();
        assert!(error.is_invalid_url() && !error.is_invalid_config(), "{error}");
    }
    let error = configured("REDIS_URL=redis://").unwrap_err().to_string();
    assert!(error.contains("(REDIS_URL: a host is missing; write redis://"), "{error}");
}

#[test]
fn every_variable_can_be_a_file() {
    let (secret, number) = (Scratch::with(b"s e%c r\n"), Scratch::with(b"7\r\n"));
    let lines = format!(
        "REDIS_HOST=a REDIS_PASSWORD= REDIS_PASSWORD_FILE={} REDIS_PORT_FILE={number} \
         REDIS_DB_FILE={number} REDIS_MAX_CONNECTIONS_FILE={number}",
        secret.path(),
        number = number.path(),
    );
    let configured = configured(&lines).unwrap();
    assert_eq!(configured.target, url("redis://:s%20e%25c%20r@a:7/7"));
    assert_eq!(configured.connections, Some(7));
    let file = Scratch::with(b"redis://:secret@a");
    assert_eq!(target(&format!("REDIS_URL_FILE={}", file.path())), url("redis://:secret@a"));
    let file = Scratch::with(b"p");
    let lines = format!(
        "REDIS_USE_SENTINEL=1 REDIS_SENTINELS=a REDIS_SENTINEL_SERVICE_NAME=m \
         REDIS_SENTINEL_PASSWORD_FILE={}",
        file.path()
    );
    assert_eq!(target(&lines), url("redis-sentinel://a/m?sentinel_password=p"));
    let lines = format!(
        "REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a REDIS_CLUSTERS_PASSWORD_FILE={}",
        file.path()
    );
    assert_eq!(target(&lines), url("redis-cluster://:p@a"));
}

#[test]
fn a_file_that_cannot_be_used_is_said() {
    let longest = |end: &str| "x".repeat(LONGEST) + end;
    for (content, about) in [
        (String::new(), "REDIS_PASSWORD_FILE: the file is empty"),
        ("\n".to_owned(), "REDIS_PASSWORD_FILE: the file is empty"),
        ("secret\n\n".to_owned(), "REDIS_PASSWORD_FILE: there is a control character"),
        (longest("x"), "REDIS_PASSWORD_FILE: longer than 4096 bytes"),
        (longest("x\r\n"), "REDIS_PASSWORD_FILE: longer than 4096 bytes"),
        (longest("\r\n\n"), "REDIS_PASSWORD_FILE: longer than 4096 bytes"),
        (longest("\n").repeat(2), "REDIS_PASSWORD_FILE: longer than 4096 bytes"),
    ] {
        let file = Scratch::with(content.as_bytes());
        let error = error(&format!("REDIS_HOST=a REDIS_PASSWORD_FILE={}", file.path()));
        assert!(error.contains(about), "{error}");
    }
    for end in ["", "\n", "\r\n"] {
        let file = Scratch::with(longest(end).as_bytes());
        let target = target(&format!("REDIS_HOST=a REDIS_PASSWORD_FILE={}", file.path()));
        assert_eq!(target.unwrap().login.password, Some(Secret::new(longest(""))));
    }
    let file = Scratch::with(b"secret\xff");
    let lines = format!("REDIS_HOST=a REDIS_PASSWORD_FILE={}", file.path());
    assert!(error(&lines).contains("REDIS_PASSWORD_FILE: not UTF-8"));
    let missing = error("REDIS_HOST=a REDIS_PASSWORD_FILE=/does/not/exist");
    let kind = io::ErrorKind::NotFound;
    assert!(missing.contains(&format!("REDIS_PASSWORD_FILE: {kind}")), "{missing}");
    assert!(!missing.contains("exist"), "{missing}");
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf_8_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let get = |name: &str| (name == "REDIS_URL").then(|| OsString::from_vec(vec![b'a', 0xff]));
    let error = Configured::from_env(get).unwrap_err();
    assert!(error.is_invalid_config(), "{error}");
    assert!(error.to_string().contains("(REDIS_URL: not UTF-8)"), "{error}");
}

#[test]
fn the_log_names_what_was_ignored_and_no_value() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let logged = |lines: &str| {
        let log = Log::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || target(lines));
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("Secret"), "{text}");
        text
    };
    let log = logged(
        "REDIS_URL=redis://:aSecret@a REDIS_HOST=bSecret REDIS_PASSWORD_FILE=cSecret \
         REDIS_USE_SENTINEL=dSecret REDIS_CLUSTERS=eSecret REDIS_TIMEOUT=1 REDIS_PORT=",
    );
    assert!(log.contains("WARN"), "{log}");
    let ignored = ["REDIS_HOST", "REDIS_USE_SENTINEL", "REDIS_PASSWORD_FILE", "REDIS_CLUSTERS"];
    assert!(log.contains(&format!("\"{}\"", ignored.join(", "))), "{log}");
    let log = logged("REDIS_HOST=a REDIS_USE_SENTINEL=false REDIS_SENTINELS=aSecret");
    assert!(log.contains("INFO") && log.contains("\"REDIS_SENTINELS\""), "{log}");
    let log = logged("REDIS_USE_CLUSTERS=true REDIS_CLUSTERS=b REDIS_HOST=aSecret");
    assert!(log.contains("INFO") && log.contains("\"REDIS_HOST\""), "{log}");
    assert_eq!(logged("REDIS_URL=redis://a REDIS_TIMEOUT=1 REDIS_KEY_PREFIX=Secrets"), "");
    assert_eq!(logged("REDIS_HOST=a REDIS_PASSWORD=aSecret"), "");
}
