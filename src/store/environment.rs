//! What the environment says about where Redis is.
//!
//! `REDIS_URL` says all of it and wins. Without it, one of these does:
//!
//! | variables | Redis is |
//! |---|---|
//! | `REDIS_USE_SENTINEL=true`, `REDIS_SENTINELS`, `REDIS_SENTINEL_SERVICE_NAME` | behind Sentinels |
//! | `REDIS_USE_CLUSTERS=true`, `REDIS_CLUSTERS` | a cluster |
//! | `REDIS_HOST` | one server |
//! | none | not there: the store is in this process |
//!
//! # Files full of defaults
//! Many services come with a file that gives every variable a value: `REDIS_HOST=redis` and
//! `REDIS_PORT=6379` beside Sentinels, `REDIS_USE_SENTINEL=false` beside a service's name, and most
//! of them empty. Who sets `REDIS_USE_SENTINEL=true` there expects the host to be left alone. So:
//! - An empty value is no value.
//! - A switch decides, and what speaks of a way that was not taken is ignored: host and port when
//!   Sentinels or a cluster are on, the variables of Sentinels and clusters when they are off. The
//!   log names them. Ignored variables may hold anything, and ignored files are not read.
//! - But where the switch is not set at all, `REDIS_SENTINELS` and `REDIS_CLUSTERS` are an error:
//!   somebody meant them, and would not notice that they do nothing.
//! - Settings of a server without any word on where it is are an error as well. The store in process
//!   is for those who set nothing: several processes on it would each count for themselves.
//! - `REDIS_PORT=tcp://…` is no value. Kubernetes puts it there when a service is called `redis`.
//!
//! # Files of secrets
//! Every variable can be the name of a file, with `_FILE` after its own: `REDIS_PASSWORD_FILE`. An
//! empty file is an error, as what it should have held is missing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use super::StoreError;
use super::builder::check_prefix;
use super::error::Kind;
use super::target::{Address, HostPort, Login, REDIS_PORT, SENTINEL_PORT, Target, Tls, Topology};
use super::target::{Secret, port};
use super::url::{self, LONGEST, boolean, database, seconds};

/// What the environment says, as far as it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    /// Nothing: the store is in this process.
    pub(crate) target: Option<Target>,
    pub(crate) prefix: Option<String>,
    pub(crate) deadline: Option<Duration>,
    /// From 1 to 64.
    pub(crate) connections: Option<usize>,
}

impl Configured {
    /// Asks `get` for variables, and reads the files that they name.
    pub(crate) fn from_env(
        get: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Configured, StoreError> {
        let variables = Variables { get };
        Ok(Configured {
            target: variables.target()?,
            prefix: variables
                .parsed("REDIS_KEY_PREFIX", |text| check_prefix(text).map(|()| text.to_owned()))?,
            deadline: variables.parsed("REDIS_TIMEOUT", seconds)?,
            connections: variables.parsed("REDIS_MAX_CONNECTIONS", connections)?,
        })
    }
}

/// What a single server is described with, but for its host.
const SERVER: [&str; 5] =
    ["REDIS_PORT", "REDIS_DB", "REDIS_DATABASE", "REDIS_USERNAME", "REDIS_PASSWORD"];

/// A topology that is switched on, and what speaks of it alone.
struct Topic {
    switch: &'static str,
    nodes: &'static str,
    more: &'static [&'static str],
}

const SENTINEL: Topic = Topic {
    switch: "REDIS_USE_SENTINEL",
    nodes: "REDIS_SENTINELS",
    more: &[
        "REDIS_SENTINEL_SERVICE_NAME",
        "REDIS_SENTINEL_USERNAME",
        "REDIS_SENTINEL_PASSWORD",
        "REDIS_SENTINEL_SOCKET_TIMEOUT",
    ],
};

const CLUSTERS: Topic = Topic {
    switch: "REDIS_USE_CLUSTERS",
    nodes: "REDIS_CLUSTERS",
    more: &["REDIS_CLUSTERS_PASSWORD"],
};

impl Topic {
    fn all(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.nodes].into_iter().chain(self.more.iter().copied())
    }
}

struct Variables<G> {
    get: G,
}

/// A value, and the name of the variable that it came by.
struct Found {
    name: String,
    text: String,
}

