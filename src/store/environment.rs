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
//! - Settings of a server without any word on where it is are an error as well. The store in
//!   process is for those who set nothing: several processes on it would each count for themselves.
//! - A user name without a password is an error: Redis would not be told the name.
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
use super::target::{Secret, Whose, port};
use super::url::{self, LONGEST, boolean, database, seconds};

/// What the environment says, as far as it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    /// Nothing: the store is in this process.
    pub(crate) target: Option<Target>,
    /// Whether a URL names it.
    by_url: bool,
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
            by_url: !variables.set_among(["REDIS_URL"]).is_empty(),
            prefix: variables
                .parsed("REDIS_KEY_PREFIX", |text| check_prefix(text).map(|()| text.to_owned()))?,
            deadline: variables.parsed("REDIS_TIMEOUT", seconds)?,
            connections: variables.parsed("REDIS_MAX_CONNECTIONS", connections)?,
        })
    }

    /// That whoever the environment names is logged in.
    pub(crate) fn check_users(&self, has_credentials: bool) -> Result<(), StoreError> {
        let Some(target) = &self.target else { return Ok(()) };
        if self.by_url {
            return url::check_users(target, has_credentials)
                .map_err(|why| StoreError::about(Kind::InvalidUrl, format!("REDIS_URL: {why}")));
        }
        let lacks = |user, password| Err(invalid(format!("{user} is set, but {password} is not")));
        match target.without_password(has_credentials) {
            None => Ok(()),
            Some(Whose::Servers) => lacks("REDIS_USERNAME", "REDIS_PASSWORD"),
            Some(Whose::Sentinels) => lacks("REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD"),
        }
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

/// Whatever is configured: a target has what connecting needs, and an error none of what it is
/// about.
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
mod properties;
#[cfg(test)]
mod tests;
