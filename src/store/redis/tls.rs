//! TLS by rustls, where the feature is on; without it, an error that says so.

use crate::store::StoreError;
use crate::store::builder::TlsSettings;
use crate::store::error::Kind;
use crate::store::target::Tls;

#[cfg(feature = "tls")]
pub(super) use self::with_rustls::Connector;
#[cfg(not(feature = "tls"))]
pub(super) use self::without::Connector;

/// What `tls` asks for, as far as this build and process have it.
pub(super) fn connector(
    tls: Option<&Tls>,
    settings: &TlsSettings,
) -> Result<Option<Connector>, StoreError> {
    match tls {
        None => Ok(None),
        Some(tls) if tls.insecure && !settings.allow_insecure => Err(StoreError::about(
            Kind::Tls,
            "#insecure believes whoever answers: say so with `allow_insecure_tls` as well",
        )),
        Some(tls) => Connector::new(tls.insecure, settings).map(Some),
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use tokio::net::TcpStream;

    use super::*;
    use crate::store::redis::endpoint::Socket;
    use crate::store::target::HostPort;

    #[derive(Clone)]
    pub(in crate::store::redis) enum Connector {}

    impl Connector {
        pub(super) fn new(_: bool, _: &TlsSettings) -> Result<Connector, StoreError> {
            let why = "this build has no TLS: enable the feature `tls` or `tls-ring`";
            Err(StoreError::about(Kind::Tls, why))
        }

        pub(in crate::store::redis) async fn connect(
            &self,
            _: &HostPort,
            _: TcpStream,
        ) -> Result<Box<dyn Socket>, StoreError> {
            match *self {}
        }
    }
}

#[cfg(feature = "tls")]
mod with_rustls {
    use std::pin::pin;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::client::danger::{
        HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
    };
    use tokio_rustls::rustls::crypto::{
        CryptoProvider, verify_tls12_signature, verify_tls13_signature,
    };
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    };

    use super::*;
    use crate::store::redis::endpoint::Socket;
    use crate::store::redis::hello;
    use crate::store::target::HostPort;

    #[derive(Clone)]
    pub(in crate::store::redis) struct Connector(TlsConnector);

    impl Connector {
        pub(super) fn new(insecure: bool, settings: &TlsSettings) -> Result<Connector, StoreError> {
            // Asked for before rustls would: it panics where there is none.
            let provider = provider().ok_or_else(|| invalid(NO_PROVIDER))?;
            let builder = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|_| invalid("the crypto provider has no TLS version that is safe"))?;
            let builder = if insecure {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            } else {
                builder.with_root_certificates(roots(settings)?)
            };
            let config = match &settings.identity {
                None => builder.with_no_client_auth(),
                Some(identity) => {
                    let none = "`tls_identity` has no certificate in PEM";
                    let chain = certificates(&identity.certificate, none)?;
                    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes())
                        .map_err(|_| invalid("`tls_identity` has no private key in PEM"))?;
                    builder.with_client_auth_cert(chain, key).map_err(|_| {
                        invalid("the certificate and key of `tls_identity` cannot be used")
                    })?
                }
            };
            Ok(Connector(Arc::new(config).into()))
        }

        pub(in crate::store::redis) async fn connect(
            &self,
            place: &HostPort,
            tcp: TcpStream,
        ) -> Result<Box<dyn Socket>, StoreError> {
            let failed = |why: String| StoreError::about(Kind::Tls, format!("{place}: {why}"));
            let name = ServerName::try_from(place.host.clone())
                .map_err(|_| failed("its name can be in no certificate".to_owned()))?;
            let mut handshake = pin!(self.0.connect(name, tcp));
            let shaken = match tokio::time::timeout(SILENCE, &mut handshake).await {
                Ok(shaken) => shaken,
                // A Redis without TLS waits for the end of what it takes for a command.
                Err(_) if hello::answers_ping(place).await => {
                    return Err(failed(NO_TLS.to_owned()));
                }
                Err(_) => handshake.await,
            };
            match shaken {
                Ok(socket) => Ok(Box::new(socket)),
                Err(error) => Err(failed(reason(&error))),
            }
        }
    }

    const NO_PROVIDER: &str = "rustls has no crypto provider: enable the feature `tls-ring`, or \
        install one first, as in `rustls::crypto::ring::default_provider().install_default()`";

    /// The process's own, so that an application has one; or else the one that a feature brings.
    fn provider() -> Option<Arc<CryptoProvider>> {
        let installed = CryptoProvider::get_default().cloned();
        #[cfg(feature = "tls-ring")]
        let installed =
            installed.or_else(|| Some(Arc::new(rustls::crypto::ring::default_provider())));
        installed
    }

    fn roots(settings: &TlsSettings) -> Result<RootCertStore, StoreError> {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = &settings.roots {
            for certificate in certificates(pem, "`tls_roots` has no certificate in PEM")? {
                roots
                    .add(certificate)
                    .map_err(|_| invalid("a certificate of `tls_roots` cannot be used"))?;
            }
            return Ok(roots);
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(invalid(
                "the system has no root certificates: install them (`ca-certificates`), or name \
                 your own with `tls_roots`",
            ));
        }
        Ok(roots)
    }

    fn certificates(
        pem: &[u8],
        none: &'static str,
    ) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        certificates
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| invalid(none))
    }

    fn invalid(why: &'static str) -> StoreError {
        StoreError::about(Kind::Tls, why)
    }

    /// What rustls says is about certificates and protocol, never about what was sent.
    fn reason(error: &std::io::Error) -> String {
        use rustls::CertificateError as Certificate;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let what_to_do = match tls {
            None => return HUNG_UP.to_owned(),
            Some(rustls::Error::InvalidMessage(_)) => return NO_TLS.to_owned(),
            Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
                Certificate::UnknownIssuer => "give its authority's certificate with `tls_roots`",
                Certificate::Expired | Certificate::ExpiredContext { .. } => "renew it",
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                    "use the name that it is for"
                }
                _ => "it cannot be used",
            },
            Some(rustls::Error::AlertReceived(_)) => "does it want a `tls_identity`?",
            Some(_) => "see what the server's log says",
        };
        tls.map(|error| format!("{error}; {what_to_do}")).unwrap_or_default()
    }

    const NO_TLS: &str = "it does not speak TLS: use redis:// or another port";
    const HUNG_UP: &str = "it closed the connection during the handshake";

    /// After how long without an answer to a handshake it is asked whether it speaks TLS at all.
    const SILENCE: Duration = Duration::from_millis(200);

    /// Believes whoever answers.
    #[derive(Debug)]
    struct Anybody(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
