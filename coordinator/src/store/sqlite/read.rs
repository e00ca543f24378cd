//! The readers' side: a few connections that only read, each with its own view of the last commit.

use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use evenkeel_core::model::{
    ClusterEvent, ClusterEventKind, CostEntry, Declaration, ScalingRecord, TaskEvent, TaskEventKind, UsageSample,
};
use evenkeel_shared::{AttemptEnd, AttemptNumber, AttemptRef, EventPosition, TaskId, TaskState, Tenant};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params, params_from_iter, types::Value};

use super::{
    super::{
        AllocationFilter, ClusterEventFilter, CostQuery, DeclarationQuery, Page, RecommendationFilter, RecordPage,
        Records, StoreError, StoreReader, StoredAllocation, StoredAttempt, StoredTask, TaskFilter, TaskPage, TimeRange,
        UsageQuery,
    },
    codes::{self, Coded},
    declared, list, open, records, row, series, sums,
};

/// Connections that read at the same time: as many as the disk can make use of; more would only cost memory.
pub const CONNECTIONS_MAX: usize = 4;
/// How long a reader waits for one of them: queries are short, so beyond it something is wrong.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

/// Reads from the database, beside its writer.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    wait_max: Duration,
    pool: Mutex<Pool>,
    freed: Condvar,
}

/// A connection that goes back when the query is done, however it ended.
struct Borrowed<'a> {
    reader: &'a SqliteReader,
    /// `None`: it could not be opened.
    connection: Option<Connection>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut pool = self.reader.pool();
        match self.connection.take() {
            Some(connection) => pool.idle.push(connection),
            None => pool.open -= 1,
        }
        drop(pool);
        self.reader.freed.notify_one();
    }
}

