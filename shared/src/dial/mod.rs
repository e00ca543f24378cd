//! How clients and agents reach a coordinator: with TLS or without, and with what they show who they are.
//!
//! One way for all of them (the command line, agents, the load harness), so that all take the same settings and refuse the same
//! mistakes. Files are read anew at every dial: what was renewed is used from the next connection on, and nothing has to be
//! told. Rejected: the TLS of tonic's channel, whose certificates are fixed when the channel is made.

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use serde::{Deserialize, Serialize};
use tonic::{
    body::Body,
    codegen::{Service, http},
    transport::{Endpoint, Error, channel::ResponseFuture},
};

use crate::shown::{names_a_user, without_secrets};

mod connector;
mod error;
mod explain;

pub use connector::Io;
pub use error::DialError;
pub use explain::explain;

/// A file with a token is no larger: web tokens with many claims are a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// What a client trusts, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// The authorities that the coordinator's certificate may be of, in PEM. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// A certificate that says who this is, and those between it and its authority, in PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the coordinator's certificate has to be for. Default: the host in the URL.
    pub server_name: Option<String>,
    /// A file with a token that says who this is.
    pub token_file: Option<PathBuf>,
    /// The token itself; goes before the file. Never written anywhere.
    #[serde(skip)]
    pub token: Option<Token>,
    /// Show all of this to another machine without TLS.
    pub allow_plaintext: bool,
}

/// A secret that says who somebody is. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token in this text, without what is blank around it.
    ///
    /// # Errors
    /// If it is empty, or has characters that no token has.
    pub fn new(text: &str) -> Result<Self, DialError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DialError::Token);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The way to a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// With its scheme.
    url: String,
    encrypted: bool,
    host: String,
    port: u16,
    security: Arc<Security>,
}

impl Way {
    /// The way to `http://host:port`, `https://host:port`, or `host:port`, which is without TLS.
    ///
    /// # Errors
    /// If it is no such URL, settings contradict each other, or a token would be sent to another machine in the open.
    pub fn new(text: &str, security: Security) -> Result<Self, DialError> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let shown = without_secrets(&url).into_owned();
        let wrong = |problem: &str| DialError::Url { url: shown.clone(), problem: problem.to_owned() };
        if names_a_user(&url) {
            return Err(wrong("it has a user or a password in it, which is not sent"));
        }
        let uri: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it begins neither with http:// nor with https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        if security.cert_file.is_some() != security.key_file.is_some() {
            return Err(DialError::HalfAPair);
        }
        let uses_tls = security.ca_file.is_some() || security.cert_file.is_some() || security.server_name.is_some();
        let shows_token = security.token.is_some() || security.token_file.is_some();
        let is_here = is_loopback(&host);
        if !encrypted && !is_here && !security.allow_plaintext && (uses_tls || shows_token) {
            return Err(DialError::InTheOpen { url: shown });
        }
        Ok(Self { url, encrypted, host, port, security: Arc::new(security) })
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is with TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The same, to another port of the same host: HTTP is served beside gRPC.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let scheme = if self.encrypted { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        Self { url: format!("{scheme}://{host}:{port}"), port, ..self.clone() }
    }

    /// What a channel is made of, for times and windows to be set.
    ///
    /// # Errors
    /// If tonic does not take the URL.
    pub fn endpoint(&self) -> Result<Endpoint, DialError> {
        let wrong = |error: Error| DialError::Url { url: self.url.clone(), problem: chain(&error) };
        if !self.encrypted {
            return Endpoint::from_shared(self.url.clone()).map_err(wrong);
        }
        // The connector below speaks TLS; the channel has to take what it gets as it is, and to call it by its true name.
        let plain = self.url.replacen("https://", "http://", 1);
        let origin = self.url.parse().map_err(|error: http::uri::InvalidUri| DialError::Url {
            url: self.url.clone(),
            problem: error.to_string(),
        })?;
        Ok(Endpoint::from_shared(plain).map_err(wrong)?.origin(origin))
    }

    /// Connects.
    ///
    /// # Errors
    /// If nobody answers, or not as it has to be, or a file cannot be read.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, DialError> {
        let authorization = self.authorization()?;
        let connected = match self.encrypted {
            true => endpoint.connect_with_connector(self.connector()).await,
            false => endpoint.connect().await,
        };
        Ok(Channel { channel: connected.map_err(DialError::Connect)?, authorization })
    }

    /// A channel that connects when it is used.
    ///
    /// # Errors
    /// If the file with the token cannot be read.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Result<Channel, DialError> {
        let authorization = self.authorization()?;
        let channel = match self.encrypted {
            true => endpoint.connect_with_connector_lazy(self.connector()),
            false => endpoint.connect_lazy(),
        };
        Ok(Channel { channel, authorization })
    }

    /// What says who this is, for the header `authorization`, if there is anything.
    ///
    /// # Errors
    /// If the file with the token cannot be read.
    pub fn authorization(&self) -> Result<Option<http::HeaderValue>, DialError> {
        let token = match (&self.security.token, &self.security.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => read_token(path)?,
            (None, None) => return Ok(None),
        };
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", token.0)).map_err(|_| DialError::Token)?;
        // Not shown in logs, and not kept in tables of HTTP/2 that others could measure.
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn read_token(path: &Path) -> Result<Token, DialError> {
    let failed = |source| DialError::File { what: "the token", path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > TOKEN_BYTES_MAX {
        return Err(DialError::Unusable { path: path.to_owned(), problem: "it is too large for a token".to_owned() });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Token::new(&text).map_err(|_| DialError::Unusable {
        path: path.to_owned(),
        problem: "it holds no token: one word without blanks is needed".to_owned(),
    })
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A channel whose calls say who makes them. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel {
    channel: tonic::transport::Channel,
    authorization: Option<http::HeaderValue>,
}

impl From<tonic::transport::Channel> for Channel {
    fn from(channel: tonic::transport::Channel) -> Self {
        Self { channel, authorization: None }
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> ResponseFuture {
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(http::header::AUTHORIZATION, value.clone());
        }
        self.channel.call(request)
    }
}

#[cfg(test)]
mod tests;
