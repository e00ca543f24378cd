//! The files of the log, and the one thread that writes them.
//!
//! Entries that wait are written together and made durable by one `fsync`; only then is anybody told that they are written. An
//! entry that cannot be written is taken out of the file again and refused. A failed `fsync` says nothing about what is on the
//! disk (see the store, which ends the process for it), so after one nothing is written until the next start, and every
//! call that would have to be written down is refused.
//!
//! When a file is full the next one begins; of those, the oldest go. That they went, up to which entry and with which hash, is
//! an entry itself, so whoever checks the log can tell files that were removed by rotation from files that were removed.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{
    entry::{BEGINNING, Draft, Entry, Hash},
    read,
};

/// Bounds of the files.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// A file of more bytes is followed by the next.
    pub file_bytes_max: u64,
    /// Files that are kept.
    pub files_max: usize,
}

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file cannot be read or written.
    #[error("the audit log in {directory} cannot be written: {source}")]
    Io {
        /// Where the files are.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It failed before in a way that cannot be mended while it runs.
    #[error("the audit log in {directory} has failed and is not written until the coordinator starts again: {problem}")]
    Failed {
        /// Where the files are.
        directory: PathBuf,
        /// What happened.
        problem: String,
    },
    /// More is waiting to be written than may.
    #[error("too much is waiting to be written to the audit log")]
    Busy,
}

/// What writes to a file: real ones, and in tests disks that are full.
pub trait Disk: Send {
    /// Appends all of it, or fails.
    ///
    /// # Errors
    /// As of files.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was appended.
    ///
    /// # Errors
    /// As of files.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to so many bytes.
    ///
    /// # Errors
    /// As of files.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Disk for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// The log, for the one who writes it.
pub struct Log {
    directory: PathBuf,
    limits: LogLimits,
    disk: Box<dyn Disk>,
    bytes: u64,
    last: u64,
    head: Hash,
    /// Of each file the number of its first entry, oldest first.
    files: VecDeque<u64>,
    failed: Option<String>,
}

impl Log {
    /// Opens the log in a directory, or begins one. What was being written when the process died is taken out: nobody was
    /// told that it is there. The other thing that it returns is what was found wrong, which is to be the next entry.
    ///
    /// # Errors
    /// If the directory or a file in it cannot be read or written.
    pub fn open(directory: &Path, limits: LogLimits) -> io::Result<(Self, Option<String>)> {
        fs::create_dir_all(directory)?;
        let mut files: VecDeque<u64> = read::files(directory)?.into_iter().map(|(first, _)| first).collect();
        let (mut last, mut head, mut problem) = (0, BEGINNING, None);
        if let Some(first) = files.back().copied() {
            let path = read::path(directory, first);
            let found = read::end_of(&path)?;
            if found.torn_bytes > 0 {
                OpenOptions::new().write(true).open(&path)?.set_len(found.whole_bytes)?;
                problem =
                    Some(format!("{} bytes of an entry that was never finished were taken out", found.torn_bytes));
            }
            match found.last {
                Some(entry) => {
                    last = entry.number;
                    head = entry.own_hash().unwrap_or(BEGINNING);
                }
                // An empty file is one that was just begun.
                None if found.whole_bytes == 0 => {
                    last = first.saturating_sub(1);
                    head = previous_head(directory, &files)?;
                }
                None => {
                    last = first.saturating_add(found.lines).saturating_sub(1);
                    problem = Some("the last entry cannot be read; the chain begins anew".into());
                }
            }
        }
        if files.is_empty() {
            files.push_back(1);
        }
        let first = files.back().copied().unwrap_or(1);
        let (disk, bytes) = open(directory, first)?;
        let log = Self {
            directory: directory.to_owned(),
            limits,
            disk: Box::new(disk),
            bytes,
            last,
            head,
            files,
            failed: None,
        };
        Ok((log, problem))
    }