impl SqliteReader {
    pub fn new(path: PathBuf) -> Self {
        Self { path, wait_max: WAIT_MAX, pool: Mutex::default(), freed: Condvar::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A panic elsewhere leaves the pool as it is: it is changed in single steps.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `query` use a connection.
    fn with<T>(&self, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut borrowed = self.borrow()?;
        let connection = match borrowed.connection.take() {
            Some(connection) => connection,
            None => open::connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        query(borrowed.connection.insert(connection))
    }

    fn borrow(&self) -> Result<Borrowed<'_>, StoreError> {
        let full = |pool: &mut Pool| pool.idle.is_empty() && pool.open >= CONNECTIONS_MAX;
        let waited = self.freed.wait_timeout_while(self.pool(), self.wait_max, full);
        let (mut pool, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(StoreError::Busy { waited: self.wait_max });
        }
        let connection = pool.idle.pop();
        if connection.is_none() {
            pool.open += 1;
        }
        Ok(Borrowed { reader: self, connection })
    }
}

impl StoreReader for SqliteReader {
    fn task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
        let sql = format!(
            "SELECT {}, output, output_sum FROM tasks LEFT JOIN inputs USING (place) LEFT JOIN outputs USING (place)
             WHERE id = ?1",
            row::TASK_COLUMNS
        );
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query_and_then(params![codes::id(id)], |row| {
                let output: Vec<u8> = row.get::<_, Option<_>>("output")?.unwrap_or_default();
                sums::check_bytes("the output", &output, row.get("output_sum")?, id)?;
                Ok(StoredTask { output: output.into(), ..row::task(row)? })
            })?;
            rows.next().transpose()
        })
    }

    fn payload(&self, id: TaskId) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT payload, payload_sum FROM tasks JOIN inputs USING (place) WHERE id = ?1";
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row(params![codes::id(id)], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)));
            let Some((payload, sum)) = found.optional()? else { return Ok(None) };
            sums::check_bytes("the payload", &payload, sum, id)?;
            Ok(Some(Bytes::from(payload)))
        })
    }

    fn attempts(&self, id: TaskId) -> Result<Vec<StoredAttempt>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM attempts WHERE task = ?1 ORDER BY attempt")?;
            let rows = statement.query_and_then(params![codes::id(id)], |row| row::attempt(row, id))?;
            rows.collect()
        })
    }

    fn by_keys(&self, keys: &[(Tenant, String)]) -> Result<Vec<Option<(TaskId, u128)>>, StoreError> {
        let sql = "SELECT id, fingerprint FROM tasks WHERE tenant = ?1 AND key = ?2";
        self.with(|connection| {
            // One transaction: each would take and give back the locks of the database by itself, which is most of the work.
            let transaction = connection.unchecked_transaction()?;
            let mut statement = transaction.prepare_cached(sql)?;
            let mut found = Vec::with_capacity(keys.len());
            for (tenant, key) in keys {
                let mut rows = statement.query_and_then(params![tenant.as_str(), key], |row| {
                    Ok::<_, StoreError>((codes::task_id(row, "id")?, codes::bits(row, "fingerprint")?))
                })?;
                found.push(rows.next().transpose()?);
            }
            Ok(found)
        })
    }

    fn result_recorded(&self, attempt: AttemptRef) -> Result<bool, StoreError> {
        let sql = "SELECT ended_how, run_us FROM attempts WHERE task = ?1 AND attempt = ?2 AND assignment = ?3";
        self.with(|connection| {
            let values = params![codes::id(attempt.task), attempt.attempt.0, codes::int(attempt.assignment.0)];
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((Some(how), Some(run_us))) = found else { return Ok(false) };
            Ok(ended_by_agent(AttemptEnd::of_code(how)?, run_us))
        })
    }

    fn list(&self, filter: &TaskFilter, page: Page) -> Result<TaskPage, StoreError> {
        self.with(|connection| list::list(connection, filter, page))
    }

    fn task_events(&self, tasks: &[TaskId], after: EventPosition, limit: usize) -> Result<Vec<TaskEvent>, StoreError> {
        let (after, rows_max) = (codes::position(after), i64::try_from(limit).unwrap_or(i64::MAX));
        self.with(|connection| {
            if tasks.is_empty() {
                let sql = "SELECT * FROM task_events WHERE position > ?1 ORDER BY position LIMIT ?2";
                let mut statement = connection.prepare_cached(sql)?;
                return statement.query_and_then(params![after, rows_max], task_event)?.collect();
            }
            // The index has the positions of a task in order, so this reads no more than it gives.
            let sql = "SELECT * FROM task_events INDEXED BY task_events_by_task
                       WHERE task = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let mut events = Vec::new();
            for &task in tasks {
                for event in statement.query_and_then(params![codes::id(task), after, rows_max], task_event)? {
                    events.push(event?);
                }
            }
            events.sort_by_key(|event: &TaskEvent| event.position);
            events.dedup_by_key(|event| event.position);
            events.truncate(limit);
            Ok(events)
        })
    }

    fn cluster_events(
        &self,
        filter: &ClusterEventFilter,
        after: EventPosition,
        limit: usize,
    ) -> Result<Vec<ClusterEvent>, StoreError> {
        let mut sql = "SELECT * FROM cluster_events WHERE position > ?".to_owned();
        let mut values = vec![Value::Integer(codes::position(after))];
        if let Some(agent) = &filter.agent {
            sql.push_str(" AND agent = ?");
            values.push(Value::Text(agent.as_str().to_owned()));
        }
        if !filter.kinds.is_empty() {
            let kinds: Vec<_> = filter.kinds.iter().map(|kind| kind.code().to_string()).collect();
            sql.push_str(&format!(" AND kind IN ({})", kinds.join(", ")));
        }
        sql.push_str(" ORDER BY position LIMIT ?");
        values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        self.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            statement.query_and_then(params_from_iter(values), cluster_event)?.collect()
        })
    }

    fn oldest_position(&self) -> Result<EventPosition, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT pruned_position FROM meta")?;
            let pruned = codes::uint(statement.query_row([], |row| row.get(0))?)?;
            Ok(EventPosition(pruned + 1))
        })
    }

    fn redriven_as(&self, id: TaskId) -> Result<Option<TaskId>, StoreError> {
        let sql = "SELECT id FROM tasks WHERE redrive_of = ?1 ORDER BY id DESC LIMIT 1";
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query_and_then(params![codes::id(id)], |row| codes::task_id(row, "id"))?;
            rows.next().transpose()
        })
    }

    fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageSample>, StoreError> {
        self.with(|connection| series::usage(connection, query))
    }

    fn costs(&self, query: &CostQuery) -> Result<Vec<CostEntry>, StoreError> {
        self.with(|connection| series::costs(connection, query))
    }

    fn declarations(&self, query: &DeclarationQuery) -> Result<Vec<Declaration>, StoreError> {
        self.with(|connection| declared::query(connection, query))
    }

    fn recommendations(
        &self,
        filter: &RecommendationFilter,
        page: RecordPage,
    ) -> Result<Records<Declaration>, StoreError> {
        self.with(|connection| declared::recommendations(connection, filter, page))
    }

    fn scaling_events(&self, range: TimeRange, page: RecordPage) -> Result<Records<ScalingRecord>, StoreError> {
        self.with(|connection| records::scaling(connection, range, page))
    }

    fn allocation_events(
        &self,
        filter: &AllocationFilter,
        page: RecordPage,
    ) -> Result<Records<StoredAllocation>, StoreError> {
        self.with(|connection| records::allocations(connection, filter, page))
    }
}

