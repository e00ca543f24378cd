//! What is special to this engine: its files, and what can be wrong with them.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    time::Duration,
};

use evenkeel_core::engine::{AcceptedTask, Change};
use evenkeel_shared::{Kind, TaskId, TaskSpec};
use tempfile::TempDir;

use super::{damage_tests::declarations, *};
use crate::store::{Retention, conformance::suite};

fn open(dir: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(SqliteStore::open(dir, Durability::None)?))
}

suite!(open);

const NOW: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

pub fn accept(order: u64) -> Change {
    Change::Accept(Arc::new(AcceptedTask {
        id: TaskId::new(NOW, u128::from(order) << 8),
        spec: Arc::new(TaskSpec::of_kind(Kind::new("echo").unwrap())),
        payload: vec![7; 2_000].into(),
        fingerprint: 1,
        order,
        at: NOW,
        redrive_of: None,
    }))
}

/// A data directory in which a hundred tasks were accepted.
pub fn used(durability: Durability, release: bool) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path(), durability).unwrap();
    store.claim(NOW).unwrap();
    store.commit(&(1..=100).map(accept).collect::<Vec<_>>()).unwrap();
    if release {
        store.release().unwrap();
    }
    dir
}

fn refusal(dir: &Path) -> StoreError {
    SqliteStore::open(dir, Durability::Full).expect_err("refused")
}

/// Changes the database behind the store's back.
fn with_database(dir: &Path, sql: &str) {
    Connection::open(database_path(dir)).unwrap().execute_batch(sql).unwrap();
}

/// Overwrites the middle of the file.
fn damage(dir: &Path) {
    let mut file = OpenOptions::new().read(true).write(true).open(database_path(dir)).unwrap();
    let length = file.metadata().unwrap().len();
    for page in (1..length / 4_096).step_by(2) {
        file.seek(SeekFrom::Start(page * 4_096)).unwrap();
        file.write_all(&[0xa5; 512]).unwrap();
    }
}

#[test]
fn with_full_durability_a_crash_keeps_what_was_committed() {
    let dir = used(Durability::Full, false);
    let mut store = SqliteStore::open(dir.path(), Durability::Full).unwrap();
    assert_eq!(store.claim(NOW).unwrap().tasks.len(), 100);
}

