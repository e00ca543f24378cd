//! The embedded store: one SQLite database in the data directory, which needs no server and no set-up.
//!
//! One connection writes, a few read. The journal is a write-ahead log, so that readers and the writer do not wait for
//! each other, and every commit waits for the disk (`synchronous=FULL`): what was answered is there after a power cut.
//! How many changes go into one commit, and with that the price of one, is up to the caller.
//!
//! The data directory belongs to one process at a time, by a lock on a file that ends with the process. The incarnation
//! is checked in each transaction all the same, for file systems whose locks do not hold.
//!
//! Rejected: several writing connections (SQLite has one writer whatever one does, and they would wait for each other);
//! `synchronous=NORMAL` (a power cut would take back what was answered); a memory database for ephemeral use (readers
//! would need its shared cache, whose table locks make them wait for the writer).

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use evenkeel_core::{engine::Change, model::Recovery};
use evenkeel_shared::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{Expiry, Pruned, Store, StoreError, StoreReader};

mod backup;
mod codes;
mod declared;
mod list;
mod log;
mod open;
mod prune;
mod read;
mod records;
mod recover;
mod reserved;
mod row;
mod series;
mod soundness;
mod sums;
mod write;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod earlier_tests;
#[cfg(test)]
mod tests;

pub use backup::{Copied, backup, restore};
pub use open::WRITER_CACHE_BYTES_DEFAULT;
pub use open::database_path;
pub use read::CONNECTIONS_MAX as READ_CONNECTIONS_MAX;
use read::SqliteReader;

/// The last incarnation: numbers of the engine carry it from bit 40 up and have to fit a signed 64-bit column.
pub const INCARNATION_MAX: u64 = (1 << 23) - 1;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The disk.
    Full,
    /// Nothing: the data is lost with the machine.
    None,
}

/// A store in one SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    reader: Arc<SqliteReader>,
    /// `None`: not claimed.
    incarnation: Option<u64>,
    _lock: File,
    /// Goes last, so that nothing in it is open any more.
    _scratch: Option<open::ScratchDir>,
}

impl SqliteStore {
    /// Opens the database in this data directory, and makes both if they are not there.
    ///
    /// A database that was not released cleanly is checked first. One of an older version is brought up to date; one of a
    /// newer version, a damaged one, and one of another program are left as they are.
    ///
    /// # Errors
    /// If somebody else has the directory, or the database cannot be used; the error says what to do.
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        let (connection, lock) = open::open(dir, durability)?;
        let reader = Arc::new(SqliteReader::new(database_path(dir)));
        Ok(Self { connection, reader, incarnation: None, _lock: lock, _scratch: None })
    }

    /// A store that ends with this value: in a directory of its own among the temporary files, without waiting for the
    /// disk. So it is the same engine with the same limits, and what works with it works with a lasting one.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn ephemeral() -> Result<Self, StoreError> {
        let scratch = open::ScratchDir::create()?;
        let store = Self::open(scratch.path(), Durability::None)?;
        Ok(Self { _scratch: Some(scratch), ..store })
    }

    /// The same store, with so much memory for the pages that it has read or written.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub fn with_cache(self, bytes: u64) -> Result<Self, StoreError> {
        open::limit_cache(&self.connection, bytes)?;
        Ok(self)
    }

    /// Where the data is.
    #[must_use]
    pub fn database_path(&self) -> PathBuf {
        self.reader.path().to_owned()
    }

    /// Begins a transaction that writes, if this is still the incarnation that may.
    fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        let own = self.incarnation.ok_or(StoreError::NotClaimed)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = incarnation(&transaction)?;
        if found == own { Ok(transaction) } else { Err(StoreError::Fenced { found, own }) }
    }
}

impl Store for SqliteStore {
    fn claim(&mut self, _now: Timestamp) -> Result<Recovery, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next = incarnation(&transaction)? + 1;
        if next > INCARNATION_MAX {
            return Err(StoreError::unreadable("the last incarnation that can be", next - 1));
        }
        let released = recover::live_when_released(&transaction)?;
        transaction.execute("UPDATE meta SET incarnation = ?1, clean = 0", params![codes::int(next)])?;
        let recovery = recover::recover(&transaction, next)?;
        let found = recovery.tasks.len();
        if released.is_some_and(|released| released != found as u64) {
            let what = format!("{} tasks were not over when it was released, {found} are found", released.unwrap_or(0));
            return Err(StoreError::Corrupt(what));
        }
        transaction.commit()?;
        self.incarnation = Some(next);
        Ok(recovery)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        for change in changes {
            write::apply(&transaction, change)?;
        }
        Ok(transaction.commit()?)
    }

    fn release(&mut self) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        let live = "SELECT count(*) FROM tasks INDEXED BY tasks_live WHERE state < 4";
        transaction.execute(&format!("UPDATE meta SET clean = 1, live = ({live})"), [])?;
        transaction.commit()?;
        self.incarnation = None;
        // The log is emptied into the database, so that the directory can be copied as it is. A reader that is still at it
        // leaves part of the log, which is no less safe.
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn prune(&mut self, expiry: Expiry, limit: usize) -> Result<Pruned, StoreError> {
        let transaction = self.begin()?;
        let pruned = prune::prune(&transaction, expiry, limit)?;
        transaction.commit()?;
        Ok(pruned)
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        self.reader.clone()
    }
}

fn incarnation(connection: &Connection) -> Result<u64, StoreError> {
    let number = connection.prepare_cached("SELECT incarnation FROM meta")?.query_row([], |row| row.get(0))?;
    codes::uint(number)
}
