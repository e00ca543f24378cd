//! From rows to tasks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_proto::v1;
use evenkeel_shared::{
    AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Cost, Decision, TaskId, TaskSpec, TaskState, Usage, wire,
};
use prost::Message;
use rusqlite::{Row, RowIndex};

use super::{
    super::{StoreError, StoredAttempt, StoredEnd, StoredTask},
    codes::{self, Coded},
    sums,
};

/// What [`task`] needs of `tasks` and `inputs`. The payload's length is read without the payload.
pub const TASK_COLUMNS: &str = "place, id, state, state_at, accepted_at, attempts, crashes, agent, fingerprint, \
     redrive_of, failure_class, failure, exit_code, spec, length(payload) AS payload_bytes, tenant, kind, key, \
     task_sum";

/// A task, as it is written.
pub fn encode_spec(spec: &TaskSpec) -> Vec<u8> {
    wire::task::to_task_spec(spec, Bytes::new()).encode_to_vec()
}

/// A task that [`encode_spec`] wrote.
pub fn decode_spec(bytes: &[u8]) -> Result<TaskSpec, StoreError> {
    let spec = v1::TaskSpec::decode(bytes).map_err(|error| StoreError::Corrupt(format!("a task: {error}")))?;
    let (spec, _) = wire::task::task_spec(spec).map_err(|wrong| StoreError::Corrupt(format!("a task: {wrong}")))?;
    Ok(spec)
}

/// Reads [`TASK_COLUMNS`]. The output is left empty.
pub fn task(row: &Row<'_>) -> Result<StoredTask, StoreError> {
    let id = codes::task_id(row, "id")?;
    let state = TaskState::of_code(row.get("state")?)?;
    let state_at = codes::timestamp(row.get("state_at")?)?;
    check_input(row, "spec", id)?;
    sums::check_task(row, id)?;
    Ok(StoredTask {
        id,
        spec: Arc::new(decode_spec(blob(row, "spec")?)?),
        state,
        order: codes::uint(row.get("place")?)?,
        accepted_at: codes::timestamp(row.get("accepted_at")?)?,
        finished_at: state.is_terminal().then_some(state_at),
        attempts_made: codes::count(row.get("attempts")?)?,
        crashes: codes::count(row.get("crashes")?)?,
        agent: codes::optional_name(row, "agent")?,
        output: Bytes::new(),
        failure: codes::failure(row)?,
        payload_bytes: codes::uint(row.get("payload_bytes")?)?,
        fingerprint: codes::bits(row, "fingerprint")?,
        redrive_of: codes::optional_task_id(row, "redrive_of")?,
    })
}

/// Reads a whole row of `attempts`.
pub fn attempt(row: &Row<'_>, task: TaskId) -> Result<StoredAttempt, StoreError> {
    let optional_time = |column: &str| row.get::<_, Option<i64>>(column)?.map(codes::timestamp).transpose();
    let ended_how: Option<i64> = row.get("ended_how")?;
    let ended = match (ended_how, optional_time("ended_at")?) {
        (Some(how), Some(at)) => {
            let run = Duration::from_micros(codes::uint(row.get("run_us")?)?);
            Some(StoredEnd {
                at,
                end: AttemptEnd::of_code(how)?,
                failure: codes::failure(row)?,
                run,
                usage: usage(row)?,
            })
        }
        _ => None,
    };
    Ok(StoredAttempt {
        attempt: AttemptRef {
            task,
            attempt: AttemptNumber(codes::count(row.get("attempt")?)?),
            assignment: AssignmentId(codes::uint(row.get("assignment")?)?),
        },
        agent: required(codes::optional_name(row, "agent")?, "the agent of an attempt")?,
        assigned_at: codes::timestamp(row.get("assigned_at")?)?,
        started_at: optional_time("started_at")?,
        decision: decision(row)?,
        ended,
    })
}

/// What an attempt cost, as it is written.
pub fn encode_cost(cost: &Cost) -> Result<String, StoreError> {
    serde_json::to_string(cost).map_err(|error| StoreError::Mismatch { what: format!("the cost {cost:?} ({error})") })
}

/// What an attempt used, as far as its agent said.
fn usage(row: &Row<'_>) -> Result<Option<Usage>, StoreError> {
    let Some(cpu_us) = row.get("cpu_us")? else { return Ok(None) };
    let memory: Option<i64> = row.get("memory_max_bytes")?;
    let cost = match row.get::<_, Option<String>>("cost")? {
        Some(json) => {
            serde_json::from_str(&json).map_err(|_| StoreError::unreadable("the cost of an attempt", json))?
        }
        None => Cost::new(),
    };
    Ok(Some(Usage {
        cpu: Duration::from_micros(codes::uint(cpu_us)?),
        memory_max_bytes: codes::uint(memory.unwrap_or(0))?,
        cost,
    }))
}

fn decision(row: &Row<'_>) -> Result<Decision, StoreError> {
    let given_up: i64 = row.get("given_up")?;
    Ok(Decision {
        strategy: row.get("strategy")?,
        // A score that is not a number is stored as nothing.
        score: row.get::<_, Option<f64>>("score")?.unwrap_or(f64::NAN),
        agents_with_room: codes::count(row.get("with_room")?)?,
        prefetched: row.get("prefetched")?,
        preferences_given_up: u8::try_from(given_up)
            .map_err(|_| StoreError::unreadable("a number of preferences", given_up))?,
        queued: Duration::from_micros(codes::uint(row.get("queued_us")?)?),
    })
}

/// Every task has a row of what it asked for.
pub fn check_input(row: &Row<'_>, spec: impl RowIndex, id: TaskId) -> Result<(), StoreError> {
    match row.get_ref(spec)? {
        rusqlite::types::ValueRef::Null => Err(StoreError::Corrupt(format!("task {id} is there and its input is not"))),
        _ => Ok(()),
    }
}

/// A column of bytes, where it lies.
pub fn blob<'r>(row: &'r Row<'_>, column: impl RowIndex) -> Result<&'r [u8], StoreError> {
    Ok(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?)
}

/// What a column must not lack.
pub fn required<T>(value: Option<T>, what: &str) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::unreadable(what, "nothing"))
}
