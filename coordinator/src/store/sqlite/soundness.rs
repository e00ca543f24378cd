//! A database that its last owner did not release is looked through before anything is built on it.
//!
//! SQLite's quick check reads every page: it finds what is no tree, pages that are used twice or not at all, columns that
//! hold what they must not, and indexes with too few or too many entries. It does not look whether the entries of an index
//! are those of its table, which the full check does by a search for each row in each index: seven times the time, and
//! most of a start with a million tasks. So the indexes that promises rest on are compared here in another way: a sum over
//! what each has, in its own order, and one over what the table says it should have. Sums do not depend on the order, so
//! both are read straight on.
//!
//! What those indexes answer: which tasks are live, which keys are taken, where the task of an id is. The others serve lists
//! alone; an entry of theirs that is damaged may hide a task from a list, until SQLite misses it when the task changes.

use rusqlite::{Connection, Row, types::ValueRef};

use super::{super::StoreError, codes::SUCCEEDED, sums::Sum};

/// Looks through a database that its last owner did not release.
pub fn check(connection: &Connection) -> Result<(), StoreError> {
    if connection.query_row("SELECT clean FROM meta", [], |row| row.get(0))? {
        return Ok(());
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt(verdict));
    }
    check_indexes(connection)
}

/// Sums over entries of the three indexes, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entries {
    by_id: u64,
    live: u64,
    by_key: u64,
}

fn check_indexes(connection: &Connection) -> Result<(), StoreError> {
    let mut table = Entries::default();
    each(connection, "SELECT place, id, state, tenant, key FROM tasks NOT INDEXED", |row| {
        let (place, id) = (row.get_ref(0)?, row.get_ref(1)?);
        let entry = entry(&[id, place])?;
        table.by_id = table.by_id.wrapping_add(entry);
        if row.get::<_, i64>(2)? < SUCCEEDED {
            table.live = table.live.wrapping_add(entry);
        }
        let (tenant, key) = (row.get_ref(3)?, row.get_ref(4)?);
        if key != ValueRef::Null {
            table.by_key = table.by_key.wrapping_add(self::entry(&[tenant, key, place])?);
        }
        Ok(())
    })?;
    let by_id = sum(connection, "SELECT id, place FROM tasks INDEXED BY sqlite_autoindex_tasks_1")?;
    let live = sum(connection, "SELECT id, place FROM tasks INDEXED BY tasks_live WHERE state < 4")?;
    let by_key = sum(connection, "SELECT tenant, key, place FROM tasks INDEXED BY tasks_by_key WHERE key IS NOT NULL")?;
    for (what, same) in [
        ("ids", by_id == table.by_id),
        ("tasks that are not over", live == table.live),
        ("idempotency keys", by_key == table.by_key),
    ] {
        if !same {
            return Err(StoreError::Corrupt(format!("the index of {what} does not have what the tasks have")));
        }
    }
    Ok(())
}

/// The sum of all rows, whatever their order.
fn sum(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    let mut sum = 0_u64;
    each(connection, sql, |row| {
        let columns = row.as_ref().column_count();
        let mut values = [ValueRef::Null; 3];
        for (at, value) in values.iter_mut().enumerate().take(columns) {
            *value = row.get_ref(at)?;
        }
        sum = sum.wrapping_add(entry(&values[..columns.min(values.len())])?);
        Ok(())
    })?;
    Ok(sum)
}

fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

/// The sum of one entry.
fn entry(values: &[ValueRef<'_>]) -> Result<u64, StoreError> {
    let sum = values.iter().try_fold(Sum::new(), |sum, value| match value {
        ValueRef::Integer(number) => Ok(sum.part(&number.to_le_bytes())),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(sum.part(bytes)),
        ValueRef::Null | ValueRef::Real(_) => {
            Err(StoreError::unreadable("what a task is looked up by", value.data_type()))
        }
    })?;
    Ok(sum.stored().cast_unsigned())
}
