//! Servers that speak TLS.

mod certificates;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::launch::{Setup, retry};
use crate::{RedisServer, free_port};
use certificates::{CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY, files};

/// What a server shows to its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// It is for `localhost` and 127.0.0.1.
    #[default]
    Valid,
    /// It was valid until the year 2001.
    Expired,
    /// It is for `elsewhere.example`.
    OtherHost,
}

/// What a server that speaks TLS is started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsSetup<'a> {
    /// What it shows to its clients.
    pub certificate: Certificate,
    /// Whether clients have to show a certificate too.
    pub client_certificates: bool,
    /// Further arguments, such as `["--requirepass", "secret"]`.
    pub args: &'a [&'a str],
}

/// Servers that speak nothing but TLS, to each other as well, and believe one authority.
pub(crate) fn tls_only() -> Setup {
    let shown = Setup::with(shown_to_clients("no").as_flattened());
    // As the client of another one a server has to have a client's certificate.
    let among_servers = [
        ["--tls-client-cert-file", CLIENT],
        ["--tls-client-key-file", CLIENT_KEY],
        ["--tls-replication", "yes"],
        ["--tls-cluster", "yes"],
    ];
    let setup = shown.and(among_servers.as_flattened());
    Setup { files: files(Certificate::Valid), tls_only: true, ..setup }
}

fn shown_to_clients(client_certificates: &str) -> [[&str; 2]; 4] {
    [
        ["--tls-cert-file", SERVER],
        ["--tls-key-file", SERVER_KEY],
        ["--tls-ca-cert-file", CA],
        ["--tls-auth-clients", client_certificates],
    ]
}

impl RedisServer {
    /// Starts a server that also listens on a port for TLS, with a certificate for `localhost` and
    /// 127.0.0.1 from an authority of its own.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed, was built without TLS, or does not start.
    #[must_use]
    pub fn tls() -> Self {
        Self::tls_with(&TlsSetup::default())
    }

    /// Starts a server that also listens on a port for TLS, as `setup` says.
    ///
    /// # Panics
    ///
    /// Panics if `redis-server` is not installed, was built without TLS, or does not start.
    #[must_use]
    pub fn tls_with(setup: &TlsSetup<'_>) -> Self {
        let files = files(setup.certificate);
        let clients = if setup.client_certificates { "yes" } else { "no" };
        let own = shown_to_clients(clients);
        retry(|| {
            let port = ["--tls-port", &free_port().to_string()].map(str::to_owned);
            let mut all = Setup::with(own.as_flattened()).and(setup.args);
            all.args.extend(port);
            Self::try_start(Setup { files: files.clone(), ..all })
        })
    }

    /// `rediss://127.0.0.1:PORT`, without any password.
    #[track_caller]
    pub fn rediss_url(&self) -> String {
        format!("rediss://{}", self.tls_addr())
    }

    /// The address for TLS. On that of [`Self::addr`] it is not spoken, unless nothing else is.
    #[track_caller]
    pub fn tls_addr(&self) -> SocketAddr {
        if self.setup.tls_only {
            return self.addr();
        }
        let port = self.setup.value("--tls-port").expect("the server was started without TLS");
        (Ipv4Addr::LOCALHOST, port.parse().expect("a port is a number")).into()
    }

    /// The certificate of the authority that has signed the server's, in PEM. Like the other files
    /// it is there as long as the server runs, and elsewhere when it is started again.
    #[track_caller]
    pub fn ca_path(&self) -> PathBuf {
        self.tls_file(CA)
    }

    /// A certificate for a client, which the server accepts, in PEM.
    #[track_caller]
    pub fn client_certificate_path(&self) -> PathBuf {
        self.tls_file(CLIENT)
    }

    /// The key of [`Self::client_certificate_path`], in PEM.
    #[track_caller]
    pub fn client_key_path(&self) -> PathBuf {
        self.tls_file(CLIENT_KEY)
    }

