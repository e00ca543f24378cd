//! Everything that is not over, for the engine to go on with.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use evenkeel_core::model::{RecoveredAdmin, RecoveredState, RecoveredTask, Recovery};
use evenkeel_shared::{
    AdminState, AssignmentId, AttemptNumber, AttemptRef, StrategyConfig, TaskId, TaskSpec, TaskState, Timestamp,
};
use rusqlite::{Connection, Row};

use super::{
    super::StoreError,
    codes::{self, Coded},
    declared, records, reserved,
    row::{self, blob, decode_spec, required},
    sums::{self, Accepted},
};

/// Different specs remembered while reading: tasks that ask for the same then share one in memory.
const SPECS_MAX: usize = 1_024;

/// Specs read so far, by their stored form.
#[derive(Default)]
struct Specs(HashMap<Vec<u8>, Arc<TaskSpec>>);

impl Specs {
    fn get(&mut self, bytes: &[u8]) -> Result<Arc<TaskSpec>, StoreError> {
        if let Some(spec) = self.0.get(bytes) {
            return Ok(spec.clone());
        }
        let spec = Arc::new(decode_spec(bytes)?);
        if self.0.len() < SPECS_MAX {
            self.0.insert(bytes.to_owned(), spec.clone());
        }
        Ok(spec)
    }
}

pub fn recover(connection: &Connection, incarnation: u64) -> Result<Recovery, StoreError> {
    Ok(Recovery {
        incarnation,
        tasks: tasks(connection)?,
        admin: admin(connection)?,
        strategy: strategy(connection)?,
        declarations: declared::recovered(connection)?,
        spent: declared::spent(connection)?,
        scaling: records::newest_scaling(connection)?,
    })
}

/// How many tasks were not over when the store was released; `None`: it was not, or by a version that did not say so.
pub fn live_when_released(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let live: Option<i64> =
        connection.query_row("SELECT CASE clean WHEN 1 THEN live END FROM meta", [], |row| row.get(0))?;
    live.map(codes::uint).transpose()
}

/// The columns of a live task, by place: to look each up by its name took longer than to read it.
mod column {
    pub const ALL: &str = "place, id, state, state_at, accepted_at, attempts, crashes, agent, assignment, fingerprint, \
                           redrive_of, tenant, kind, key, spec, payload, task_sum, payload_sum, \
                           CASE WHEN assignment IS NOT NULL THEN (SELECT coalesce(reserved, '') FROM attempts AS live \
                           WHERE live.task = tasks.id AND live.attempt = tasks.attempts \
                           AND live.assignment = tasks.assignment) END";
    pub const PLACE: usize = 0;
    pub const ID: usize = 1;
    pub const STATE: usize = 2;
    pub const STATE_AT: usize = 3;
    pub const ACCEPTED_AT: usize = 4;
    pub const ATTEMPTS: usize = 5;
    pub const CRASHES: usize = 6;
    pub const AGENT: usize = 7;
    pub const ASSIGNMENT: usize = 8;
    pub const FINGERPRINT: usize = 9;
    pub const REDRIVE_OF: usize = 10;
    pub const TENANT: usize = 11;
    pub const KIND: usize = 12;
    pub const KEY: usize = 13;
    pub const SPEC: usize = 14;
    pub const PAYLOAD: usize = 15;
    pub const TASK_SUM: usize = 16;
    pub const PAYLOAD_SUM: usize = 17;
    pub const RESERVED: usize = 18;
}

fn tasks(connection: &Connection) -> Result<Vec<RecoveredTask>, StoreError> {
    let mut statement = connection.prepare(&format!(
        "SELECT {} FROM tasks INDEXED BY tasks_live LEFT JOIN inputs USING (place) WHERE state < 4",
        column::ALL
    ))?;
    let mut specs = Specs::default();
    let rows = statement.query_and_then([], |row| task(row, &mut specs))?;
    let mut tasks = rows.collect::<Result<Vec<_>, _>>()?;
    check_distinct(&tasks)?;
    // Ids are in the order of acceptance but for those of one millisecond, so this has little to do.
    tasks.sort_by_key(|task| task.order);
    Ok(tasks)
}

fn task(row: &Row<'_>, specs: &mut Specs) -> Result<RecoveredTask, StoreError> {
    let id = codes::task_id(row, column::ID)?;
    let attempts_made = codes::count(row.get(column::ATTEMPTS)?)?;
    let state_at = codes::timestamp(row.get(column::STATE_AT)?)?;
    let state = match TaskState::of_code(row.get(column::STATE)?)? {
        TaskState::Queued => RecoveredState::Queued { since: state_at },
        TaskState::RetryWait => RecoveredState::RetryWait { not_before: state_at },
        TaskState::Assigned => assigned(row, id, AttemptNumber(attempts_made), state_at)?,
        other => return Err(StoreError::unreadable("the state of a live task", other)),
    };
    row::check_input(row, column::SPEC, id)?;
    check_sum(row, id)?;
    let payload = blob(row, column::PAYLOAD)?;
    sums::check_bytes("the payload", payload, row.get(column::PAYLOAD_SUM)?, id)?;
    let spec = specs.get(blob(row, column::SPEC)?)?;
    let crashes = codes::count(row.get(column::CRASHES)?)?;
    check_attempts(attempts_made, crashes, &spec, &state)?;
    Ok(RecoveredTask {
        id,
        spec,
        payload: Bytes::copy_from_slice(payload),
        fingerprint: codes::bits(row, column::FINGERPRINT)?,
        order: codes::uint(row.get(column::PLACE)?)?,
        accepted_at: codes::timestamp(row.get(column::ACCEPTED_AT)?)?,
        attempts_made,
        crashes,
        state,
        redrive_of: codes::optional_task_id(row, column::REDRIVE_OF)?,
    })
}