/// Whether the agent itself said that the attempt was over. Of two ends that the coordinator can also decide, only the
/// agent knows how long the attempt ran.
fn ended_by_agent(end: AttemptEnd, run_us: i64) -> bool {
    match end {
        AttemptEnd::Succeeded | AttemptEnd::Failed | AttemptEnd::Rejected | AttemptEnd::HandedBack => true,
        AttemptEnd::TimedOut | AttemptEnd::Cancelled => run_us > 0,
        AttemptEnd::AgentLost | AttemptEnd::Expired => false,
    }
}

fn task_event(row: &Row<'_>) -> Result<TaskEvent, StoreError> {
    Ok(TaskEvent {
        position: EventPosition(codes::uint(row.get("position")?)?),
        at: codes::timestamp(row.get("at")?)?,
        task: codes::task_id(row, "task")?,
        kind: TaskEventKind::of_code(row.get("kind")?)?,
        state: TaskState::of_code(row.get("state")?)?,
        attempt: AttemptNumber(codes::count(row.get("attempt")?)?),
        agent: codes::optional_name(row, "agent")?,
        // Progress is not kept on disk.
        progress: 0.0,
        message: row.get("message")?,
    })
}

fn cluster_event(row: &Row<'_>) -> Result<ClusterEvent, StoreError> {
    Ok(ClusterEvent {
        position: EventPosition(codes::uint(row.get("position")?)?),
        at: codes::timestamp(row.get("at")?)?,
        kind: ClusterEventKind::of_code(row.get("kind")?)?,
        agent: codes::optional_name(row, "agent")?,
        task: codes::optional_task_id(row, "task")?,
        message: row.get("message")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_beyond_the_last_connection_are_told_to_try_again() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("some.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let reader = SqliteReader { wait_max: Duration::from_millis(1), ..SqliteReader::new(path) };
        let mut borrowed: Vec<_> = (0..CONNECTIONS_MAX).map(|_| reader.borrow().unwrap()).collect();
        let refused = reader.with(|_| Ok(())).unwrap_err();
        assert!(matches!(refused, StoreError::Busy { .. }) && !refused.is_fatal(), "{refused}");
        borrowed.pop();
        reader.with(|_| Ok(())).unwrap();
    }

    #[test]
    fn a_connection_that_could_not_be_opened_takes_no_place() {
        let reader = SqliteReader::new("/nowhere/at/all.db".into());
        for _ in 0..2 * CONNECTIONS_MAX {
            assert!(matches!(reader.with(|_| Ok(())), Err(StoreError::Disk(_))));
        }
    }
}
