//! Certificates for tests, made on the spot. Of no other module, so that the tests over real sockets use it too.

use std::{fs, net::IpAddr, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Whom a certificate is for.
#[derive(Clone, Debug)]
pub struct Holder {
    pub names: Vec<&'static str>,
    pub uri: Option<&'static str>,
    pub ends: (i32, u8, u8),
    /// It ends so long after 1970 instead.
    pub ends_at: Option<std::time::Duration>,
    pub is_server: bool,
}

impl Holder {
    /// A coordinator on this machine.
    pub fn server() -> Self {
        Self { names: vec!["localhost", "127.0.0.1"], uri: None, ends: (2099, 1, 1), ends_at: None, is_server: true }
    }

    /// An agent or a client.
    pub fn named(uri: &'static str) -> Self {
        Self { names: Vec::new(), uri: Some(uri), is_server: false, ..Self::server() }
    }
}

/// A certificate and its key.
pub struct Made {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn issue(&self, holder: &Holder) -> Made {
        let mut params = CertificateParams::default();
        for name in &holder.names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            });
        }
        params.subject_alt_names.extend(holder.uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let (year, month, day) = holder.ends;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = match holder.ends_at {
            Some(at) => date_time_ymd(1970, 1, 1) + at,
            None => date_time_ymd(year, month, day),
        };
        params.extended_key_usages = vec![match holder.is_server {
            true => ExtendedKeyUsagePurpose::ServerAuth,
            false => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate().unwrap();
        Made { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }
}

impl Made {
    #[allow(dead_code, reason = "one of the two that this is part of has no use for it")]
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Puts it into `NAME.pem` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) {
        fs::write(directory.join(format!("{name}.pem")), self.pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), self.key_pem()).unwrap();
    }
}
