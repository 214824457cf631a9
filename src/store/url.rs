//! What a URL says about where Redis is.
//!
//! The forms are those of [`Form::spelling`]. Everything else is an error: what was meant and is
//! not done, a misspelt `timeout` or a second login, would show much later and elsewhere. No part of
//! a URL is ever in an error, because any part can turn out to be one of a password.

use std::time::Duration;

use super::StoreError;
use super::error::Kind;
use super::target::{Address, HostPort, Login, REDIS_PORT, SENTINEL_PORT, Secret, Target};
use super::target::{Tls, Topology};

/// Longer is no URL but a mistake.
pub(super) const LONGEST: usize = 4096;

/// What is wrong, in words of ours alone.
type Wrong = &'static str;

impl Target {
    /// Reads a URL; connects to nothing. [In process](is_in_process) is no target.
    pub(crate) fn from_url(url: &str) -> Result<Target, StoreError> {
        read(url).map_err(|why| StoreError::about(Kind::InvalidUrl, why))
    }
}

/// `memory:` is the store in this process: no target.
pub(super) fn is_in_process(url: &str) -> Result<bool, StoreError> {
    match url.strip_prefix("memory:") {
        Some("") => Ok(true),
        Some(_) => Err(StoreError::about(Kind::InvalidUrl, "memory: takes nothing after it")),
        None => Ok(false),
    }
}

/// The kinds of URL, by their scheme.
#[derive(Clone, Copy)]
enum Form {
    Standalone,
    Unix,
    Sentinel,
    Cluster,
}

impl Form {
    /// The kind of URL, and whether it asks for TLS.
    fn of(scheme: &str) -> Option<(Form, bool)> {
        Some(match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => (Form::Standalone, false),
            "rediss" | "valkeys" => (Form::Standalone, true),
            "unix" | "redis+unix" | "valkey+unix" => (Form::Unix, false),
            "redis-sentinel" | "redis+sentinel" | "valkey-sentinel" | "valkey+sentinel" => {
                (Form::Sentinel, false)
            }
            "rediss-sentinel" | "rediss+sentinel" | "valkeys-sentinel" | "valkeys+sentinel" => {
                (Form::Sentinel, true)
            }
            "redis-cluster" | "redis+cluster" | "valkey-cluster" | "valkey+cluster" => {
                (Form::Cluster, false)
            }
            "rediss-cluster" | "rediss+cluster" | "valkeys-cluster" | "valkeys+cluster" => {
                (Form::Cluster, true)
            }
            _ => return None,
        })
    }

    fn spelling(self) -> &'static str {
        match self {
            Form::Standalone => {
                "redis://[user:password@]host[:port][/database][?protocol=resp3], or rediss:// \
                 for TLS"
            }
            Form::Unix => {
                "unix:///path/to/socket[?db=database&user=user&pass=password&protocol=resp3]"
            }
            Form::Sentinel => {
                "redis-sentinel://[user:password@]host[:port][,host[:port]...]/service[/database]\
                 [?sentinel_user=user&sentinel_password=password&timeout=seconds&protocol=resp3], \
                 or rediss-sentinel:// for TLS"
            }
            Form::Cluster => {
                "redis-cluster://[user:password@]host[:port][,host[:port]...]\
                 [?read_from_replicas=true&protocol=resp3], or rediss-cluster:// for TLS"
            }
        }
    }
}

/// As [`Target::from_url`], for who has more to say about the error.
pub(super) fn read(url: &str) -> Result<Target, String> {
    if url.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    if url.chars().any(char::is_control) {
        return Err("it has a control character, perhaps a line's end".to_owned());
    }
    if url.trim() != url {
        return Err("it begins or ends with a blank".to_owned());
    }
    let scheme = url.split_once(':').and_then(|(scheme, rest)| Some((Form::of(scheme)?, rest)));
    let Some(((form, tls), rest)) = scheme else {
        return Err("its scheme is unknown; write memory:, redis://host, rediss://host for TLS, \
                    unix:///path/to/socket, redis-sentinel://host/service or redis-cluster://host"
            .to_owned());
    };
    let target = Parts::of(rest).and_then(|parts| {
        let stray = parts.has_stray_at(form);
        let wrong = |wrong| if stray { ENCODE } else { wrong };
        parts.target(form, tls).map_err(wrong)
    });
    target.map_err(|wrong| format!("{wrong}; write {}", form.spelling()))
}

const ENCODE: Wrong = "a / ? or # in the user or password, perhaps: there, / ? # @ % are written \
                       %2F %3F %23 %40 %25";