    #[track_caller]
    fn tls_file(&self, name: &str) -> PathBuf {
        assert!(self.setup.files.contains_key(name), "the server was started without TLS");
        self.folder().join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;
    use crate::testing::stranger;
    use crate::{RedisCluster, SentinelSetup, Sentinels};

    /// What a client of `server` is answered to PING if it trusts the authority of `trusted`, asks
    /// for `host`, and shows the client certificate of `identity`.
    fn ping(
        server: &RedisServer,
        trusted: &RedisServer,
        host: &str,
        identity: Option<&RedisServer>,
    ) -> Result<String, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trusted.ca_path())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match identity {
            Some(identity) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_file(identity.client_certificate_path())?],
                PrivateKeyDer::from_pem_file(identity.client_key_path())?,
            )?,
            None => builder.with_no_client_auth(),
        };
        let connection = ClientConnection::new(Arc::new(config), host.to_owned().try_into()?)?;
        let socket = TcpStream::connect(server.tls_addr())?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8(answer.into())?)
    }

    #[track_caller]
    fn assert_fails(answer: Result<String, Box<dyn Error>>, because: &str) {
        let error = answer.expect_err("no answer").to_string();
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn the_server_shows_a_certificate_for_its_address() {
        let mut server = RedisServer::tls();
        for host in ["127.0.0.1", "localhost"] {
            assert_eq!(ping(&server, &server, host, None).expect("an answer"), "+PONG\r\n");
        }
        assert_fails(ping(&server, &server, "elsewhere.example", None), "not valid for name");
        let other = RedisServer::tls();
        assert_fails(ping(&server, &other, "localhost", None), "UnknownIssuer");
        assert_eq!(server.rediss_url(), format!("rediss://{}", server.tls_addr()));
        let (before, path) = (server.tls_addr(), server.ca_path());
        server.start_again();
        assert_eq!(server.tls_addr(), before);
        assert_eq!(ping(&server, &server, "localhost", None).expect("an answer"), "+PONG\r\n");
        assert!(server.ca_path().exists() && !path.exists());
    }

    #[test]
    fn a_certificate_can_be_expired_or_for_another_host() {
        let with = |certificate| {
            RedisServer::tls_with(&TlsSetup {
                certificate,
                args: &["--requirepass", "secret"],
                ..TlsSetup::default()
            })
        };
        let expired = with(Certificate::Expired);
        assert_fails(ping(&expired, &expired, "localhost", None), "expired");
        let other = with(Certificate::OtherHost);
        assert_fails(ping(&other, &other, "localhost", None), "not valid for name");
        let answer = ping(&other, &other, "elsewhere.example", None).expect("an answer");
        assert_eq!(answer, "-NOAUTH");
    }

    #[test]
    fn clients_may_have_to_show_a_certificate() {
        let setup = TlsSetup { client_certificates: true, ..TlsSetup::default() };
        let server = RedisServer::tls_with(&setup);
        let answer = ping(&server, &server, "localhost", Some(&server)).expect("an answer");
        assert_eq!(answer, "+PONG\r\n");
        assert_fails(ping(&server, &server, "localhost", None), "CertificateRequired");
        let other = RedisServer::tls();
        assert_fails(ping(&server, &server, "localhost", Some(&other)), "UnknownCA");
    }

    #[test]
    fn a_cluster_and_sentinels_speak_nothing_else() {
        let cluster = RedisCluster::tls_with(&[]);
        let setup = SentinelSetup { tls: true, ..SentinelSetup::default() };
        let sentinels = Sentinels::with(&setup);
        assert!(cluster.url().starts_with("rediss-cluster://"));
        assert!(sentinels.url().starts_with("rediss-sentinel://"));
        for servers in [cluster.nodes(), sentinels.nodes(), sentinels.sentinels()] {
            for server in servers {
                let answer = ping(server, &servers[0], "localhost", None);
                assert_eq!(answer.expect("an answer"), "+PONG\r\n");
                stranger(server).call(&["PING"]).expect_err("it is not TLS");
            }
        }
    }

    #[test]
    #[should_panic(expected = "the server was started without TLS")]
    fn a_server_without_tls_has_no_such_address() {
        let _ = RedisServer::shared().rediss_url();
    }
}
