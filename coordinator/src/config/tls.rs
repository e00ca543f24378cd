//! TLS of the gRPC and HTTP ports.

use std::path::{Path, PathBuf};

use evenkeel_shared::Violation;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Certificates and keys of the ports, and of whom client certificates are taken. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate of the coordinator, and those between it and its authority, in PEM; empty: no TLS. Default empty.
    pub cert_file: PathBuf,
    /// Its key, in PEM (PKCS #8, PKCS #1 or SEC1). Default empty.
    pub key_file: PathBuf,
    /// The authorities that certificates of agents and clients may be of, in PEM. Default empty.
    pub client_ca_file: PathBuf,
    /// Whether agents and clients show certificates of their own: `off`, `optional` (those that are shown have to be good), or
    /// `required` (on both ports). Default `off`.
    pub client_certificates: ClientCertificates,
    /// Whether the HTTP port speaks TLS too. Default true.
    pub http: bool,
    /// Between two looks at the files, in milliseconds. 100 to 3600000. Default 5000.
    pub reload_interval_ms: u64,
}

/// Whether agents and clients show certificates of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; who shows none may connect nevertheless.
    Optional,
    /// Who shows none is refused.
    Required,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            client_certificates: ClientCertificates::Off,
            http: true,
            reload_interval_ms: 5_000,
        }
    }
}

impl TlsConfig {
    /// Whether the gRPC port speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        given(&self.cert_file)
    }

    /// Whether the HTTP port does.
    #[must_use]
    pub fn is_on_for_http(&self) -> bool {
        self.http && self.is_on()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let pair = [("tls.cert_file", &self.cert_file), ("tls.key_file", &self.key_file)];
        for ((field, path), (other, other_path)) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            if given(other_path) && !given(path) {
                return Err(Violation::new(field, format!("is empty; it is needed with `{other}`")).into());
            }
        }
        let asks = self.client_certificates != ClientCertificates::Off;
        if asks && !self.is_on() {
            return Err(Violation::new("tls.cert_file", "is empty; without it no client shows a certificate").into());
        }
        if asks != given(&self.client_ca_file) {
            let what = match asks {
                true => "is empty; it says which client certificates are taken",
                false => "is set, but `tls.client_certificates` is off: nobody would be asked",
            };
            return Err(Violation::new("tls.client_ca_file", what).into());
        }
        Ok(())
    }
}

fn given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cert: &str, key: &str, ca: &str, client_certificates: ClientCertificates) -> TlsConfig {
        TlsConfig {
            cert_file: cert.into(),
            key_file: key.into(),
            client_ca_file: ca.into(),
            client_certificates,
            ..TlsConfig::default()
        }
    }

    fn refused(config: &TlsConfig, field: &str) {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("setting `{field}`")), "{error}");
    }

    #[test]
    fn what_goes_together_is_given_together() {
        use ClientCertificates::{Off, Optional, Required};
        for good in [with("", "", "", Off), with("c", "k", "", Off), with("c", "k", "a", Required)] {
            assert_eq!(good.validate(), Ok(()));
        }
        refused(&with("c", "", "", Off), "tls.key_file");
        refused(&with("", "k", "", Off), "tls.cert_file");
        refused(&with("", "", "a", Required), "tls.cert_file");
        refused(&with("c", "k", "", Optional), "tls.client_ca_file");
        refused(&with("c", "k", "a", Off), "tls.client_ca_file");
    }
}