impl<G: Fn(&str) -> Option<OsString>> Variables<G> {
    fn target(&self) -> Result<Option<Target>, StoreError> {
        if let Some(found) = self.find("REDIS_URL")? {
            let switches = ["REDIS_HOST", "REDIS_USE_SSL", SENTINEL.switch, CLUSTERS.switch];
            let rest = switches.into_iter().chain(SERVER).chain(SENTINEL.all());
            let ignored = self.set_among(rest.chain(CLUSTERS.all()));
            if !ignored.is_empty() {
                tracing::warn!(ignored = ignored.join(", "), "REDIS_URL wins over other variables");
            }
            return from_url(&found);
        }
        let (sentinel, clusters) = (self.switch(&SENTINEL)?, self.switch(&CLUSTERS)?);
        match (sentinel == Some(true), clusters == Some(true)) {
            (true, true) => {
                Err(invalid("REDIS_USE_SENTINEL and REDIS_USE_CLUSTERS are both on".to_owned()))
            }
            (true, false) => self.behind_sentinels().map(Some),
            (false, true) => self.cluster().map(Some),
            (false, false) => self.server(sentinel, clusters),
        }
    }

    fn behind_sentinels(&self) -> Result<Target, StoreError> {
        self.log_ignored(["REDIS_HOST", "REDIS_PORT"].into_iter().chain(CLUSTERS.all()));
        let hosts = |text: &str| hosts(text, SENTINEL_PORT);
        let missing = |name| invalid(format!("REDIS_USE_SENTINEL is on, but {name} is not set"));
        let topology = Topology::Sentinel {
            sentinels: self
                .parsed(SENTINEL.nodes, hosts)?
                .ok_or_else(|| missing(SENTINEL.nodes))?,
            service: self
                .text("REDIS_SENTINEL_SERVICE_NAME")?
                .ok_or_else(|| missing("REDIS_SENTINEL_SERVICE_NAME"))?,
            login: self.login("REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD")?,
            timeout: self.parsed("REDIS_SENTINEL_SOCKET_TIMEOUT", seconds)?,
        };
        let login = self.login("REDIS_USERNAME", "REDIS_PASSWORD")?;
        let database = self.database()?.map_or(0, |(_, number)| number);
        Ok(Target { topology, login, database, tls: self.tls()?, resp3: false })
    }

    fn cluster(&self) -> Result<Target, StoreError> {
        self.log_ignored(["REDIS_HOST", "REDIS_PORT"].into_iter().chain(SENTINEL.all()));
        let seeds =
            self.parsed(CLUSTERS.nodes, |text| hosts(text, REDIS_PORT))?.ok_or_else(|| {
                invalid("REDIS_USE_CLUSTERS is on, but REDIS_CLUSTERS is not set".to_owned())
            })?;
        if let Some((name, 1..)) = self.database()? {
            return Err(invalid(format!(
                "{name} is not 0, but REDIS_USE_CLUSTERS is on, and a cluster has no other"
            )));
        }
        let mut login = self.login("REDIS_USERNAME", "REDIS_PASSWORD")?;
        if let Some(password) = self.text("REDIS_CLUSTERS_PASSWORD")?.map(Secret::new) {
            if login.password.is_some_and(|other| other != password) {
                return Err(invalid(
                    "REDIS_CLUSTERS_PASSWORD and REDIS_PASSWORD differ; set one of them".to_owned(),
                ));
            }
            login.password = Some(password);
        }
        let topology = Topology::Cluster { seeds, read_from_replicas: false };
        Ok(Target { topology, login, database: 0, tls: self.tls()?, resp3: false })
    }

    fn server(
        &self,
        sentinel: Option<bool>,
        clusters: Option<bool>,
    ) -> Result<Option<Target>, StoreError> {
        let tls = self.tls()?;
        let Some(host) = self.find("REDIS_HOST")? else {
            let mut without_place = self.set_among(SERVER);
            without_place.extend(tls.map(|_| "REDIS_USE_SSL".to_owned()));
            for (topic, switch) in [(SENTINEL, sentinel), (CLUSTERS, clusters)] {
                match switch {
                    Some(_) => self.log_ignored(topic.all()),
                    None => without_place.extend(self.set_among(topic.all())),
                }
            }
            if without_place.is_empty() {
                return Ok(None);
            }
            let names = without_place.join(", ");
            return Err(invalid(format!(
                "there is {names}, but nothing says where Redis is; set REDIS_HOST or REDIS_URL"
            )));
        };
        self.log_ignored(SENTINEL.all().chain(CLUSTERS.all()));
        let port = self.parsed("REDIS_PORT", port)?.unwrap_or(REDIS_PORT);
        let place = HostPort::new(&host.text, port).map_err(|why| {
            let elsewhere = "a port belongs into REDIS_PORT, and a URL into REDIS_URL";
            invalid(format!("{}: {why}; {elsewhere}", host.name))
        })?;
        let topology = Topology::Standalone(Address::Tcp(place));
        let login = self.login("REDIS_USERNAME", "REDIS_PASSWORD")?;
        let database = self.database()?.map_or(0, |(_, number)| number);
        Ok(Some(Target { topology, login, database, tls, resp3: false }))
    }

