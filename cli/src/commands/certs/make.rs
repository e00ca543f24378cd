//! An authority and what it issues: keys on the curve P-256, which all that speak TLS 1.3 know.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

const DAY: Duration = Duration::from_secs(86_400);
/// Clocks of other machines may be behind.
const BACKDATED: Duration = Duration::from_secs(3_600);
/// An authority for development is made anew after a year.
const AUTHORITY_DAYS: u32 = 365;

/// How long a certificate is valid; 0: it has expired a second ago.
#[derive(Clone, Copy, Debug)]
pub struct Days(pub u32);

/// Whom a certificate is for.
pub enum Whom {
    /// The coordinator, at these names and addresses.
    Server(Vec<String>),
    /// Somebody with this name of Evenkeel's.
    Peer(String),
}

/// An authority.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let params = authority_params();
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// The one that was made before. Its name is always the same, so nothing has to be read of its certificate.
    pub fn read(pem: &str, key_pem: &str) -> Result<Self, Error> {
        Ok(Self { pem: pem.to_owned(), issuer: Issuer::new(authority_params(), KeyPair::from_pem(key_pem)?) })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate and its key, in PEM.
    pub fn issue(&self, whom: Whom, days: Days) -> Result<(String, String), Error> {
        let mut params = params(days);
        let purpose = match whom {
            Whom::Server(names) => {
                let common = names.last().cloned().unwrap_or_default();
                params.distinguished_name.push(DnType::CommonName, common);
                for name in names {
                    params.subject_alt_names.push(match name.parse::<IpAddr>() {
                        Ok(address) => SanType::IpAddress(address),
                        Err(_) => SanType::DnsName(name.as_str().try_into()?),
                    });
                }
                ExtendedKeyUsagePurpose::ServerAuth
            }
            Whom::Peer(uri) => {
                params.distinguished_name.push(DnType::CommonName, uri.as_str());
                params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
                ExtendedKeyUsagePurpose::ClientAuth
            }
        };
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

fn authority_params() -> CertificateParams {
    let mut params = params(Days(AUTHORITY_DAYS));
    params.distinguished_name.push(DnType::CommonName, "Evenkeel development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(days: Days) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - BACKDATED).into();
    params.not_after = match days.0 {
        0 => (now - Duration::from_secs(1)).into(),
        days => (now + DAY * days).into(),
    };
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_issued_names_the_authority_that_issued_it_then_and_later() {
        let first = Authority::new().unwrap();
        let again = Authority::read(first.pem(), &first.key_pem()).unwrap();
        assert_eq!(again.pem(), first.pem());
        assert_eq!(again.key_pem(), first.key_pem());
        for authority in [first, again] {
            let (pem, key) = authority.issue(Whom::Peer("evenkeel://agent/a-1".into()), Days(1)).unwrap();
            assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && key.starts_with("-----BEGIN PRIVATE KEY-----"));
        }
    }

    #[test]
    fn a_name_that_no_certificate_can_be_for_is_an_error() {
        assert!(Authority::new().unwrap().issue(Whom::Server(vec!["zwölf".into()]), Days(1)).is_err());
    }
}
