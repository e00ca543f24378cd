//! Certificates and keys as they are in the files, and what handshakes are made with.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use sha2::{Digest as _, Sha256};

use super::{TlsError, certificate::expiry_unix_s};
use crate::config::{ClientCertificates, TlsConfig};

/// A file is no larger: the authorities of a whole system are a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Certificates and key, read and checked each for itself.
pub struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_authorities: Vec<CertificateDer<'static>>,
    client_certificates: ClientCertificates,
    expires_unix_s: i64,
    digest: [u8; 32],
}

/// Reads what the settings name. Waits for the disk.
///
/// # Errors
/// If a file cannot be read, or has nothing in it that is of use.
pub fn load(config: &TlsConfig) -> Result<Material, TlsError> {
    let mut digest = Sha256::new();
    let mut read = |what, setting, path: &Path| {
        let bytes = read(what, setting, path)?;
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
        Ok(bytes)
    };
    let chain = certificates(
        "tls.cert_file",
        &config.cert_file,
        &read("the certificate", "tls.cert_file", &config.cert_file)?,
    )?;
    let key = read("the key", "tls.key_file", &config.key_file)?;
    let client_authorities = match config.client_certificates {
        ClientCertificates::Off => Vec::new(),
        ClientCertificates::Optional | ClientCertificates::Required => {
            let (setting, path) = ("tls.client_ca_file", &config.client_ca_file);
            certificates(setting, path, &read("the authorities of clients", setting, path)?)?
        }
    };
    digest.update([config.client_certificates as u8]);
    // What the parser says of a key goes no further: nothing of a key is shown.
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| unusable("tls.key_file", &config.key_file, "it holds no private key in PEM"))?;
    let expiries: Option<Vec<_>> = chain.iter().map(|certificate| expiry_unix_s(certificate)).collect();
    let expires_unix_s = expiries
        .and_then(|expiries| expiries.into_iter().min())
        .ok_or_else(|| unusable("tls.cert_file", &config.cert_file, "it holds a malformed certificate"))?;
    Ok(Material {
        chain,
        key,
        client_authorities,
        client_certificates: config.client_certificates,
        expires_unix_s,
        digest: digest.finalize().into(),
    })
}

impl Material {
    /// Of all that was read.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// When the first of the coordinator's own certificates ends, in seconds since 1970.
    #[must_use]
    pub const fn expires_unix_s(&self) -> i64 {
        self.expires_unix_s
    }

    /// What handshakes are made with on a port of this protocol.
    ///
    /// # Errors
    /// If certificates and key do not go together.
    pub fn server_config(&self, protocol: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
        let together = |error: rustls::Error| TlsError::Together(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).map_err(together)?;
        let builder = match self.client_verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.key.clone_key()).map_err(together)?;
        config.alpn_protocols = vec![protocol.to_owned()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn client_verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let is_optional = match self.client_certificates {
            ClientCertificates::Off => return Ok(None),
            ClientCertificates::Optional => true,
            ClientCertificates::Required => false,
        };
        let together = |error: String| TlsError::Together(format!("the authorities of clients: {error}"));
        let mut roots = RootCertStore::empty();
        for certificate in &self.client_authorities {
            roots.add(certificate.clone()).map_err(|error| together(error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if is_optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map(Some).map_err(|error| together(error.to_string()))
    }
}

fn read(what: &'static str, setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { what, setting, path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(unusable(setting, path, "it is larger than a megabyte"));
    }
    fs::read(path).map_err(failed)
}

fn certificates(setting: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(setting, path, "it holds no certificate in PEM")),
        Err(_) => Err(unusable(setting, path, "it is no PEM")),
    }
}

fn unusable(setting: &'static str, path: &Path, problem: &str) -> TlsError {
    TlsError::Unusable { setting, path: path.to_owned(), problem: problem.to_owned() }
}
