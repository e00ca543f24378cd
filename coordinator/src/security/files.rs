//! The files that say who is known, read together: what is in force comes from all of them, or from none.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    AgentGrant, Caller, Method, PeerCertificate,
    gate::Refused,
    jwt::{JwtError, Known, WebTokens},
    names::{CertificateName, CertificateNameError},
    tokens::{self, Credentials, CredentialsError, TokenHash, hex},
};
use crate::config::AuthConfig;

/// Bytes of one of the files.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Who is known.
#[derive(Clone, Debug)]
pub struct Files {
    credentials: Arc<Credentials>,
    web_tokens: Option<Arc<WebTokens>>,
    hash: TokenHash,
    keys_hash: TokenHash,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("`{setting}` = {path}: {source}")]
    File {
        /// Which setting names it.
        setting: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The credentials' file.
    #[error("`auth.credentials_file` = {path}: {source}")]
    Credentials {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: CredentialsError,
    },
    /// The key set.
    #[error("`auth.jwt.jwks_file` = {path}: {source}")]
    Keys {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: JwtError,
    },
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// The first that is wrong. Nobody is known then.
    pub fn read(config: &AuthConfig) -> Result<Self, FilesError> {
        let mut hash = Sha256::new();
        let mut credentials = Credentials::default();
        let mut web_tokens = None;
        let mut keys_hash = TokenHash::default();
        let path = &config.credentials_file;
        if config.enabled && !path.as_os_str().is_empty() {
            let text = read("auth.credentials_file", path)?;
            hash.update(&text);
            let wrong = |source| FilesError::Credentials { path: path.clone(), source };
            credentials = Credentials::read(&text).map_err(wrong)?;
        }
        let path = &config.jwt.jwks_file;
        if config.enabled && !path.as_os_str().is_empty() {
            let text = read("auth.jwt.jwks_file", path)?;
            keys_hash = Sha256::digest(&text).into();
            let wrong = |source| FilesError::Keys { path: path.clone(), source };
            web_tokens = Some(Arc::new(WebTokens::new(&config.jwt, &text).map_err(wrong)?));
        }
        Ok(Self { credentials: Arc::new(credentials), web_tokens, hash: hash.finalize().into(), keys_hash })
    }

    /// Whether the files have the same text.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.hash == other.hash && self.has_same_keys(other)
    }

    /// Whether the key set is the same.
    #[must_use]
    pub fn has_same_keys(&self, other: &Self) -> bool {
        self.keys_hash == other.keys_hash
    }

    /// What the credentials' file says.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The same, to keep.
    #[must_use]
    pub fn credentials_shared(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials)
    }

    /// Who has a web token, and until when.
    pub(super) fn web_token(&self, token: &str, now_unix_ms: i64) -> Result<Known, Refused> {
        // What has two dots is a web token, as far as anybody can say of it.
        let web_tokens = self.web_tokens.as_ref().filter(|_| token.bytes().filter(|byte| *byte == b'.').count() == 2);
        web_tokens.ok_or(Refused::Unknown)?.caller(token, now_unix_ms)
    }

    /// Who has a certificate; `None`: it names nobody here.
    pub(super) fn certificate(&self, shown: &PeerCertificate) -> Result<Option<Arc<Caller>>, Refused> {
        let holder = match holder(&shown.0) {
            Ok(holder) => holder,
            Err(CertificateNameError::Missing) => return Ok(None),
            Err(_) => return Err(Refused::Malformed),
        };
        tokens::check_roles(&[holder.role], holder.tenant.as_ref()).map_err(|_| Refused::Malformed)?;
        let mut caller = Caller {
            credential: certificate_id(&shown.0),
            name: holder.name,
            method: Method::Certificate,
            roles: vec![holder.role],
            tenant: holder.tenant,
            agent: AgentGrant::default(),
        };
        caller.agent = certificate_grant(&self.credentials, &caller);
        Ok(Some(Arc::new(caller)))
    }
}

/// What the holder of a certificate may be as an agent: what its name says, and what the file says of that.
#[must_use]
pub fn certificate_grant(credentials: &Credentials, holder: &Caller) -> AgentGrant {
    let own = AgentGrant { ids: vec![holder.name.clone()], ..AgentGrant::default() };
    own.and(&credentials.certificate_grant(&holder.name))
}

/// The lasting name of a certificate: `certificate:` and SHA-256 of it, as `openssl x509 -fingerprint -sha256` prints it but for
/// the colons and in small letters.
#[must_use]
pub fn certificate_id(der: &[u8]) -> String {
    format!("certificate:{}", hex(&Sha256::digest(der)))
}

fn holder(der: &[u8]) -> Result<CertificateName, CertificateNameError> {
    // One that cannot be read was not accepted by the handshake.
    let der = rustls::pki_types::CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).map_err(|_| CertificateNameError::Missing)?;
    CertificateName::among(certificate.valid_uri_names())
}

fn read(setting: &'static str, path: &Path) -> Result<String, FilesError> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    file.map_err(|source| FilesError::File { setting, path: path.to_owned(), source })?;
    Ok(text)
}
