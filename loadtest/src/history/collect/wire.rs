//! A task as the wire shows it, as a history has it.

use std::time::Duration;

use evenkeel_proto::v1;
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptNumber, AttemptRef, Delivery, RetryPolicy, TaskId, TaskState, Tenant, Timestamp,
    wire::{enums, quantities::timestamp},
};

use super::CollectError;
use crate::history::{RecordedAttempt, RecordedTask, hash, key_of};

const GET: &str = "Get";

fn nonsense(call: &'static str, what: impl ToString) -> CollectError {
    CollectError::Answer { call, what: what.to_string() }
}

/// Reads an id.
pub(super) fn task_id(call: &'static str, text: &str) -> Result<TaskId, CollectError> {
    text.parse().map_err(|error| nonsense(call, error))
}

fn time(field: &str, unix_ms: i64) -> Result<Option<Timestamp>, CollectError> {
    timestamp(field, unix_ms).map_err(|error| nonsense(GET, error))
}

/// Reads a task with its attempts.
pub(super) fn task(task: v1::Task) -> Result<RecordedTask, CollectError> {
    let id = task_id(GET, &task.task_id)?;
    let missing = |what: &str| nonsense(GET, format!("task {id} has no {what}"));
    let spec = task.spec.ok_or_else(|| missing("spec"))?;
    let state = enums::task_state(task.state).ok_or_else(|| missing("state"))?;
    let tenant = match spec.tenant.as_str() {
        "" => Tenant::default(),
        name => Tenant::new(name).map_err(|error| nonsense(GET, error))?,
    };
    let redrive_of = match task.redrive_of.as_str() {
        "" => None,
        other => Some(task_id(GET, other)?),
    };
    let attempts_max = spec.retry.map_or(0, |retry| retry.max_attempts);
    Ok(RecordedTask {
        id,
        key: key_of(&tenant, &spec.idempotency_key),
        delivery: enums::delivery(spec.delivery).unwrap_or(Delivery::Durable),
        redrive_of,
        state,
        output: (state == TaskState::Succeeded).then(|| hash(&task.output)),
        attempts_made: task.attempts_made,
        attempts_max: if attempts_max == 0 { RetryPolicy::default().attempts_max } else { attempts_max },
        deadline: time("deadline_unix_ms", spec.deadline_unix_ms)?,
        finished_at: time("finished_unix_ms", task.finished_unix_ms)?,
        pruned_at: None,
        ends_recorded: 0,
        attempts: task.attempts.into_iter().map(|of| attempt(id, of)).collect::<Result<_, _>>()?,
    })
}

fn attempt(task: TaskId, attempt: v1::Attempt) -> Result<RecordedAttempt, CollectError> {
    let assigned_at = time("assigned_unix_ms", attempt.assigned_unix_ms)?;
    let ended_at = time("ended_unix_ms", attempt.ended_unix_ms)?;
    Ok(RecordedAttempt {
        attempt: AttemptRef {
            task,
            attempt: AttemptNumber(attempt.attempt),
            assignment: AssignmentId(attempt.assignment_id),
        },
        agent: AgentId::new(&attempt.agent_id).map_err(|error| nonsense(GET, error))?,
        assigned_at: assigned_at
            .ok_or_else(|| nonsense(GET, format!("an attempt of task {task} was assigned at no time")))?,
        ended: ended_at.zip(enums::attempt_end(attempt.end)),
        run: Duration::from_micros(attempt.run_us),
    })
}
