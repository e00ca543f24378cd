//! What to do about an error of a connection, in words for people: what TLS says is for those who know TLS.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// What to do about this error, if it or one of its causes is about TLS.
#[must_use]
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(words) = about(error) {
            return Some(words);
        }
        next = error.source();
    }
    None
}

fn about(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return about_tls(tls);
    }
    // The error inside one of the system's is not its source but the thing itself.
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        let words = about(inner);
        if words.is_some() {
            return words;
        }
    }
    // Said by a coordinator's port to whoever comes without TLS; its words come through other libraries' errors.
    let text = error.to_string();
    if text.contains("speaks TLS") {
        return Some("this port speaks TLS: use https://".to_owned());
    }
    // After its own part of the handshake a client hears of the server's verdict as it reads, and HTTP/2 keeps the words alone.
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let known = ALERTS.iter().find(|known| alert.starts_with(&format!("{known:?}")))?;
    about_tls(&rustls::Error::AlertReceived(*known))
}

/// The alerts that a server ends a handshake with.
const ALERTS: [AlertDescription; 7] = [
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateExpired,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::DecryptError,
    AlertDescription::NoApplicationProtocol,
    AlertDescription::ProtocolVersion,
];

fn about_tls(error: &rustls::Error) -> Option<String> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as Invalid};
    let words = match error {
        Invalid(InvalidMessage::InvalidContentType) => "this port does not speak TLS: use http://",
        InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the coordinator's certificate is of an authority that is not trusted here: give its certificate with \
             --ca-file (EVENKEEL_CA_FILE)"
        }
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the coordinator's certificate has expired, or this machine's clock is wrong"
        }
        InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the coordinator's certificate is not valid yet, or this machine's clock is wrong"
        }
        InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "the coordinator's certificate is for another name: use that in the URL, or give it with --server-name \
             (EVENKEEL_SERVER_NAME)"
        }
        AlertReceived(AlertDescription::CertificateRequired) => {
            "the coordinator asks for a certificate: give --cert-file and --key-file (EVENKEEL_CERT_FILE, \
             EVENKEEL_KEY_FILE)"
        }
        AlertReceived(AlertDescription::CertificateExpired) => "this side's certificate has expired",
        AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError,
        ) => "the coordinator does not take this side's certificate: it is of an authority that is not trusted there",
        AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the port is for another protocol: gRPC and HTTP have ports of their own"
        }
        AlertReceived(AlertDescription::ProtocolVersion) => "the other side does not speak TLS 1.3",
        _ => return None,
    };
    Some(words.to_owned())
}