/// What follows `scheme:`, cut apart and not decoded.
struct Parts<'a> {
    /// After `//`.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Parts<'a>, Wrong> {
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        if query.is_some_and(|query| query.contains('?')) {
            return Err("there is a second ?, where & belongs or %3F");
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Ok(Parts { authority, path, query, fragment })
    }

    /// Whether an `@` follows where it no longer ends a login: its password was cut in two.
    fn has_stray_at(&self, form: Form) -> bool {
        // Where a query holds texts, an @ is nothing strange.
        let query = self.query.filter(|_| !matches!(form, Form::Sentinel));
        let parts = [Some(self.path), query, self.fragment];
        let stray = parts.into_iter().flatten().any(|part| part.contains('@'));
        let early = self.authority.is_some_and(|authority| authority.contains('@'));
        stray && !early && !matches!(form, Form::Unix)
    }

    fn target(self, form: Form, tls: bool) -> Result<Target, Wrong> {
        let mut query = Query::parse(self.query)?;
        let tls = match (self.fragment, tls) {
            (None, tls) => tls.then_some(Tls { insecure: false }),
            (Some("insecure"), true) => Some(Tls { insecure: true }),
            (Some("insecure"), false) => return Err("#insecure means nothing without TLS"),
            (Some(_), _) => return Err("a fragment other than #insecure means nothing"),
        };
        let resp3 = match query.take("protocol") {
            None | Some("2" | "resp2") => false,
            Some("3" | "resp3") => true,
            Some(_) => return Err("the protocol is neither resp2 nor resp3"),
        };
        let (topology, login, database) = match form {
            Form::Standalone => self.standalone()?,
            Form::Unix => self.unix(&mut query)?,
            Form::Sentinel => self.sentinel(&mut query)?,
            Form::Cluster => self.cluster(&mut query)?,
        };
        query.finish()?;
        Ok(Target { topology, login, database, tls, resp3 })
    }

    fn standalone(&self) -> Result<(Topology, Login, u32), Wrong> {
        // A password with an @ in it has always been read up to the last.
        let (login, host) = self.authority()?;
        if host.contains(',') {
            return Err("several hosts are a redis-sentinel:// or a redis-cluster://");
        }
        let place = HostPort::parse(host, REDIS_PORT)?;
        let database = match self.path.trim_matches('/') {
            "" => 0,
            digits => database(digits)?,
        };
        Ok((Topology::Standalone(Address::Tcp(place)), login, database))
    }

    fn unix(&self, query: &mut Query<'_>) -> Result<(Topology, Login, u32), Wrong> {
        match self.authority {
            None | Some("" | "localhost") => {}
            Some(authority) if authority.contains('@') => {
                return Err("a unix socket's user and password belong into the query");
            }
            Some(_) => return Err("a socket's path begins with a slash, after two others"),
        }
        if !self.path.starts_with('/') || self.path.bytes().all(|byte| byte == b'/') {
            return Err("the socket's path is missing");
        }
        let path = decode(self.path)?;
        let login = Login::of(query.text("user")?, query.text("pass")?);
        let database = query.take("db").map_or(Ok(0), database)?;
        Ok((Topology::Standalone(Address::Unix(path.into())), login, database))
    }

    fn sentinel(&self, query: &mut Query<'_>) -> Result<(Topology, Login, u32), Wrong> {
        let (login, sentinels) = self.login_and_hosts(SENTINEL_PORT)?;
        let path = self.path.strip_prefix('/').unwrap_or_default();
        let (service, number) = cut(path, '/');
        if service.is_empty() {
            return Err("the service's name is missing");
        }
        if service.contains('@') {
            return Err(ENCODE);
        }
        let database = match number {
            None | Some("") => 0,
            Some(digits) => database(digits)?,
        };
        let topology = Topology::Sentinel {
            sentinels,
            service: decode(service)?,
            login: Login::of(query.text("sentinel_user")?, query.text("sentinel_password")?),
            timeout: query.take("timeout").map(seconds).transpose()?,
        };
        Ok((topology, login, database))
    }

    fn cluster(&self, query: &mut Query<'_>) -> Result<(Topology, Login, u32), Wrong> {
        let (login, seeds) = self.login_and_hosts(REDIS_PORT)?;
        if !matches!(self.path, "" | "/" | "/0") {
            return Err("a cluster has no database but 0");
        }
        let read_from_replicas = query.take("read_from_replicas").map_or(Ok(false), boolean)?;
        Ok((Topology::Cluster { seeds, read_from_replicas }, login, 0))
    }

    fn login_and_hosts(&self, default_port: u16) -> Result<(Login, Vec<HostPort>), Wrong> {
        let (login, hosts) = self.authority()?;
        if self.authority.is_some_and(|authority| authority.matches('@').count() > 1) {
            return Err("there is a second @: one login is for all hosts, and an @ in it is %40");
        }
        let hosts = hosts.split(',').map(|host| HostPort::parse(host, default_port));
        Ok((login, hosts.collect::<Result<_, _>>()?))
    }

    /// The login, and the host or hosts.
    fn authority(&self) -> Result<(Login, &'a str), Wrong> {
        let authority = self.authority.ok_or("// is missing after the scheme")?;
        let Some((login, hosts)) = authority.rsplit_once('@') else {
            return Ok((Login::default(), authority));
        };
        let (username, password) = cut(login, ':');
        let login = Login::of(decode(username)?, decode(password.unwrap_or_default())?);
        Ok((login, hosts))
    }
}