#[test]
fn a_writer_that_was_overtaken_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    store.claim(NOW).unwrap();
    with_database(dir.path(), "UPDATE meta SET incarnation = 7");
    let fenced = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Fenced { found: 7, own: 1 }));
    assert!(fenced(store.commit(&[accept(1)])));
    assert!(fenced(store.prune(Retention::of_tasks(Duration::ZERO).at(NOW), 1).map(drop)));
    assert!(fenced(store.release()));
    assert_eq!(store.claim(NOW).unwrap().tasks, []);
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    let dir = used(Durability::None, true);
    with_database(dir.path(), "PRAGMA user_version = 99");
    let before = fs::read(database_path(dir.path())).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, StoreError::NewerVersion { found: 99, known: 4 }), "{error}");
    assert_eq!(fs::read(database_path(dir.path())).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let dir = TempDir::new().unwrap();
    with_database(dir.path(), "CREATE TABLE songs (title TEXT)");
    assert!(matches!(refusal(dir.path()), StoreError::Foreign { .. }));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(database_path(dir.path()), "Dear diary, ".repeat(1_000)).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

#[test]
fn after_an_unclean_stop_damage_is_found_before_anything_is_built_on_it() {
    let dir = used(Durability::None, true);
    with_database(dir.path(), "UPDATE meta SET clean = 0; PRAGMA wal_checkpoint(TRUNCATE)");
    damage(dir.path());
    let error = refusal(dir.path());
    assert!(matches!(error, StoreError::Corrupt(_)) && error.is_fatal(), "{error}");
}

#[test]
fn after_an_unclean_stop_damage_that_can_still_be_read_is_found_too() {
    let dir = used(Durability::None, false);
    let impossible = "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL, -- 1', 'NOT NULL CHECK (clean), -- 1')";
    with_database(dir.path(), &format!("PRAGMA writable_schema = 1; {impossible} WHERE name = 'meta'"));
    let error = refusal(dir.path());
    assert!(matches!(&error, StoreError::Corrupt(verdict) if verdict.contains("CHECK")), "{error}");
}

#[test]
fn after_an_unclean_stop_a_sound_database_is_used() {
    let dir = used(Durability::None, false);
    let clean = |dir: &Path| -> bool {
        let connection = Connection::open(database_path(dir)).unwrap();
        connection.query_row("SELECT clean FROM meta", [], |row| row.get(0)).unwrap()
    };
    assert!(!clean(dir.path()));
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    assert_eq!(store.claim(NOW).unwrap().incarnation, 2);
    store.release().unwrap();
    assert!(clean(dir.path()));
}

#[test]
fn a_declaration_or_a_spending_that_is_not_what_was_written_is_refused() {
    let changed = |table: &str, sql: &str, named: &str| {
        let dir = TempDir::new().unwrap();
        let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
        store.claim(NOW).unwrap();
        store.commit(&declarations(1)).unwrap();
        store.release().unwrap();
        drop(store);
        with_database(dir.path(), &format!("UPDATE {table} SET {sql}"));
        let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
        let error = store.claim(NOW).unwrap_err();
        let says = matches!(&error, StoreError::Corrupt(what) if what.contains(named));
        assert!(says && error.is_fatal(), "{table}, {sql}: {error}");
    };
    changed("declarations", "body = '{\"n\":2}'", "limit-1");
    changed("declarations", "version = 2", "limit-1");
    changed("budget_configs", "reason = ''", "budget-1");
    changed("budget_spent", "spent = spent + 1", "budget-1");
    changed("budget_spent", "overrun = 1", "budget-1");
}

#[test]
fn the_last_incarnation_is_not_passed() {
    let dir = used(Durability::None, true);
    with_database(dir.path(), &format!("UPDATE meta SET incarnation = {}", INCARNATION_MAX - 1));
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    assert_eq!(store.claim(NOW).unwrap().incarnation, INCARNATION_MAX);
    assert!(matches!(store.claim(NOW), Err(StoreError::Corrupt(_))));
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing_half_done() {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    store.claim(NOW).unwrap();
    store.commit(&[accept(1)]).unwrap();
    store.connection.execute_batch("PRAGMA max_page_count = 120").unwrap();
    let many = (2..=1_000).map(accept).collect::<Vec<_>>();
    for _ in 0..3 {
        let error = store.commit(&many).unwrap_err();
        assert!(matches!(error, StoreError::Full) && !error.is_fatal(), "{error}");
    }
    store.commit(&[accept(2)]).unwrap();
    drop(store);
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    assert_eq!(store.claim(NOW).unwrap().tasks.len(), 2);
    store.commit(&(3..=1_000).map(accept).collect::<Vec<_>>()).unwrap();
}

#[test]
fn a_database_that_cannot_be_written_is_named() {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    store.connection.execute_batch("PRAGMA query_only = 1").unwrap();
    assert!(matches!(store.claim(NOW), Err(StoreError::ReadOnly)));
}

#[cfg(unix)]
#[test]
fn the_memory_for_pages_is_what_was_asked_for() {
    let dir = TempDir::new().unwrap();
    let kib = |store: &SqliteStore| {
        -store.connection.pragma_query_value(None, "cache_size", |row| row.get::<_, i64>(0)).unwrap()
    };
    let store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    assert_eq!(kib(&store), 65_536);
    let store = store.with_cache(2 << 20).unwrap();
    assert_eq!(kib(&store), 2_048);
}

#[test]
fn the_data_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("deep/data");
    let mut store = SqliteStore::open(&dir, Durability::Full).unwrap();
    store.claim(NOW).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in ["evenkeel.db", "evenkeel.db-wal", "evenkeel.lock"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
}

#[test]
fn an_ephemeral_store_leaves_nothing_behind() {
    let mut store = SqliteStore::ephemeral().unwrap();
    store.claim(NOW).unwrap();
    store.commit(&[accept(1)]).unwrap();
    let path = store.database_path();
    assert!(path.exists());
    drop(store);
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn readers_see_the_last_commit_while_the_writer_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    store.claim(NOW).unwrap();
    let reader = store.reader();
    let id = |order: u64| TaskId::new(NOW, u128::from(order) << 8);
    std::thread::scope(|scope| {
        for order in 1..=20 {
            store.commit(&[accept(order)]).unwrap();
            for _ in 0..6 {
                let reader = reader.clone();
                scope.spawn(move || assert!(reader.task(id(order)).unwrap().is_some()));
            }
        }
    });
}