    /// Whether a topology is on, or off, or nobody has decided.
    fn switch(&self, topic: &Topic) -> Result<Option<bool>, StoreError> {
        let switch = self.parsed(topic.switch, boolean)?;
        match self.set_among([topic.nodes]).first() {
            Some(nodes) if switch.is_none() => Err(invalid(format!(
                "{nodes} is set, but {} is not; make it true or false",
                topic.switch
            ))),
            _ => Ok(switch),
        }
    }

    fn login(&self, username: &str, password: &str) -> Result<Login, StoreError> {
        let (username, password) = (self.text(username)?, self.text(password)?);
        Ok(Login { username, password: password.map(Secret::new) })
    }

    /// The database, and the variable that names it.
    fn database(&self) -> Result<Option<(&'static str, u32)>, StoreError> {
        let [long, short] = ["REDIS_DATABASE", "REDIS_DB"].map(|name| {
            let number = self.parsed(name, database);
            number.map(|number| number.map(|number| (name, number)))
        });
        match (long?, short?) {
            (Some((_, long)), Some((_, short))) if long != short => {
                Err(invalid("REDIS_DB and REDIS_DATABASE differ".to_owned()))
            }
            (long, short) => Ok(short.or(long)),
        }
    }

    fn tls(&self) -> Result<Option<Tls>, StoreError> {
        let tls = self.parsed("REDIS_USE_SSL", boolean)?.unwrap_or(false);
        Ok(tls.then_some(Tls { insecure: false }))
    }

    fn log_ignored(&self, names: impl IntoIterator<Item = &'static str>) {
        let ignored = self.set_among(names);
        if !ignored.is_empty() {
            tracing::info!(ignored = ignored.join(", "), "not needed to find Redis");
        }
    }

    /// Those that are set, themselves or as files. Reads none of them.
    fn set_among(&self, names: impl IntoIterator<Item = &'static str>) -> Vec<String> {
        let forms = names.into_iter().flat_map(|name| [name.to_owned(), file_form(name)]);
        forms.filter(|form| self.value(form).is_some()).collect()
    }

    fn value(&self, name: &str) -> Option<OsString> {
        let value = (self.get)(name).filter(|value| !value.is_empty())?;
        let of_kubernetes = name == "REDIS_PORT" && value.to_string_lossy().starts_with("tcp://");
        (!of_kubernetes).then_some(value)
    }

    /// What a variable, or the file that it names, holds.
    fn find(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let file = file_form(name);
        let (name, bytes) = match (self.value(name), self.value(&file)) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(invalid(format!("{name} and {file} are both set"))),
            (Some(value), None) => (name.to_owned(), value.into_encoded_bytes()),
            (None, Some(path)) => match content(&path) {
                Ok(content) => (file, content),
                Err(error) => return Err(invalid(format!("{file}: {}", error.kind()))),
            },
        };
        let wrong = |why| Err(invalid(format!("{name}: {why}")));
        if bytes.is_empty() {
            return wrong("the file is empty");
        }
        if bytes.len() > LONGEST {
            return wrong("longer than 4096 bytes");
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return wrong("not UTF-8");
        };
        if text.chars().any(char::is_control) {
            return wrong("there is a control character in it, perhaps a line's end");
        }
        Ok(Some(Found { name, text }))
    }

    fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.find(name)?.map(|found| found.text))
    }

    /// A value as what it means; `parse` says why it cannot be that.
    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, StoreError> {
        let Some(Found { name, text }) = self.find(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|why| invalid(format!("{name}: {why}")))
    }
}

fn invalid(why: String) -> StoreError {
    StoreError::about(Kind::InvalidConfig, why)
}

fn file_form(name: &str) -> String {
    format!("{name}_FILE")
}

/// A URL's own errors, with the variable's name before them.
fn from_url(found: &Found) -> Result<Option<Target>, StoreError> {
    if url::is_in_process(&found.text)? {
        return Ok(None);
    }
    let invalid = |why| StoreError::about(Kind::InvalidUrl, format!("{}: {why}", found.name));
    url::read(&found.text).map(Some).map_err(invalid)
}