fn assigned(row: &Row<'_>, task: TaskId, attempt: AttemptNumber, at: Timestamp) -> Result<RecoveredState, StoreError> {
    let assignment: Option<i64> = row.get(column::ASSIGNMENT)?;
    let assignment = codes::uint(required(assignment, "the assignment of a task that is assigned")?)?;
    let assignment = AssignmentId(assignment);
    let agent = codes::optional_name_at(row, column::AGENT, "agent")?;
    let reserved = row.get_ref(column::RESERVED)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let reserved = required(reserved, "the assignment among the attempts of a live task")?;
    Ok(RecoveredState::Assigned {
        attempt: AttemptRef { task, attempt, assignment },
        agent: required(agent, "the agent of a task that is assigned")?,
        at,
        reserved: reserved::decode(assignment, reserved)?,
    })
}

/// Compares what was asked for with its sum. A task of a version without sums has none.
fn check_sum(row: &Row<'_>, id: TaskId) -> Result<(), StoreError> {
    let Some(stored) = row.get(column::TASK_SUM)? else { return Ok(()) };
    let text = |at: usize| Ok::<_, StoreError>(row.get_ref(at)?.as_str_or_null().map_err(rusqlite::Error::from)?);
    let accepted = Accepted {
        place: row.get(column::PLACE)?,
        id: blob(row, column::ID)?,
        accepted_at: row.get(column::ACCEPTED_AT)?,
        tenant: text(column::TENANT)?.unwrap_or_default(),
        kind: text(column::KIND)?.unwrap_or_default(),
        fingerprint: blob(row, column::FINGERPRINT)?,
        key: text(column::KEY)?,
        redrive_of: row.get_ref(column::REDRIVE_OF)?.as_blob_or_null().map_err(rusqlite::Error::from)?,
        spec: blob(row, column::SPEC)?,
    };
    accepted.check(stored, id)
}

/// A task is there once, and an assignment is of one task: the engine would lose track of the others.
fn check_distinct(tasks: &[RecoveredTask]) -> Result<(), StoreError> {
    let mut ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(StoreError::unreadable("the ids of two live tasks", twice[0]));
    }
    let assignment = |task: &RecoveredTask| match &task.state {
        RecoveredState::Assigned { attempt, .. } => Some(attempt.assignment),
        RecoveredState::Queued { .. } | RecoveredState::RetryWait { .. } => None,
    };
    let mut assignments: Vec<_> = tasks.iter().filter_map(assignment).collect();
    assignments.sort_unstable();
    match assignments.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(StoreError::unreadable("the assignment of two live tasks", twice[0])),
        None => Ok(()),
    }
}

/// The engine counts on from here, so what it could not have counted to is damage: an attempt that is live was made, one
/// that is waited for is still allowed.
fn check_attempts(made: u32, crashes: u32, spec: &TaskSpec, state: &RecoveredState) -> Result<(), StoreError> {
    let allowed = match state {
        RecoveredState::Assigned { .. } => 1..=spec.retry.attempts_max,
        RecoveredState::Queued { .. } | RecoveredState::RetryWait { .. } => 0..=spec.retry.attempts_max - 1,
    };
    if !allowed.contains(&made) {
        return Err(StoreError::unreadable("the number of attempts at a live task", made));
    }
    if crashes > made {
        return Err(StoreError::unreadable("the number of crashes of a live task", crashes));
    }
    Ok(())
}

fn admin(connection: &Connection) -> Result<Vec<RecoveredAdmin>, StoreError> {
    let mut statement = connection.prepare("SELECT agent, state, drain_deadline, reason FROM admin ORDER BY agent")?;
    let rows = statement.query_and_then([], |row| {
        let state: String = row.get("state")?;
        Ok(RecoveredAdmin {
            agent: required(codes::optional_name(row, "agent")?, "the name of an agent")?,
            state: AdminState::named(&state)
                .ok_or_else(|| StoreError::unreadable("what is wanted of an agent", state))?,
            drain_deadline: row.get::<_, Option<i64>>("drain_deadline")?.map(codes::timestamp).transpose()?,
            reason: row.get("reason")?,
        })
    })?;
    rows.collect()
}

fn strategy(connection: &Connection) -> Result<Option<StrategyConfig>, StoreError> {
    let json: Option<String> = connection.query_row("SELECT strategy FROM meta", [], |row| row.get(0))?;
    let read = |json: String| {
        let damaged = |error: &dyn std::fmt::Display| StoreError::Corrupt(format!("the strategy `{json}`: {error}"));
        let strategy: StrategyConfig = serde_json::from_str(&json).map_err(|error| damaged(&error))?;
        strategy.validate().map_err(|violation| damaged(&violation))?;
        Ok(strategy)
    };
    json.map(read).transpose()
}
