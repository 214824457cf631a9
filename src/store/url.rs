//! What a URL says about where Redis is.
//!
//! The forms are those of [`Form::spelling`]. Everything else is an error: what was meant and is
//! not done, a misspelt `timeout` or a second login, would show much later and elsewhere. No part of
//! a URL is ever in an error, because any part can turn out to be one of a password.

use std::time::Duration;

use super::StoreError;
use super::error::Kind;
use super::target::{Address, HostPort, Login, REDIS_PORT, SENTINEL_PORT, Secret, Target};
use super::target::{Tls, Topology, Whose};

/// Longer is no URL but a mistake.
pub(super) const LONGEST: usize = 4096;

/// The longest that something on a network is waited for.
pub(super) const LONGEST_TIME: Duration = Duration::from_secs(3600);

/// What is wrong, in words of ours alone.
type Wrong = &'static str;

impl Target {
    /// Reads a URL; connects to nothing. [In process](is_in_process) is no target.
    pub(crate) fn from_url(url: &str) -> Result<Target, StoreError> {
        read(url).map_err(|why| StoreError::about(Kind::InvalidUrl, why))
    }
}

/// That whoever a URL names is logged in.
pub(super) fn check_users(target: &Target, has_credentials: bool) -> Result<(), Wrong> {
    match target.without_password(has_credentials) {
        None => Ok(()),
        Some(Whose::Servers) => {
            Err("the user has no password, and would not be logged in; one who \
                                     needs none is given any")
        }
        Some(Whose::Sentinels) => Err("there is a sentinel_user, but no sentinel_password"),
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
    let sensible = Duration::from_millis(1)..=LONGEST_TIME;
    time.filter(|time| sensible.contains(time)).ok_or("a time is in seconds, from 0.001 to 3600")
}

pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// Whatever is configured: a target has what connecting needs, and an error none of what it is
/// about.
#[cfg(fuzzing)]
pub(crate) fn fuzz(url: &str) {
    match read(url) {
        Ok(target) => target.check(),
        // Every error is one of ours.
        Err(why) => assert!(why.len() < 600 && why.is_ascii(), "{why}"),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
