//! A connection with TLS, made of what the files say now.

use std::{
    fs, io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::codegen::{Service, http};

use super::{DialError, Security, Way};

/// A file of certificates is no larger: the authorities of a whole system are a quarter of that.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// What is looked at of a server's first words. Small, so that what comes later is read past this buffer.
const FIRST_BYTES: usize = 64;
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// A connection, of whichever kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Way {
    pub(super) fn connector(&self) -> Connector {
        Connector(self.clone())
    }

    /// A connection for HTTP/1.1.
    ///
    /// # Errors
    /// If nobody answers, or not as it has to be, or a file cannot be read.
    pub async fn http(&self) -> Result<Box<dyn Io>, DialError> {
        if self.encrypted { self.dial_tls(HTTP_1).await } else { Ok(Box::new(self.dial().await?)) }
    }

    async fn dial(&self) -> Result<TcpStream, DialError> {
        let failed = |source| DialError::Reach { host: self.named(), source };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        // A connection that cannot be set so works as well, only later.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn dial_tls(&self, protocol: &[u8]) -> Result<Box<dyn Io>, DialError> {
        let server_begins = protocol == HTTP_2;
        let (security, protocol) = (Arc::clone(&self.security), protocol.to_owned());
        let made = tokio::task::spawn_blocking(move || client_config(&security, protocol));
        let config = made.await.map_err(|error| DialError::Tls(rustls::Error::General(error.to_string())))??;
        let name = self.security.server_name.as_deref().unwrap_or(&self.host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| DialError::Url {
            url: self.url.clone(),
            problem: format!("`{name}` is no name that a certificate could be for"),
        })?;
        let stream = self.dial().await?;
        let failed = |source| DialError::Handshake { host: self.named(), source };
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?;
        let mut stream = BufReader::with_capacity(FIRST_BYTES, stream);
        // To a client a handshake of TLS 1.3 is over before the server has looked at its certificate. Who goes on at once hears
        // of a refusal somewhere in the middle of its first call, or only that the connection is gone.
        if server_begins {
            stream.fill_buf().await.map_err(failed)?;
        }
        Ok(Box::new(stream))
    }

    fn named(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What a channel dials with.
pub(super) struct Connector(Way);

impl Service<http::Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: http::Uri) -> Self::Future {
        let way = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(way.dial_tls(HTTP_2).await?)) })
    }
}

fn client_config(security: &Security, protocol: Vec<u8>) -> Result<ClientConfig, DialError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(authorities(security.ca_file.as_deref())?);
    let mut config = match (&security.cert_file, &security.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_slice(&read("the key", key_file)?)
                .map_err(|error| unusable(key_file, format!("it holds no key in PEM ({error})")))?;
            builder.with_client_auth_cert(certificates("the certificate", cert_file)?, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol];
    // Each connection shows what the files say now; and connections last, so there is nothing to be saved.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, DialError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates("the authorities", path)? {
                roots.add(certificate).map_err(|error| unusable(path, error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(DialError::NoAuthorities);
            }
        }
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| unusable(path, format!("it is no PEM ({error})")))?;
    if found.is_empty() { Err(unusable(path, "it holds no certificate in PEM".to_owned())) } else { Ok(found) }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, DialError> {
    let failed = |source: io::Error| DialError::File { what, path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > PEM_BYTES_MAX {
        return Err(unusable(path, format!("it is larger than {PEM_BYTES_MAX} bytes")));
    }
    fs::read(path).map_err(failed)
}

fn unusable(path: &Path, problem: String) -> DialError {
    DialError::Unusable { path: path.to_owned(), problem }
}
