//! Credentials that were revoked by call: a file beside the data, so that a restart remembers.
//!
//! A line of JSON each, appended and made durable before the call is answered. The file of credentials is not touched: it is
//! often mounted from elsewhere and cannot be written, and it would be the operator's to merge. Rejected: the store, which
//! answers only while its disk has room; a revocation of a stolen credential should not have to wait for the queue's data.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// Its name in the data directory.
const NAME: &str = "revoked-credentials.jsonl";
/// Revocations that are kept. Each names a credential that somebody has used; beyond it, new keys for the issuer are due.
const REVOCATIONS_MAX: usize = 100_000;

/// A credential that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Its lasting name.
    pub id: String,
    /// When it was revoked, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why a revocation cannot be kept, or those that are kept cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RevokedError {
    /// The file cannot be read or written.
    #[error("revocations in {path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of it makes no sense.
    #[error("revocations in {path}: line {line} makes no sense: {problem}; mend it or take it out")]
    Line {
        /// Where.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There are as many as are kept.
    #[error(
        "{REVOCATIONS_MAX} credentials are revoked, as many as are kept; take credentials out of their file instead"
    )]
    Full,
}

/// The file.
#[derive(Debug)]
pub struct RevokedFile {
    path: PathBuf,
    kept: Mutex<Vec<Revocation>>,
}

impl RevokedFile {
    /// Reads the file in this directory, if there is one.
    ///
    /// # Errors
    /// If it cannot be read as a whole: to leave one out would accept it again.
    pub fn open(data_dir: &Path) -> Result<Self, RevokedError> {
        let path = data_dir.join(NAME);
        let unread = |source| RevokedError::File { path: path.clone(), source };
        let mut text = String::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_string(&mut text).map_err(unread)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unread(error)),
        }
        // A last line without an end was being written when the process died: nobody was told that it is kept.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(whole as u64));
            cut.map_err(unread)?;
        }
        let mut kept = Vec::new();
        for (i, line) in text[..whole].lines().enumerate() {
            let wrong = |error: serde_json::Error| RevokedError::Line {
                path: path.clone(),
                line: i + 1,
                problem: error.to_string(),
            };
            kept.push(serde_json::from_str(line).map_err(wrong)?);
        }
        Ok(Self { path, kept: Mutex::new(kept) })
    }

    /// Keeps one more.
    ///
    /// # Errors
    /// If it cannot be made durable; then it is not kept.
    pub fn add(&self, revocation: Revocation) -> Result<(), RevokedError> {
        let mut kept = self.kept();
        if kept.iter().any(|known| known.id == revocation.id) {
            return Ok(());
        }
        if kept.len() >= REVOCATIONS_MAX {
            return Err(RevokedError::Full);
        }
        append(&self.path, &revocation).map_err(|source| RevokedError::File { path: self.path.clone(), source })?;
        kept.push(revocation);
        Ok(())
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn all(&self) -> Vec<Revocation> {
        self.kept().clone()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Revocation>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path, revocation: &Revocation) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let before = file.metadata()?.len();
    let mut line = serde_json::to_vec(revocation)?;
    line.push(b'\n');
    let written = file.write_all(&line).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a line would join with the next one.
        let _ = file.set_len(before);
        return Err(error);
    }
    if let Some(directory) = path.parent().filter(|_| is_new) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str) -> Revocation {
        Revocation { id: id.into(), at_unix_ms: 1, by: "root".into(), reason: "stolen\n\"twice\"".into() }
    }

    #[test]
    fn what_was_revoked_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = RevokedFile::open(directory.path()).unwrap();
        file.add(one("a")).unwrap();
        file.add(one("b")).unwrap();
        file.add(one("a")).unwrap();
        assert_eq!(RevokedFile::open(directory.path()).unwrap().all(), [one("a"), one("b")]);
    }

    #[test]
    fn half_a_line_is_cut_off_and_a_damaged_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        RevokedFile::open(directory.path()).unwrap().add(one("a")).unwrap();
        let path = directory.path().join(NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}", &text[..9])).unwrap();
        let file = RevokedFile::open(directory.path()).unwrap();
        file.add(one("b")).unwrap();
        assert_eq!(RevokedFile::open(directory.path()).unwrap().all(), [one("a"), one("b")]);
        std::fs::write(&path, format!("{text}nonsense\n")).unwrap();
        let error = RevokedFile::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn what_cannot_be_kept_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = RevokedFile::open(&directory.path().join("gone")).unwrap();
        assert!(matches!(file.add(one("a")), Err(RevokedError::File { .. })));
        assert_eq!(file.all(), []);
    }
}
