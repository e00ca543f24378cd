//! Lists of tasks, newest first, without looking at many that are not wanted.
//!
//! SQLite's planner knows no statistics here and would be right only by chance, so each list names its index. A filter by
//! states is split into groups that have an index each; the groups' newest tasks are then merged. Tasks sort by id, which
//! is by time of acceptance, so a bound on that time is a bound on the id.

use evenkeel_shared::{TaskId, TaskState, Timestamp};
use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    super::{Page, StoreError, StoredTask, TaskFilter, TaskPage},
    codes::{self, Coded, SUCCEEDED},
    row,
};

/// Most tasks in one page: a page is held in memory as a whole.
const PAGE_TASKS_MAX: u32 = 1_000;

/// One part of a list: an index, and what its tasks have in common.
struct Group {
    index: Option<&'static str>,
    condition: String,
}

pub fn list(connection: &Connection, filter: &TaskFilter, page: Page) -> Result<TaskPage, StoreError> {
    let size = page.size.clamp(1, PAGE_TASKS_MAX);
    // One view for all groups, or a task that changes its state in between would be listed twice or not at all.
    let view = connection.unchecked_transaction()?;
    let mut tasks = Vec::new();
    for group in groups(filter) {
        // One more than asked for tells whether there is another page.
        tasks.extend(read_group(&view, filter, page.older_than, &group, size + 1)?);
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.id));
    let more = tasks.len() > size as usize;
    tasks.truncate(size as usize);
    let next = tasks.last().filter(|_| more).map(|task| task.id);
    Ok(TaskPage { tasks, next })
}

fn groups(filter: &TaskFilter) -> Vec<Group> {
    let plain = |condition: String| Group { index: plain_index(filter), condition };
    if filter.states.is_empty() {
        return vec![plain(String::new())];
    }
    let mut live: Vec<_> = filter.states.iter().filter(|state| !state.is_terminal()).flat_map(stored_as).collect();
    let mut over: Vec<_> = filter.states.iter().filter(|state| state.is_terminal()).map(|state| state.code()).collect();
    live.sort_unstable();
    live.dedup();
    over.sort_unstable();
    over.dedup();
    let mut groups: Vec<_> = over
        .into_iter()
        .map(|state| match state {
            SUCCEEDED => plain(format!(" AND state = {SUCCEEDED}")),
            _ => Group { index: Some("tasks_unsuccessful"), condition: format!(" AND state > 4 AND state = {state}") },
        })
        .collect();
    if !live.is_empty() {
        let states: Vec<_> = live.iter().map(ToString::to_string).collect();
        let condition = format!(" AND state < 4 AND state IN ({})", states.join(", "));
        groups.push(Group { index: Some("tasks_live"), condition });
    }
    groups
}

/// The stored states that may stand for a live one.
fn stored_as(state: &TaskState) -> [i64; 2] {
    match state {
        TaskState::Queued | TaskState::RetryWait => [TaskState::Queued.code(), TaskState::RetryWait.code()],
        _ => [TaskState::Assigned.code(); 2],
    }
}

/// The index for tasks of any state, the narrowest first.
fn plain_index(filter: &TaskFilter) -> Option<&'static str> {
    if filter.agent.is_some() {
        Some("tasks_by_agent")
    } else if filter.tenant.is_some() {
        Some("tasks_by_tenant")
    } else if filter.kind.is_some() {
        Some("tasks_by_kind")
    } else {
        None
    }
}

fn read_group(
    connection: &Connection,
    filter: &TaskFilter,
    older_than: Option<TaskId>,
    group: &Group,
    limit: u32,
) -> Result<Vec<StoredTask>, StoreError> {
    let indexed = group.index.map(|index| format!("INDEXED BY {index}")).unwrap_or_default();
    let mut sql = format!(
        "SELECT {} FROM tasks {indexed} LEFT JOIN inputs USING (place) WHERE 1{}",
        row::TASK_COLUMNS,
        group.condition
    );
    let mut values = Vec::new();
    let mut restrict = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    };
    let text = |name: &str| Value::Text(name.to_owned());
    restrict(" AND agent = ?", filter.agent.as_ref().map(|agent| text(agent.as_str())));
    restrict(" AND tenant = ?", filter.tenant.as_ref().map(|tenant| text(tenant.as_str())));
    restrict(" AND kind = ?", filter.kind.as_ref().map(|kind| text(kind.as_str())));
    restrict(" AND id >= ?", filter.accepted_from.map(first_id));
    restrict(" AND id < ?", filter.accepted_before.map(first_id));
    restrict(" AND id < ?", older_than.map(|task| Value::Blob(codes::id(task).to_vec())));
    sql.push_str(&format!(" ORDER BY id DESC LIMIT {limit}"));
    let mut statement = connection.prepare(&sql)?;
    statement.query_and_then(params_from_iter(values), row::task)?.collect()
}

/// Sorts before every id of this millisecond and after every id of the one before. A time later than ids can tell (RFC
/// 9562: 48 bits of milliseconds) counts as the last one.
fn first_id(at: Timestamp) -> Value {
    const MILLIS_SHIFT: u32 = 80;
    const MILLIS_MAX: u64 = (1 << 48) - 1;
    let first = u128::from(at.unix_millis().min(MILLIS_MAX)) << MILLIS_SHIFT;
    Value::Blob(first.to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_times_sort_after_all_others() {
        let bytes = |at| {
            let Value::Blob(bytes) = first_id(at) else { panic!("an id is a blob") };
            bytes
        };
        let next_century = Timestamp::from_unix_micros(4_102_444_800_000_000);
        assert!(bytes(Timestamp::from_unix_micros(u64::MAX)) > bytes(next_century));
        assert!(bytes(Timestamp::from_unix_micros((1 << 48) * 1_000)) > bytes(next_century));
    }
}
