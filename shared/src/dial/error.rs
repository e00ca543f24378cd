//! Why a coordinator is not reached.

use std::{io, path::PathBuf};

use super::chain;

/// Why a coordinator is not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The URL.
    #[error(
        "`{url}` is not the address of a coordinator: {problem}; write it as http://host:port or https://host:port"
    )]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate without a key, or a key without a certificate.
    #[error("a certificate and its key have to be given together (cert_file and key_file)")]
    HalfAPair,
    /// Anybody on the way could read and use it.
    #[error(
        "{url} is another machine and not encrypted, so whoever is on the way could read or change what is sent; \
         use https://, or allow plaintext where the network protects it"
    )]
    InTheOpen {
        /// The address.
        url: String,
    },
    /// A token.
    #[error("that is no token: one word of visible characters is needed")]
    Token,
    /// A file that cannot be read.
    #[error("could not read {what} `{}`: {source}", path.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is of no use.
    #[error("`{}` is of no use: {problem}", path.display())]
    Unusable {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system has no authorities that are trusted.
    #[error("this system has no trusted authorities; say which one the coordinator's certificate is of (ca_file)")]
    NoAuthorities,
    /// Certificate and key do not go together, or the like.
    #[error("no TLS can be made of the certificate and key: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection to the port.
    #[error("no connection to {host}: {source}")]
    Reach {
        /// Host and port.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The port was reached, and no TLS came about.
    #[error("no TLS with {host}: {source}")]
    Handshake {
        /// Host and port.
        host: String,
        /// What went wrong.
        source: io::Error,
    },
    /// No channel.
    #[error("{}", chain(.0))]
    Connect(#[source] tonic::transport::Error),
}
