//! Copies of the database: taken while a coordinator works on it, and put where one is to start.
//!
//! SQLite writes the copy itself (`VACUUM INTO`): one transaction's view of everything, without what was deleted. Whoever writes
//! goes on meanwhile. Rejected: copying the files, which of a database that is written to are of different moments.
//!
//! Numbers of attempts, sessions and events begin with the incarnation of who made them. A coordinator that starts on a copy
//! would be the same incarnation as the one that went on after the copy was made, and take a late result of that one's for its
//! own. So what is restored skips [`INCARNATIONS_SKIPPED`].

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, params};

use super::{INCARNATION_MAX, StoreError, codes, incarnation, open, soundness};

/// More than a coordinator starts between a backup and the day on which it is needed.
const INCARNATIONS_SKIPPED: u64 = 1_024;

/// What a copy has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the file.
    pub bytes: u64,
    /// Tasks, those that are over included.
    pub tasks: u64,
    /// Tasks that are not over.
    pub live: u64,
    /// The version of the database.
    pub version: u32,
}

/// Writes a copy of the database of a data directory to a file that is not there yet. A coordinator may be at work in the
/// directory.
///
/// # Errors
/// If there is no database of Evenkeel, or the file is there or cannot be written. No part of a copy is left then.
pub fn backup(data_dir: &Path, to: &Path) -> Result<Copied, StoreError> {
    let path = open::database_path(data_dir);
    let source = open::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = open::check_identity(&source, &path)?;
    copy(&source, &path, version, to, |copy, _| Ok(copy))
}

/// Puts a copy into a data directory that has no database. A copy of an older version is brought up to date by the
/// coordinator that starts on it.
///
/// # Errors
/// If the copy is not one, is damaged, or is of a newer version, or the directory has a database. Nothing is left then.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Copied, StoreError> {
    let source = open::connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = open::check_identity(&source, from)?;
    let _lock = open::own(data_dir)?;
    let prepare = |copy: Connection, part: &Path| {
        let next = incarnation(&copy)? + INCARNATIONS_SKIPPED;
        if next > INCARNATION_MAX {
            return Err(StoreError::unreadable("the last incarnation that can be", next));
        }
        // It is looked through as one that nobody released: a backup lies around for long, on other disks.
        copy.execute("UPDATE meta SET incarnation = ?1, clean = 0", params![codes::int(next)])?;
        soundness::check(&copy)?;
        copy.close().map_err(|(_, error)| StoreError::from(error))?;
        // With a write-ahead log from the beginning, which a connection cannot change to that has read much.
        let copy = open::connect(part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        Ok(copy)
    };
    copy(&source, from, version, &open::database_path(data_dir), prepare)
}

/// Beside its place first, so that whatever is in its place is whole.
fn copy(
    source: &Connection,
    path: &Path,
    version: u32,
    to: &Path,
    prepare: impl FnOnce(Connection, &Path) -> Result<Connection, StoreError>,
) -> Result<Copied, StoreError> {
    if version == 0 {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if to.exists() {
        return Err(StoreError::io("make", to)(io::ErrorKind::AlreadyExists.into()));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let made = write(source, &part, version, prepare).and_then(|copied| {
        fs::rename(&part, to).map_err(StoreError::io("make", to))?;
        Ok(copied)
    });
    match made {
        Ok(copied) => {
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(StoreError::io("flush", parent))?;
            Ok(copied)
        }
        Err(error) => {
            // What went wrong counts; what is left of it has a name that says what it is.
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

fn write(
    source: &Connection,
    part: &Path,
    version: u32,
    prepare: impl FnOnce(Connection, &Path) -> Result<Connection, StoreError>,
) -> Result<Copied, StoreError> {
    let file = open::create_file(part)?;
    // What an earlier try has left.
    file.set_len(0).map_err(StoreError::io("empty", part))?;
    source.execute("VACUUM INTO ?1", params![part.to_string_lossy()])?;
    let copy = open::connect(part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let copy = prepare(copy, part)?;
    let count = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(StoreError::from);
    let (tasks, live) = (count("SELECT count(*) FROM tasks")?, count("SELECT count(*) FROM tasks WHERE state < 4")?);
    copy.close().map_err(|(_, error)| StoreError::from(error))?;
    file.sync_all().map_err(StoreError::io("flush", part))?;
    let bytes = file.metadata().map_err(StoreError::io("read", part))?.len();
    Ok(Copied { bytes, tasks: codes::uint(tasks)?, live: codes::uint(live)?, version })
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::Timestamp;
    use tempfile::TempDir;

    use super::*;
    use crate::store::{
        Store as _,
        sqlite::{Durability, SqliteStore, tests},
    };

    const NOW: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

    fn incarnation_of(dir: &Path) -> u64 {
        incarnation(&Connection::open(open::database_path(dir)).unwrap()).unwrap()
    }

    #[test]
    fn a_copy_that_is_made_while_tasks_come_in_has_all_from_before_and_starts_elsewhere() {
        let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
        store.claim(NOW).unwrap();
        store.commit(&(1..=100).map(tests::accept).collect::<Vec<_>>()).unwrap();
        let file = elsewhere.path().join("evenkeel.backup");
        let copied = backup(dir.path(), &file).unwrap();
        assert_eq!((copied.tasks, copied.live), (100, 100));
        store.commit(&[tests::accept(101)]).unwrap();

        let data = elsewhere.path().join("data");
        assert_eq!(restore(&file, &data).unwrap().tasks, 100);
        assert!(incarnation_of(&data) > incarnation_of(dir.path()) + 1_000);
        let mut restored = SqliteStore::open(&data, Durability::None).unwrap();
        assert_eq!(restored.claim(NOW).unwrap().tasks.len(), 100);
    }

    #[test]
    fn nothing_is_written_over_and_nothing_half_is_left() {
        let dir = tests::used(Durability::None, true);
        let elsewhere = TempDir::new().unwrap();
        let file = elsewhere.path().join("evenkeel.backup");
        backup(dir.path(), &file).unwrap();
        assert!(matches!(backup(dir.path(), &file), Err(StoreError::Io { .. })), "it is there");
        assert!(matches!(restore(&file, dir.path()), Err(StoreError::Io { .. })), "there is a database");

        let bytes = fs::read(&file).unwrap();
        fs::write(&file, [&bytes[..bytes.len() / 2], &[7; 512]].concat()).unwrap();
        let data = elsewhere.path().join("data");
        assert!(restore(&file, &data).is_err(), "it is damaged");
        assert!(!open::database_path(&data).exists());
        fs::write(&file, "no database").unwrap();
        assert!(restore(&file, &data).is_err());
        assert!(!data.join("evenkeel.db.part").exists());
    }
}
