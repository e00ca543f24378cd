//! From a directory to a database that can be used: ownership, identity, soundness, version.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{super::StoreError, Durability, log, soundness};

/// The oldest SQLite that will do: before it, a reset of the write-ahead log could lose a commit.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// "EVKL", so that other tools (and we) can tell whose database it is.
const APPLICATION_ID: u32 = 0x4556_4b4c;
/// What brings a database from each version to the next. Never changed once released, only added to.
const MIGRATIONS: [&str; 4] = [
    include_str!("0001_initial.sql"),
    include_str!("0002_checksums.sql"),
    include_str!("0003_resources.sql"),
    include_str!("0004_reservations.sql"),
];
/// How long to wait for a lock inside the database. There is one writer, so none is held for long: at most a checkpoint.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept: more than the store has.
const STATEMENTS_MAX: usize = 128;
/// Pages of the log before it is written into the database: 32 MiB. A page that changes often is then written once
/// rather than with every few commits.
const CHECKPOINT_PAGES: u32 = 8_192;
/// The log's file is cut back to this after it has been written into the database: a reader that was slow once should
/// not cost disk for ever.
const LOG_BYTES_KEPT: u32 = 64 << 20;
/// Memory for pages of the writer: the tasks and indexes that are live, of some hundred thousand tasks.
pub const WRITER_CACHE_BYTES_DEFAULT: u64 = 64 << 20;
/// Names tried for a directory of temporary data.
const SCRATCH_NAMES_MAX: u32 = 1_000;

/// The file that the database of a data directory is in.
#[must_use]
pub fn database_path(dir: &Path) -> PathBuf {
    dir.join("evenkeel.db")
}

/// Opens the database in `dir` for the one who owns it, and the lock that makes it so.
pub fn open(dir: &Path, durability: Durability) -> Result<(Connection, File), StoreError> {
    let lock = own(dir)?;
    let path = database_path(dir);
    create_file(&path)?;
    log::check(&log::path(&path))?;
    let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version = check_identity(&connection, &path)?;
    if version > 0 {
        soundness::check(&connection)?;
    }
    configure(&connection, durability)?;
    empty_log(&connection)?;
    migrate(&mut connection, version)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("flush", dir))?;
    Ok((connection, lock))
}

/// Makes a directory for a database if there is none, and takes it for the one who holds the lock.
pub fn own(dir: &Path) -> Result<File, StoreError> {
    check_library()?;
    create_dir(dir)?;
    lock(dir)
}

/// A connection with what all of them have in common.
pub fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // A list that is sorted must not need room on a disk that may be full.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn check_library() -> Result<(), StoreError> {
    if rusqlite::version_number() >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    let needed = format!(
        "{}.{}.{}",
        SQLITE_VERSION_MIN / 1_000_000,
        SQLITE_VERSION_MIN / 1_000 % 1_000,
        SQLITE_VERSION_MIN % 1_000
    );
    Err(StoreError::OldLibrary { found: rusqlite::version().to_owned(), needed })
}

/// Payloads are nobody else's business.
fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(StoreError::io("create", dir))
}

/// The log takes over the rights of the database.
pub fn create_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(StoreError::io("open", path))
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("evenkeel.lock");
    let file = create_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

/// Answers the version of the database, 0 for a new one. Reads only: what is not ours stays as it is.
pub fn check_identity(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    match (application, version, tables) {
        (0, 0, 0) => Ok(0),
        (application, version, _) if application == i64::from(APPLICATION_ID) => {
            let found = super::codes::count(version)?;
            if found > known { Err(StoreError::NewerVersion { found, known }) } else { Ok(found) }
        }
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}

fn configure(connection: &Connection, durability: Durability) -> Result<(), StoreError> {
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::None => "OFF",
    };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA journal_size_limit = {LOG_BYTES_KEPT};"
    ))?;
    limit_cache(connection, WRITER_CACHE_BYTES_DEFAULT)
}

/// Bounds the memory for pages of this connection.
pub fn limit_cache(connection: &Connection, bytes: u64) -> Result<(), StoreError> {
    // Below zero it is in KiB, and not in pages.
    let kib = i64::try_from(bytes / 1_024).unwrap_or(i64::MAX);
    Ok(connection.pragma_update(None, "cache_size", -kib)?)
}

/// Writes what a crash has left in the log into the database, so that nothing of it lies behind what is written next, where
/// [`log::check`] would have to wonder about it.
fn empty_log(connection: &Connection) -> Result<(), StoreError> {
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(StoreError::from) {
        // Without room it stays where it is, and a start for the sake of reading is still a start.
        Ok(()) | Err(StoreError::Full) => Ok(()),
        Err(error) => Err(error),
    }
}

fn migrate(connection: &mut Connection, version: u32) -> Result<(), StoreError> {
    for (to, migration) in (1_u32..).zip(MIGRATIONS).skip(version as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A directory for data that nobody wants to keep; removed with this value.
#[derive(Debug)]
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    pub fn create() -> Result<Self, StoreError> {
        let parent = std::env::temp_dir();
        let mut tried = 0;
        loop {
            let path = parent.join(format!("evenkeel-{}-{tried}", std::process::id()));
            let mut builder = DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tried < SCRATCH_NAMES_MAX => {
                    tried += 1;
                }
                Err(error) => return Err(StoreError::io("create", path)(error)),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans up temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
