//! Removal of what is past its time.

use rusqlite::{Transaction, params};

use super::{
    super::{Expiry, Pruned, StoreError},
    codes, declared, records, series,
};

/// Removes what is past its time, at most `limit` of each.
pub fn prune(transaction: &Transaction<'_>, expiry: Expiry, limit: usize) -> Result<Pruned, StoreError> {
    let (before, history) = (codes::micros(expiry.tasks), codes::micros(expiry.history));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let tasks = prune_tasks(transaction, before, limit)?;
    let mut more = codes::int(tasks as u64) == limit;
    more |= prune_cluster_events(transaction, before, limit)?;
    more |= records::prune(transaction, before, history, limit)?;
    more |= declared::prune(transaction, history, limit)?;
    more |= series::thin(transaction, expiry)?;
    Ok(Pruned { tasks, more })
}

fn prune_tasks(transaction: &Transaction<'_>, before: i64, limit: i64) -> Result<usize, StoreError> {
    let mut over = transaction.prepare_cached(
        "SELECT place, id FROM tasks INDEXED BY tasks_over WHERE state >= 4 AND state_at < ?1 ORDER BY state_at LIMIT ?2",
    )?;
    let tasks: Vec<(i64, [u8; 16])> =
        over.query_map(params![before, limit], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for &(place, id) in &tasks {
        note_pruned(transaction, "SELECT max(position) FROM task_events WHERE task = ?1", params![id])?;
        transaction.prepare_cached("DELETE FROM task_events WHERE task = ?1")?.execute(params![id])?;
        transaction.prepare_cached("DELETE FROM attempts WHERE task = ?1")?.execute(params![id])?;
        transaction.prepare_cached("DELETE FROM outputs WHERE place = ?1")?.execute(params![place])?;
        transaction.prepare_cached("DELETE FROM inputs WHERE place = ?1")?.execute(params![place])?;
        transaction.prepare_cached("DELETE FROM tasks WHERE place = ?1")?.execute(params![place])?;
    }
    Ok(tasks.len())
}

/// The oldest come first by position, so only the first `limit` need be looked at. Answers whether there may be more.
fn prune_cluster_events(transaction: &Transaction<'_>, before: i64, limit: i64) -> Result<bool, StoreError> {
    let oldest = "SELECT position, at FROM cluster_events ORDER BY position LIMIT ?2";
    let newest_pruned = format!("SELECT max(position) FROM ({oldest}) WHERE at < ?1");
    note_pruned(transaction, &newest_pruned, params![before, limit])?;
    let delete =
        format!("DELETE FROM cluster_events WHERE position IN (SELECT position FROM ({oldest}) WHERE at < ?1)");
    let removed = transaction.prepare_cached(&delete)?.execute(params![before, limit])?;
    Ok(codes::int(removed as u64) == limit)
}

/// Remembers up to where events may be missing.
fn note_pruned(transaction: &Transaction<'_>, newest: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
    let position: Option<i64> = transaction.prepare_cached(newest)?.query_row(values, |row| row.get(0))?;
    let sql = "UPDATE meta SET pruned_position = max(pruned_position, ?1)";
    if let Some(position) = position {
        transaction.prepare_cached(sql)?.execute(params![position])?;
    }
    Ok(())
}