/// Reads a file once, without its last line's end, and little more of it than is allowed: it could
/// be any file, even one without end.
fn content(path: &OsStr) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LONGEST as u64 + 3).read_to_end(&mut content)?;
    if content.pop_if(|last| *last == b'\n').is_some() {
        content.pop_if(|last| *last == b'\r');
    }
    Ok(content)
}

fn hosts(text: &str, default_port: u16) -> Result<Vec<HostPort>, &'static str> {
    text.split(',').map(|host| HostPort::parse(host.trim_matches(' '), default_port)).collect()
}

fn connections(text: &str) -> Result<usize, &'static str> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=64).contains(number));
    number.ok_or("as connections are shared, a number from 1 to 64 is enough")
}

/// Whatever is configured: a target has what connecting needs, and an error none of what it is about.
#[cfg(fuzzing)]
pub(crate) fn fuzz(get: impl Fn(&str) -> Option<OsString>) {
    match Configured::from_env(get) {
        Ok(configured) => {
            if let Some(target) = configured.target {
                target.check();
            }
            assert!(configured.connections.is_none_or(|it| (1..=64).contains(&it)));
            assert!(configured.deadline.is_none_or(|it| !it.is_zero()));
            assert!(configured.prefix.is_none_or(|it| check_prefix(&it).is_ok()));
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

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
        let nothing = Configured { target: None, prefix: None, deadline: None, connections: None };
        assert_eq!(configured(""), Ok(nothing.clone()));
        for lines in [
            "REDIS_URL= REDIS_HOST= REDIS_PASSWORD= REDIS_PORT_FILE= REDIS_TIMEOUT=",
            "REDIS_URL=memory:",
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
            (
                "REDIS_USE_CLUSTERS=1 REDIS_CLUSTERS=a REDIS_CLUSTERS_PASSWORD=p",
                "redis-cluster://:p@a",
            ),
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

    /// Any of the variables, with a value that often fits.
    fn variables() -> impl Strategy<Value = HashMap<&'static str, String>> {
        const NAMES: [&str; 20] = [
            "REDIS_URL",
            "REDIS_HOST",
            "REDIS_PORT",
            "REDIS_DB",
            "REDIS_DATABASE",
            "REDIS_USERNAME",
            "REDIS_PASSWORD",
            "REDIS_USE_SSL",
            "REDIS_TIMEOUT",
            "REDIS_MAX_CONNECTIONS",
            "REDIS_USE_SENTINEL",
            "REDIS_SENTINELS",
            "REDIS_SENTINEL_SERVICE_NAME",
            "REDIS_SENTINEL_PASSWORD",
            "REDIS_SENTINEL_SOCKET_TIMEOUT",
            "REDIS_USE_CLUSTERS",
            "REDIS_CLUSTERS",
            "REDIS_CLUSTERS_PASSWORD",
            "REDIS_KEY_PREFIX",
            "REDIS_PASSWORD_FILE",
        ];
        let value = prop_oneof![
            3 => "(true|false|1|0)",
            1 => "[A-Z]{4}[a-z]{4}",
            1 => "(redis://:)?[A-Z]{4}[a-z]{4}(@a)?(:1)?",
            1 => "\\PC{0,9}",
            1 => ".{0,9}",
        ];
        prop::collection::hash_map(prop::sample::select(&NAMES[..]), value, 0..9)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn any_environment_is_read_and_no_error_holds_a_value(variables in variables()) {
            let get = |name: &str| variables.get(name).map(OsString::from);
            let Err(error) = Configured::from_env(get) else { return Ok(()) };
            let text = format!("{error} {error:?}");
            for value in variables.values() {
                for word in value.split(|c: char| !c.is_ascii_alphabetic()) {
                    let telling = word.len() >= 8;
                    prop_assert!(!telling || !text.contains(word), "{}: {}", word, text);
                }
            }
        }

        #[test]
        fn any_password_is_taken_as_it_is(password in "\\PC{1,40}") {
            let get = |name: &str| match name {
                "REDIS_HOST" => Some("redis".into()),
                "REDIS_PASSWORD" => Some(password.as_str().into()),
                _ => None,
            };
            let target = Configured::from_env(get).unwrap().target.unwrap();
            prop_assert_eq!(target.login.password.as_ref().map(Secret::expose), Some(&*password));
        }
    }
}