impl Login {
    /// Empty is none.
    pub(super) fn of(username: String, password: String) -> Login {
        Login {
            username: Some(username).filter(|username| !username.is_empty()),
            password: Some(password).filter(|password| !password.is_empty()).map(Secret::new),
        }
    }
}

/// The query's pairs, taken out by name: what is left over is what nobody knows.
struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    fn parse(text: Option<&'a str>) -> Result<Query<'a>, Wrong> {
        let mut query = Query(Vec::new());
        for pair in text.filter(|text| !text.is_empty()).into_iter().flat_map(|it| it.split('&')) {
            let (name, value) = pair.split_once('=').ok_or("the query has a part without a =")?;
            if query.0.len() == MOST_PAIRS {
                return Err(UNKNOWN);
            }
            if query.0.iter().any(|(known, _)| *known == name) {
                return Err("the query says something twice");
            }
            query.0.push((name, value));
        }
        Ok(query)
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let position = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.swap_remove(position).1)
    }

    /// A decoded value, or nothing.
    fn text(&mut self, name: &str) -> Result<String, Wrong> {
        let text = self.take(name).unwrap_or_default();
        // A blank to some readers and a plus to others.
        if text.contains('+') {
            return Err("in the query, a + is written %2B and a blank %20");
        }
        decode(text)
    }

    fn finish(self) -> Result<(), Wrong> {
        if self.0.is_empty() { Ok(()) } else { Err(UNKNOWN) }
    }
}

const UNKNOWN: Wrong = "the query has a name that means nothing here";

/// No form knows as many names, and looking for one in many takes its time.
const MOST_PAIRS: usize = 8;

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Percent-decodes (RFC 3986, 2.1).
fn decode(text: &str) -> Result<String, Wrong> {
    const PERCENT: Wrong = "two hexadecimal digits follow a %, and a % itself is written %25";
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit().ok_or(PERCENT)?, digit().ok_or(PERCENT)?);
            (high * 16 + low) as u8
        } else {
            byte
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| "what is percent-encoded is no UTF-8")?;
    if decoded.chars().any(char::is_control) {
        return Err("a control character is percent-encoded");
    }
    Ok(decoded)
}

/// A database's number. Digits alone: `parse` would take a sign.
pub(super) fn database(text: &str) -> Result<u32, Wrong> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or("a database is a number, 0 or more")
}

/// A length of time that something on a network may take.
pub(super) fn seconds(text: &str) -> Result<Duration, Wrong> {
    // `parse` knows infinities and exponents as well.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse().ok().filter(|_| plain);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // Who writes 5000 means milliseconds.
    let sensible = Duration::from_millis(1)..=Duration::from_secs(3600);
    time.filter(|time| sensible.contains(time)).ok_or("a time is in seconds, from 0.001 to 3600")
}

pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// Whatever is configured: a target has what connecting needs, and an error none of what it is about.
#[cfg(fuzzing)]
pub(crate) fn fuzz(url: &str) {
    match read(url) {
        Ok(target) => target.check(),
        // Every error is one of ours.
        Err(why) => assert!(why.len() < 600 && why.is_ascii(), "{why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;
    use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion};

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

    fn login(username: &str, password: &str) -> Login {
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

    /// The URL of a target, with as much percent-encoding as there can be.
    fn spell(target: &Target) -> String {
        let encode = |text: &str| text.bytes().fold(String::new(), |text, it| text + &code(it));
        let text = |text: &Option<String>| encode(text.as_deref().unwrap_or_default());
        let secret = |secret: &Option<Secret>| encode(secret.as_ref().map_or("", Secret::expose));
        let list = |hosts: &[HostPort]| {
            hosts.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
        };
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
}
