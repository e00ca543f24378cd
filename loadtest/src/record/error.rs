//! What can go wrong with records of runs.

use std::{io, path::PathBuf};

/// Why a record could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a run of this id.
    #[error("a run `{id}` is kept in {} already; kept runs are never overwritten", dir.display())]
    Exists {
        /// The id.
        id: String,
        /// Where it is.
        dir: PathBuf,
    },
    /// An id that cannot be the name of a file.
    #[error(
        "`{id}` cannot be the id of a run: letters, digits, `_`, `-` and `.` can, and the first is a letter or digit"
    )]
    Id {
        /// The id as given.
        id: String,
    },
    /// There is no such run.
    #[error("there is no run `{reference}` in {}; `evenkeel loadtest history` lists those there are", dir.display())]
    NotFound {
        /// As it was asked for.
        reference: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// More than one run fits.
    #[error("`{reference}` is the start of {count} ids; write more of it")]
    Ambiguous {
        /// As it was asked for.
        reference: String,
        /// How many begin like this.
        count: usize,
    },
    /// No run has been kept.
    #[error("no run is kept in {}; `evenkeel loadtest run --scenario NAME` keeps one", dir.display())]
    Empty {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is no baseline.
    #[error("there is no baseline `{name}` for scenario `{scenario}`; `evenkeel loadtest baseline set ID` makes one")]
    NoBaseline {
        /// Its name.
        name: String,
        /// The scenario.
        scenario: String,
    },
    /// The file has a form that this program does not know.
    #[error(
        "{} has version {found}, and this program reads version {known}; use the program that wrote it, or delete the file",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that can be read.
        known: u32,
    },
    /// The file is not what it should be.
    #[error("{} is damaged: {reason}; restore it from a copy, or delete it together with the others of its run", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is larger than any that is written.
    #[error("{} has {bytes} bytes, and a file of this kind has at most {bytes_max}; it is not read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

impl RecordError {
    /// Whether something that was named does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Empty { .. } | Self::NoBaseline { .. })
    }
}
