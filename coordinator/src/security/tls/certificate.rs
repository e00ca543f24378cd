//! What is read out of a certificate: whom it is for, and until when.
//!
//! The names are read by webpki, which has verified the certificate. It does not tell when a certificate ends, so that is read by
//! x509-parser, which decides nothing of trust: what it reads can only end what webpki has let in. Extensions are left unread by
//! it, so that it refuses nothing there that webpki understands.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::{certificate::X509CertificateParser, nom::Parser as _};

use crate::security::PeerCertificate;

/// The URIs among the subject alternative names of a certificate.
#[must_use]
pub fn uris(certificate: &PeerCertificate) -> Vec<String> {
    let der = CertificateDer::from(&certificate.0[..]);
    let Ok(parsed) = EndEntityCert::try_from(&der) else { return Vec::new() };
    parsed.valid_uri_names().map(str::to_owned).collect()
}

/// When a certificate ends, in seconds since 1970; `None` if it is malformed.
#[must_use]
pub fn expiry_unix_s(der: &[u8]) -> Option<i64> {
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let (rest, certificate) = parser.parse(der).ok()?;
    rest.is_empty().then(|| certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::security::tls::testing::{Authority, Holder};

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let authority = Authority::new("test");
        // Until 2049 years have two digits in a certificate, and four after.
        for (year, seconds) in [(2030, 1_900_281_600), (2060, 2_847_052_800)] {
            let made = authority.issue(&Holder { ends: (year, 3, 21), ..Holder::server() });
            assert_eq!(expiry_unix_s(made.der()), Some(seconds), "{year}");
        }
    }

    #[test]
    fn the_uris_of_a_certificate_are_read() {
        let made = Authority::new("test").issue(&Holder::named("evenkeel://agent/a-1"));
        assert_eq!(uris(&PeerCertificate(made.der().into())), ["evenkeel://agent/a-1"]);
        assert!(uris(&PeerCertificate([1, 2, 3].as_slice().into())).is_empty());
    }

    #[test]
    fn of_a_certificate_that_is_cut_nothing_is_read() {
        let made = Authority::new("test").issue(&Holder::server());
        for length in 0..made.der().len() {
            assert_eq!(expiry_unix_s(&made.der()[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(bytes: Vec<u8>) {
            let _ = expiry_unix_s(&bytes);
            let _ = uris(&PeerCertificate(bytes.into()));
        }
    }
}
