//! Where Redis is and how to log in, as values: what `url` reads and `environment` gathers, and
//! what connecting starts from.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Where Redis is and how to log in: what a URL or the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) topology: Topology,
    /// Of the servers that hold the data; Sentinels have their own.
    pub(crate) login: Login,
    /// Always 0 on a cluster.
    pub(crate) database: u32,
    /// On every connection, those to Sentinels as well. Never on a unix socket.
    pub(crate) tls: Option<Tls>,
    pub(crate) resp3: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Standalone(Address),
    Sentinel {
        /// One at least.
        sentinels: Vec<HostPort>,
        /// What the Sentinels call the group of servers, often `mymaster`.
        service: String,
        login: Login,
        /// For one question to one Sentinel.
        timeout: Option<Duration>,
    },
    Cluster {
        /// One at least; the others are asked for.
        seeds: Vec<HostPort>,
        read_from_replicas: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(HostPort),
    Unix(PathBuf),
}

/// A host's name or address, without the brackets of IPv6, and a port other than 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Neither is ever the empty string. With a user name alone, the password is still missing: see
/// [`Target::without_password`].
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Whoever answers is believed to be the server: `#insecure` in the URL.
    pub(crate) insecure: bool,
}

/// A password: compared without telling where it differs, and never printed.
#[derive(Clone, Eq)]
pub(crate) struct Secret(Box<str>);

/// Where none is given.
pub(super) const REDIS_PORT: u16 = 6379;
pub(super) const SENTINEL_PORT: u16 = 26379;

const BRACKETS: &str = "an IPv6 address is written [in brackets], and at most :port follows a host";