    /// Writes to another disk from now on.
    #[cfg(test)]
    pub fn use_disk(&mut self, disk: Box<dyn Disk>) {
        self.disk = disk;
    }

    /// Appends entries and makes them durable, all or none. Returns the number of the first.
    ///
    /// # Errors
    /// If they cannot be written; nothing of them is in the file then.
    pub fn append(&mut self, drafts: Vec<Draft>) -> Result<u64, AuditError> {
        if let Some(problem) = &self.failed {
            return Err(AuditError::Failed { directory: self.directory.clone(), problem: problem.clone() });
        }
        let failed = |log: &Self, source| AuditError::Io { directory: log.directory.clone(), source };
        if self.bytes >= self.limits.file_bytes_max {
            self.begin_file().map_err(|source| failed(self, source))?;
        }
        let (mut number, mut head, mut bytes) = (self.last, self.head, Vec::new());
        for draft in drafts {
            number += 1;
            let entry = Entry::new(draft, number, &head);
            head = entry.own_hash().unwrap_or(BEGINNING);
            bytes.extend_from_slice(&entry.line());
        }
        if let Err(source) = self.disk.append(&bytes) {
            if let Err(error) = self.disk.cut(self.bytes) {
                self.failed = Some(format!("{source}, and then {error}"));
            }
            return Err(failed(self, source));
        }
        if let Err(source) = self.disk.sync() {
            self.failed = Some(source.to_string());
            return Err(failed(self, source));
        }
        let first = self.last + 1;
        (self.last, self.head, self.bytes) = (number, head, self.bytes + bytes.len() as u64);
        Ok(first)
    }

    /// The next file; if there are too many then, the oldest goes.
    fn begin_file(&mut self) -> io::Result<()> {
        let first = self.last + 1;
        let (disk, bytes) = open(&self.directory, first)?;
        (self.disk, self.bytes) = (Box::new(disk), bytes);
        if self.files.back() != Some(&first) {
            self.files.push_back(first);
        }
        while self.files.len() > self.limits.files_max.max(2) {
            let (Some(oldest), Some(next)) = (self.files.front().copied(), self.files.get(1).copied()) else { break };
            let hash = read::first_of(&read::path(&self.directory, next))?.map(|entry| entry.before);
            let removed = Draft {
                at_unix_ms: super::now_unix_ms(),
                by: super::COORDINATOR.into(),
                action: read::REMOVED.into(),
                request: serde_json::json!({ "entries_up_to": next - 1, "hash": hash }).to_string(),
                outcome: "OK".into(),
                ..Draft::default()
            };
            // First it is written down, then it is done.
            let entry = Entry::new(removed, self.last + 1, &self.head);
            let line = entry.line();
            self.disk.append(&line)?;
            self.disk.sync()?;
            self.last = entry.number;
            self.head = entry.own_hash().unwrap_or(BEGINNING);
            self.bytes += line.len() as u64;
            fs::remove_file(read::path(&self.directory, oldest))?;
            self.files.pop_front();
        }
        Ok(())
    }

    /// The number of the last entry, and its hash.
    #[must_use]
    pub const fn head(&self) -> (u64, &Hash) {
        (self.last, &self.head)
    }
}

fn open(directory: &Path, first: u64) -> io::Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = read::path(directory, first);
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    let bytes = file.metadata()?.len();
    // That the file is there has to be durable, not only what is in it.
    File::open(directory)?.sync_all()?;
    Ok((file, bytes))
}

/// The hash of the last entry before an empty last file.
fn previous_head(directory: &Path, files: &VecDeque<u64>) -> io::Result<Hash> {
    let Some(before) = files.len().checked_sub(2).and_then(|place| files.get(place)) else { return Ok(BEGINNING) };
    let last = read::end_of(&read::path(directory, *before))?.last;
    Ok(last.and_then(|entry| entry.own_hash()).unwrap_or(BEGINNING))
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
