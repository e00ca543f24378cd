//! Decisions about the size of the fleet, and what limits, breakers, quotas, budgets and failovers did.

use evenkeel_core::model::{AllocationRecord, ScalingRecord};
use rusqlite::{Connection, Row, Transaction, params};

use super::{
    super::{AllocationFilter, ROWS_MAX, RecordPage, RecordPlace, Records, StoreError, StoredAllocation, TimeRange},
    codes,
};

/// Records a decision, or what became of it.
pub fn scale(transaction: &Transaction<'_>, record: &ScalingRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO scaling_events (id, at, agents_before, agents_after, body) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET at = excluded.at, agents_before = excluded.agents_before,
                                         agents_after = excluded.agents_after, body = excluded.body";
    transaction.prepare_cached(sql)?.execute(params![
        codes::int(record.id),
        codes::micros(record.at),
        record.agents_before,
        record.agents_after,
        record.body,
    ])?;
    Ok(())
}

/// Records something that was done.
pub fn allocate(transaction: &Transaction<'_>, record: &AllocationRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO allocation_events (id, at, what, subject, message) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET at = excluded.at, what = excluded.what, subject = excluded.subject,
                                         message = excluded.message";
    transaction.prepare_cached(sql)?.execute(params![
        codes::int(record.id),
        codes::micros(record.at),
        record.what,
        record.subject,
        record.message,
    ])?;
    Ok(())
}

/// A page of rows that are newest first, of which one more than fits was read if there is one.
pub fn page<T>(mut rows: Vec<(RecordPlace, T)>, size: usize) -> Records<T> {
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|(place, _)| *place);
    Records { records: rows.into_iter().map(|(_, record)| record).collect(), next }
}

/// Below which place a page begins.
fn below(page: RecordPage) -> (i64, i64) {
    page.older_than.map_or((i64::MAX, i64::MAX), |place| (codes::micros(place.at), codes::int(place.id)))
}

fn size(page: RecordPage) -> usize {
    (page.size as usize).clamp(1, ROWS_MAX)
}

pub fn scaling(
    connection: &Connection,
    range: TimeRange,
    wanted: RecordPage,
) -> Result<Records<ScalingRecord>, StoreError> {
    let sql = "SELECT * FROM scaling_events WHERE at >= ?1 AND at < ?2 AND (at, id) < (?3, ?4)
               ORDER BY at DESC, id DESC LIMIT ?5";
    let (at, id) = below(wanted);
    let mut statement = connection.prepare_cached(sql)?;
    let values =
        params![codes::micros(range.from), codes::micros(range.before), at, id, codes::int(size(wanted) as u64 + 1)];
    let rows = statement.query_and_then(values, scaling_record)?;
    Ok(page(rows.collect::<Result<_, _>>()?, size(wanted)))
}

/// The decision that was made last.
pub fn newest_scaling(connection: &Connection) -> Result<Option<ScalingRecord>, StoreError> {
    let page = RecordPage { older_than: None, size: 1 };
    Ok(scaling(connection, TimeRange::ALL, page)?.records.pop())
}

fn scaling_record(row: &Row<'_>) -> Result<(RecordPlace, ScalingRecord), StoreError> {
    let record = ScalingRecord {
        id: codes::uint(row.get("id")?)?,
        at: codes::timestamp(row.get("at")?)?,
        agents_before: codes::count(row.get("agents_before")?)?,
        agents_after: codes::count(row.get("agents_after")?)?,
        body: row.get("body")?,
    };
    Ok((RecordPlace { at: record.at, id: record.id }, record))
}

pub fn allocations(
    connection: &Connection,
    filter: &AllocationFilter,
    wanted: RecordPage,
) -> Result<Records<StoredAllocation>, StoreError> {
    // One view of both, or what is written in between would be missing from its place.
    let view = connection.unchecked_transaction()?;
    let mut rows = Vec::new();
    for table in ["allocation_events", "failover_events"] {
        rows.extend(allocations_of(&view, table, filter, wanted)?);
    }
    rows.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    Ok(page(rows, size(wanted)))
}

fn allocations_of(
    connection: &Connection,
    table: &str,
    filter: &AllocationFilter,
    wanted: RecordPage,
) -> Result<Vec<(RecordPlace, StoredAllocation)>, StoreError> {
    let about = if filter.subject.is_some() { "AND subject = ?6" } else { "AND ?6 IS NULL" };
    let sql = format!(
        "SELECT id, at, what, subject, message FROM {table} WHERE at >= ?1 AND at < ?2 AND (at, id) < (?3, ?4) {about}
         ORDER BY at DESC, id DESC LIMIT ?5"
    );
    let (at, id) = below(wanted);
    let (from, before) = (codes::micros(filter.range.from), codes::micros(filter.range.before));
    let mut statement = connection.prepare_cached(&sql)?;
    let values = params![from, before, at, id, codes::int(size(wanted) as u64 + 1), filter.subject];
    statement.query_and_then(values, allocation)?.collect()
}

fn allocation(row: &Row<'_>) -> Result<(RecordPlace, StoredAllocation), StoreError> {
    let record = StoredAllocation {
        id: codes::uint(row.get("id")?)?,
        at: codes::timestamp(row.get("at")?)?,
        what: row.get("what")?,
        subject: row.get("subject")?,
        message: row.get("message")?,
    };
    Ok((RecordPlace { at: record.at, id: record.id }, record))
}

/// Removes what limits, breakers, quotas and budgets did before `tasks`, and decisions from before `history`: at most
/// `limit` of each. Answers whether there may be more.
pub fn prune(transaction: &Transaction<'_>, tasks: i64, history: i64, limit: i64) -> Result<bool, StoreError> {
    let mut more = false;
    for (table, before) in [("allocation_events", tasks), ("scaling_events", history)] {
        let sql = format!(
            "DELETE FROM {table} WHERE id IN (
                 SELECT id FROM {table} INDEXED BY {table}_by_time WHERE at < ?1 ORDER BY at, id LIMIT ?2)"
        );
        more |= codes::int(transaction.prepare_cached(&sql)?.execute(params![before, limit])? as u64) == limit;
    }
    Ok(more)
}
