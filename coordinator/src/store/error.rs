//! What can go wrong with the store, and what to do about it.

use std::{io, path::PathBuf, time::Duration};

use rusqlite::{ErrorCode, ffi};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused something.
    #[error("cannot {action} `{path}`: {source}; {}", advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The disk failed under the database.
    #[error("the disk failed under the database: {0}; check the disk, then start again")]
    Disk(rusqlite::Error),
    /// The disk is full. The transaction was rolled back, and nothing of it had been synced.
    #[error("the disk of the database is full; free some space, or move the data directory to a larger disk")]
    Full,
    /// The database cannot be written.
    #[error("the database cannot be written; check the rights of the data directory and how its disk is mounted")]
    ReadOnly,
    /// The data is damaged.
    #[error("the database is damaged: {0}; restore a backup of the data directory, or start with an empty one")]
    Corrupt(String),
    /// The file is a database of some other program.
    #[error("`{path}` is not a database of Evenkeel; choose another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version of Evenkeel wrote it.
    #[error(
        "the database has version {found}, this program knows versions up to {known}; start the version of Evenkeel that wrote it, or a later one"
    )]
    NewerVersion {
        /// Its version.
        found: u32,
        /// The latest this program knows.
        known: u32,
    },
    /// Another process has the data directory.
    #[error("the data directory `{path}` is in use by another coordinator; stop it, or choose another directory")]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// Somebody else has claimed the store since.
    #[error("incarnation {found} has claimed the store, this one is {own}; it must stop")]
    Fenced {
        /// The present incarnation.
        found: u64,
        /// This one.
        own: u64,
    },
    /// It was not claimed, or has been released.
    #[error("the store has not been claimed, so nothing can be written")]
    NotClaimed,
    /// Too many readers at once.
    #[error("all connections to the database were in use for {waited:?}; try again")]
    Busy {
        /// How long it waited for one.
        waited: Duration,
    },
    /// The SQLite library has known faults.
    #[error("SQLite {found} is too old, at least {needed} is needed; build with the bundled one")]
    OldLibrary {
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
    /// A change does not fit what is stored: a defect of the coordinator.
    #[error("{what} does not fit what is stored; this is a defect of the coordinator")]
    Mismatch {
        /// The change.
        what: String,
    },
    /// Anything else that SQLite says.
    #[error("the database refused: {0}")]
    Sqlite(rusqlite::Error),
}

impl StoreError {
    /// Whether the process must stop. After a commit that failed nobody can know what the disk holds, and a retry that
    /// succeeds would prove nothing (an fsync that failed may report success the second time). Two things may simply be
    /// tried again: a transaction that found the disk full, which was rolled back before any sync, and a question of a
    /// reader that found no connection free.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Busy { .. } | Self::Full)
    }

    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A stored value that nothing could have written.
    pub(super) fn unreadable(what: &str, value: impl std::fmt::Display) -> Self {
        Self::Corrupt(format!("`{value}` is stored as {what}"))
    }
}

/// The index of the log could not be made longer: in all likelihood for want of room, since it was only written to.
fn grew_no_index(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// What to do when the operating system refuses something.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free some space, then start again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the disk is mounted read-only: mount it for writing, or choose another data directory"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not write there: give it the data directory, or choose another one"
        }
        _ => "check that the data directory exists and belongs to this user",
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Room for the index of the log is asked for once the commit is in the log and synced. SQLite takes it back;
            // trying again writes the same once more.
            _ if grew_no_index(&error) => Self::Full,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Self::Disk(error),
            _ => match error {
                // A value of a type, a length or a range that nobody writes.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..) => Self::Corrupt(error.to_string()),
                _ => Self::Sqlite(error),
            },
        }
    }
}
