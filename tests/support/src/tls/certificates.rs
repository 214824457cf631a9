//! Certificates, made anew for each server.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::Certificate;
use crate::process::Files;

pub(crate) const CA: &str = "ca.crt";
pub(crate) const SERVER: &str = "server.crt";
pub(crate) const SERVER_KEY: &str = "server.key";
pub(crate) const CLIENT: &str = "client.crt";
pub(crate) const CLIENT_KEY: &str = "client.key";

/// The certificates of an authority, of a server and of a client, with the latter two's keys.
pub(crate) fn files(certificate: Certificate) -> Files {
    let authority = key();
    let ca = authority_params(&authority);
    let ca_pem = ca.self_signed(&authority).expect("a certificate of its own").pem();
    let issuer = Issuer::new(ca, authority);
    let sign = |params: CertificateParams| {
        let key = key();
        let signed = params.signed_by(&key, &issuer).expect("a signed certificate");
        (signed.pem().into_bytes(), key.serialize_pem().into_bytes())
    };
    let (server, server_key) = sign(server_params(certificate));
    let (client, client_key) = sign(params("client", &[], ExtendedKeyUsagePurpose::ClientAuth));
    [
        (CA, ca_pem.into_bytes()),
        (SERVER, server),
        (SERVER_KEY, server_key),
        (CLIENT, client),
        (CLIENT_KEY, client_key),
    ]
    .into()
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a new key")
}

fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    // An authority is looked for by its name: two of the same would be one with a bad signature.
    let name = format!("authority {:02x?}", &key.public_key_raw()[1..9]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server_params(certificate: Certificate) -> CertificateParams {
    let hosts: &[&str] = match certificate {
        Certificate::OtherHost => &["elsewhere.example"],
        Certificate::Valid | Certificate::Expired => &["localhost", "127.0.0.1"],
    };
    let mut params = params("server", hosts, ExtendedKeyUsagePurpose::ServerAuth);
    if certificate == Certificate::Expired {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    params
}

fn params(name: &str, hosts: &[&str], purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("host names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![purpose];
    params
}
