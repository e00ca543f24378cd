//! TLS of the ports: certificates from files, put in force as they change, for the handshakes from then on.
//!
//! TLS 1.3 alone (RFC 8446), by rustls with aws-lc. Sessions are not resumed: a resumed one would bring back a certificate
//! that was good at some earlier time, past whatever was renewed, revoked or has expired since; and connections of agents
//! and clients last, so a whole handshake at each costs little. Early data is off, since it can be replayed.

mod certificate;
mod hello;
mod material;
mod reload;
mod shown;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub use certificate::{expiry_unix_s, uris};
pub(crate) use hello::{FIRST_OF_TLS, in_the_open};
pub use material::{Material, load};
pub use reload::keep_current;
pub use shown::finding;

use crate::config::TlsConfig;

/// Protocols of the gRPC port, in the words of ALPN (RFC 7301).
pub const ALPN_GRPC: &[u8] = b"h2";
/// Protocols of the HTTP port.
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("could not read {what} `{}` (setting `{setting}`): {source}", path.display())]
    Read {
        /// What is in it.
        what: &'static str,
        /// Which setting names it.
        setting: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is of no use.
    #[error("`{}` (setting `{setting}`) is of no use: {problem}", path.display())]
    Unusable {
        /// Which setting names it.
        setting: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The files do not go together.
    #[error("no TLS can be made of the certificates: {0}")]
    Together(String),
    /// It is too late for the certificate.
    #[error("the certificate in `{}` (setting `tls.cert_file`) has expired", path.display())]
    Expired {
        /// Where it is.
        path: PathBuf,
    },
}

/// What is in force on one port: each handshake takes what is here when it begins.
pub type InForce = Arc<ArcSwap<ServerConfig>>;

/// TLS of both ports. Clones share it.
#[derive(Clone)]
pub struct Tls {
    grpc: InForce,
    http: Option<InForce>,
    status: Arc<Mutex<CertificateStatus>>,
}

/// How the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// When the first of the coordinator's own certificates ends, in seconds since 1970.
    pub expires_unix_s: i64,
    /// Why what is in the files now is not in force, if it is not.
    pub problem: Option<String>,
}

impl Tls {
    /// What the settings say; `None` if TLS is off.
    ///
    /// # Errors
    /// If a file cannot be read, or is of no use.
    pub fn new(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        if !config.is_on() {
            return Ok(None);
        }
        let material = load(config)?;
        let in_force = |protocol| Ok::<_, TlsError>(Arc::new(ArcSwap::new(material.server_config(protocol)?)));
        let grpc = in_force(ALPN_GRPC)?;
        let http = config.is_on_for_http().then(|| in_force(ALPN_HTTP)).transpose()?;
        let status = CertificateStatus { expires_unix_s: material.expires_unix_s(), problem: None };
        Ok(Some(Self { grpc, http, status: Arc::new(Mutex::new(status)) }))
    }

    /// Of the gRPC port.
    #[must_use]
    pub fn grpc(&self) -> InForce {
        Arc::clone(&self.grpc)
    }

    /// Of the HTTP port, if it speaks TLS.
    #[must_use]
    pub fn http(&self) -> Option<InForce> {
        self.http.clone()
    }

    /// How the certificates are now.
    #[must_use]
    pub fn status(&self) -> CertificateStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other certificates in force, on both ports or on none.
    ///
    /// # Errors
    /// If they do not go together; what was in force stays.
    pub fn replace(&self, material: &Material) -> Result<(), TlsError> {
        let grpc = material.server_config(ALPN_GRPC)?;
        let http = material.server_config(ALPN_HTTP)?;
        self.grpc.store(grpc);
        if let Some(in_force) = &self.http {
            in_force.store(http);
        }
        self.set(CertificateStatus { expires_unix_s: material.expires_unix_s(), problem: None });
        Ok(())
    }

    /// What is in the files is not put in force.
    pub fn complain(&self, problem: String) {
        self.set(CertificateStatus { problem: Some(problem), ..self.status() });
    }

    /// What is in the files is in force.
    pub fn settle(&self) {
        self.set(CertificateStatus { problem: None, ..self.status() });
    }

    fn set(&self, status: CertificateStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