impl HostPort {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`; says what is wrong, and nothing
    /// of what it was given.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<HostPort, &'static str> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(BRACKETS)?;
                (ipv6(address)?, rest)
            }
            None if text.matches(':').count() > 1 => return Err(BRACKETS),
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (name_or_ipv4(name)?, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => port(digits)?,
            None if rest.is_empty() => default_port,
            None => return Err(BRACKETS),
        };
        Ok(HostPort { host, port })
    }

    /// A host that is given apart from its port: IPv6 may be in brackets.
    pub(super) fn new(host: &str, port: u16) -> Result<HostPort, &'static str> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => ipv6(address)?,
            None if host.contains(':') => ipv6(host)?,
            None => name_or_ipv4(host)?,
        };
        Ok(HostPort { host, port })
    }
}

/// Whose log-in it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Servers,
    Sentinels,
}

impl Target {
    /// Whose user would not be logged in, because a name goes to a server with a password alone:
    /// everything would be done as `default`, with all its rights, unless that is who was meant.
    /// `credentials` come in the place of the servers' log-in.
    pub(super) fn without_password(&self, has_credentials: bool) -> Option<Whose> {
        let lacks = |login: &Login| {
            let is_another = login.username.as_deref().is_some_and(|name| name != "default");
            is_another && login.password.is_none()
        };
        match &self.topology {
            _ if !has_credentials && lacks(&self.login) => Some(Whose::Servers),
            Topology::Sentinel { login, .. } if lacks(login) => Some(Whose::Sentinels),
            _ => None,
        }
    }
}

/// What everybody relies on who connects.
#[cfg(fuzzing)]
impl Target {
    pub(super) fn check(&self) {
        let place = |place: &HostPort| {
            assert!(!place.host.is_empty() && place.port != 0);
            // As it is spelled, it is read.
            assert_eq!(HostPort::parse(&place.to_string(), 1).as_ref(), Ok(place));
        };
        let login = |login: &Login| {
            assert!(login.username.as_ref().is_none_or(|name| !name.is_empty()));
            assert!(login.password.as_ref().is_none_or(|it| !it.expose().is_empty()));
        };
        login(&self.login);
        match &self.topology {
            Topology::Standalone(Address::Tcp(it)) => place(it),
            Topology::Standalone(Address::Unix(path)) => assert!(path.is_absolute()),
            Topology::Sentinel { sentinels, service, login: of_sentinels, .. } => {
                assert!(!sentinels.is_empty() && !service.is_empty());
                sentinels.iter().for_each(place);
                login(of_sentinels);
            }
            Topology::Cluster { seeds, .. } => {
                assert!(!seeds.is_empty() && self.database == 0);
                seeds.iter().for_each(place);
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(place) => place.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Secret {
    pub(super) fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Takes as long for a password that differs in the first letter as for one that differs in the
/// last. Lengths are no secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        let pairs = self.0.bytes().zip(other.0.bytes());
        // Or the compiler could stop at the first difference.
        let difference = pairs.fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
        self.0.len() == other.0.len() && difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Without the user name too: who forgets the colon writes a password there.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username.as_ref().map(|_| format_args!("…")))
            .field("password", &self.password)
            .finish()
    }
}

/// A port's number. Digits alone: `parse` would take a sign.
pub(super) fn port(text: &str) -> Result<u16, &'static str> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|&port| digits && port != 0);
    port.ok_or("a port is a number from 1 to 65535")
}

fn name_or_ipv4(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("a host is missing");
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("a host is letters, digits and any of - . _, or an IPv6 address");
    }
    // It is what a server listens on; where a client would end up depends on the system.
    if text == "0.0.0.0" {
        return Err(UNSPECIFIED);
    }
    Ok(text.to_owned())
}

fn ipv6(text: &str) -> Result<String, &'static str> {
    let address: Ipv6Addr = text.parse().map_err(|_| "the IPv6 address cannot be read")?;
    if address.is_unspecified() {
        return Err(UNSPECIFIED);
    }
    Ok(address.to_string())
}

const UNSPECIFIED: &str = "0.0.0.0 and :: are no address to connect to";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        HostPort::parse(text, 7).map(|place| place.to_string())
    }

    #[test]
    fn a_place_is_a_host_and_perhaps_a_port() {
        for (text, place) in [
            ("redis", "redis:7"),
            ("redis:6380", "redis:6380"),
            ("redis-1.my_net.internal:65535", "redis-1.my_net.internal:65535"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]", "[::1]:7"),
            ("[0:0::1]:6380", "[::1]:6380"),
            ("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:1"),
            ("Redis:007", "Redis:7"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(place), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_said() {
        for (text, about) in [
            ("", "missing"),
            (":6379", "missing"),
            ("redis:", "1 to 65535"),
            ("redis:0", "1 to 65535"),
            ("redis:65536", "1 to 65535"),
            ("redis:+1", "1 to 65535"),
            ("redis:port", "1 to 65535"),
            ("::1", "brackets"),
            ("::1]:6379", "brackets"),
            ("fe80::1", "brackets"),
            ("a:1:2", "brackets"),
            ("[::1", "brackets"),
            ("[::1]6379", "brackets"),
            ("[::1]:1:2", "1 to 65535"),
            ("[]", "IPv6"),
            ("[fe80::1%eth0]", "IPv6"),
            ("[redis]", "IPv6"),
            ("re dis", "letters"),
            ("rédis", "letters"),
            ("user@redis", "letters"),
            ("redis%2e", "letters"),
            ("a,b", "letters"),
            ("0.0.0.0", "0.0.0.0"),
            ("[::]:6379", "::"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(about), "{text}: {error}");
        }
    }

    #[test]
    fn a_host_apart_from_its_port_may_be_ipv6() {
        for (host, place) in [
            ("redis", "redis:1"),
            ("10.0.0.1", "10.0.0.1:1"),
            ("::1", "[::1]:1"),
            ("[::1]", "[::1]:1"),
        ] {
            assert_eq!(HostPort::new(host, 1).unwrap().to_string(), place);
        }
        for host in ["", "redis:6379", "redis://redis", "[redis]", "[::1]:1", "/tmp/redis.sock"] {
            assert!(HostPort::new(host, 1).is_err(), "{host}");
        }
    }

    #[test]
    fn secrets_are_equal_when_every_letter_is() {
        for other in ["hunter2", "hunter", "hunter22", "Hunter2", "hunter3", "", "\0unter2"] {
            let equal = Secret::new("hunter2") == Secret::new(other);
            assert_eq!(equal, other == "hunter2", "{other:?}");
        }
        assert!(Secret::new("") == Secret::new(""));
    }

    #[test]
    fn debug_shows_no_part_of_a_login() {
        let login = || Login {
            username: Some("hunter1".to_owned()),
            password: Some(Secret::new("hunter2")),
        };
        let seed = HostPort::parse("a", 1).unwrap();
        let target = Target {
            topology: Topology::Sentinel {
                sentinels: vec![seed],
                service: "mymaster".to_owned(),
                login: login(),
                timeout: None,
            },
            login: login(),
            database: 0,
            tls: Some(Tls { insecure: false }),
            resp3: false,
        };
        for text in [format!("{target:?}"), format!("{target:#?}")] {
            assert!(!text.contains("hunter"), "{text}");
            assert!(text.contains("mymaster"), "{text}");
        }
        assert_eq!(format!("{:?}", login()), "Login { username: Some(…), password: Some(…) }");
        let nobody = Login::default();
        assert_eq!(format!("{nobody:?}"), "Login { username: None, password: None }");
    }

    proptest! {
        #[test]
        fn any_place_is_read(text in any::<String>(), almost in "[a-z0:\\[\\]@.]{0,12}") {
            for text in [&text, &almost] {
                let _ = HostPort::new(text, 1);
                if let Ok(place) = HostPort::parse(text, 1) {
                    // What is shown is what was meant.
                    prop_assert_eq!(HostPort::parse(&place.to_string(), 2), Ok(place));
                }
            }
        }

        #[test]
        fn secrets_are_equal_when_their_texts_are(a in "[ab]{0,3}", b in "[ab]{0,3}") {
            prop_assert_eq!(Secret::new(a.as_str()) == Secret::new(b.as_str()), a == b);
        }
    }
}
