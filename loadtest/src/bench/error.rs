//! What can stop a bench before it has figures.

use std::{io, path::PathBuf, time::Duration};

use crate::error::LoadtestError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A name that is none.
    #[error("there is no contender `{name}`; `loadtest bench --list` names them")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A number that makes no sense.
    #[error("{what}")]
    Plan {
        /// Which, and what would.
        what: String,
    },
    /// The process may not open enough connections.
    #[error(transparent)]
    Files(#[from] LoadtestError),
    /// Nobody answers.
    #[error("cannot dial {url}: {source}")]
    Dial {
        /// Where.
        url: String,
        /// What is wrong.
        source: tonic::transport::Error,
    },
    /// An agent's session broke.
    #[error("the session of an agent ended: {0}")]
    Session(Box<tonic::Status>),
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A process of the bench ended or said something else than it should.
    #[error("{process} {what}{log}")]
    Process {
        /// Which.
        process: &'static str,
        /// What it did.
        what: String,
        /// The end of what it wrote, on lines of its own.
        log: String,
    },
    /// Something did not happen in time.
    #[error("waited {} s in vain until {what}", waited.as_secs())]
    Late {
        /// What.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The directory for data cannot be used.
    #[error("cannot keep data in {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BenchError {
    pub(super) fn dial(url: &str) -> impl FnOnce(tonic::transport::Error) -> Self {
        let url = url.to_owned();
        |source| Self::Dial { url, source }
    }

    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
