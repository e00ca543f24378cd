//! Submissions: from the wire to tasks that the engine may accept, and back to one answer for each.

use std::sync::Arc;

use bytes::Bytes;
use evenkeel_core::engine::{NewTask, StoredKey, Submitted};
use evenkeel_proto::v1;
use evenkeel_shared::{
    Code, Error, TaskId, TaskSpec, Timestamp, Violation, Violations,
    limits::SUBMIT_TASKS_MAX,
    wire::{status::to_item_error, task::task_spec},
};

use super::scope::Scope;
use crate::{
    fingerprint::fingerprint,
    gateway::Gateway,
    metrics::{BadInput, Metrics},
    telemetry::Call,
    waiters::ResultSink,
};

/// Payloads up to this size are copied out of the message that they came in: otherwise one small task that waits long
/// would hold the memory of a whole submission.
const COPIED_BYTES_MAX: usize = 64 << 10;

/// One answer for each task of a submission.
pub type Answers = Vec<Result<Submitted, Error>>;

/// Submits what came off the wire with this call, as far as its caller may. Fields are named as in the request, `tasks[3].kind`.
///
/// # Errors
/// If the submission as a whole is wrong, or none of it could be submitted.
pub async fn submit(
    gateway: &Gateway,
    metrics: &Metrics,
    specs: Vec<v1::TaskSpec>,
    results: Option<ResultSink>,
    scope: &Scope,
    call: &Call,
) -> Result<Answers, Error> {
    gateway.lifecycle.check_writable()?;
    check_count(specs.len()).inspect_err(|_| metrics.bad_input(BadInput::Request))?;
    scope.submits(specs.len())?;
    let now = gateway.clock.now();
    let mut refused = Vec::with_capacity(specs.len());
    let mut tasks = Vec::with_capacity(specs.len());
    let mut accepts = Vec::new();
    for (i, mut spec) in specs.into_iter().enumerate() {
        if let Err(error) = scope.claim(&mut spec) {
            refused.push(Some(error));
            continue;
        }
        let mut traced = None;
        match read_of(spec, now, |spec| traced = call.takes(spec)) {
            Ok(task) => {
                accepts.extend(traced.map(|accept| (tasks.len(), accept)));
                tasks.push(task);
                refused.push(None);
            }
            Err(violations) => {
                metrics.bad_input(BadInput::Task);
                refused.push(Some(violations.within(&format!("tasks[{i}]")).into()));
            }
        }
    }
    let accepted = if tasks.is_empty() { Ok(Answers::new()) } else { gateway.submit(tasks, results).await };
    for (i, accept) in accepts {
        call.answered(accept, accepted.as_ref().map(|answers| answers.get(i)));
    }
    let accepted = accepted?;
    let mut accepted = accepted.into_iter();
    let missing = || Err(Error::new(Code::Internal, "the engine gave no answer for this task; this is a defect"));
    Ok(refused.into_iter().map(|error| error.map_or_else(|| accepted.next().unwrap_or_else(missing), Err)).collect())
}

fn check_count(count: usize) -> Result<(), Violation> {
    match count {
        0 => Err(Violation::new("tasks", "must not be empty")),
        1..=SUBMIT_TASKS_MAX => Ok(()),
        _ => Err(Violation::new("tasks", format!("has {count} entries; at most {SUBMIT_TASKS_MAX} are allowed"))),
    }
}

/// Reads one task.
///
/// # Errors
/// The fields at fault.
pub fn read(wire: v1::TaskSpec, now: Timestamp) -> Result<NewTask, Violations> {
    read_of(wire, now, |_| {})
}

/// The same, of a task that is looked at once it is known to make sense.
fn read_of(wire: v1::TaskSpec, now: Timestamp, look: impl FnOnce(&mut TaskSpec)) -> Result<NewTask, Violations> {
    let (mut spec, payload) = task_spec(wire)?;
    if let Some(deadline) = spec.deadline
        && deadline <= now
    {
        let late = now.since(deadline).as_millis();
        return Err(Violation::new("deadline_unix_ms", format!("is in the past, by {late} ms")).into());
    }
    look(&mut spec);
    let payload = if payload.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&payload) } else { payload };
    Ok(new_task(spec, payload, None))
}

/// A task to submit, as its client asks for it: what it reserves is said anew with its acceptance.
#[must_use]
pub fn new_task(spec: TaskSpec, payload: Bytes, redrive_of: Option<TaskId>) -> NewTask {
    let spec = spec.as_asked();
    // Fingerprints are compared under a key only.
    let fingerprint = if spec.idempotency_key.is_empty() { 0 } else { fingerprint(&spec, &payload) };
    NewTask { spec: Arc::new(spec), payload, fingerprint, stored_key: StoredKey::None, redrive_of }
}

/// One answer as the wire writes it.
#[must_use]
pub fn to_result(answer: &Result<Submitted, Error>) -> v1::SubmitResult {
    match answer {
        Ok(submitted) => {
            v1::SubmitResult { task_id: submitted.task.to_string(), duplicate: submitted.duplicate, error: None }
        }
        Err(error) => v1::SubmitResult { error: Some(to_item_error(error)), ..v1::SubmitResult::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000);

    fn wire(kind: &str) -> v1::TaskSpec {
        v1::TaskSpec { kind: kind.into(), ..v1::TaskSpec::default() }
    }

    #[test]
    fn a_deadline_in_the_past_is_refused_by_name() {
        let late = v1::TaskSpec { deadline_unix_ms: 1_000, ..wire("echo") };
        assert_eq!(read(late, NOW).unwrap_err().as_slice()[0].field, "deadline_unix_ms");
        let timely = v1::TaskSpec { deadline_unix_ms: 1_001, ..wire("echo") };
        assert!(read(timely, NOW).is_ok());
    }

    #[test]
    fn only_a_task_with_a_key_has_a_fingerprint() {
        assert_eq!(read(wire("echo"), NOW).unwrap().fingerprint, 0);
        let keyed = v1::TaskSpec { idempotency_key: "k".into(), ..wire("echo") };
        assert_ne!(read(keyed, NOW).unwrap().fingerprint, 0);
    }

    #[test]
    fn a_small_payload_does_not_hold_its_message() {
        let message = Bytes::from(vec![7; 1 << 20]);
        let task = read(v1::TaskSpec { payload: message.slice(..10), ..wire("echo") }, NOW).unwrap();
        assert_eq!(task.payload, message.slice(..10));
        assert!(message.try_into_mut().is_ok(), "the message is still shared");
    }
}
