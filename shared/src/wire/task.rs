//! Tasks, attempts at them, and how they end.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_proto::v1;

use super::{cut_note, enums, labels, quantities as q, short, spend};
use crate::{
    error::{Violation, Violations},
    ids::{AssignmentId, AttemptNumber, AttemptRef, Kind, Tenant},
    limits::{ATTEMPTS_MAX, KEY_BYTES_MAX, PAYLOAD_BYTES_MAX},
    task::{Asked, Decision, Delivery, Failure, FailureClass, Priority, RetryPolicy, TaskSpec},
    trace::TraceContext,
    units::Resources,
};

/// Reads a task and its payload.
///
/// # Errors
/// Every field at fault, by its path, such as `requirements.required[2].values`; of a message within it the first.
pub fn task_spec(wire: v1::TaskSpec) -> Result<(TaskSpec, Bytes), Violations> {
    let mut wrong = Violations::default();
    if wire.payload.len() > PAYLOAD_BYTES_MAX {
        let len = wire.payload.len();
        wrong.push(Violation::new("payload", format!("is {len} bytes; at most {PAYLOAD_BYTES_MAX} are allowed")));
    }
    let kind = wrong.take(Kind::new(&wire.kind));
    let idempotency_key = wrong.or_default(short("idempotency_key", wire.idempotency_key, KEY_BYTES_MAX));
    let tenant = wrong.or_default(tenant(&wire.tenant));
    let priority = wrong.or_default(wire.priority.map_or(Ok(Priority::default()), priority));
    let requirements = labels::requirements(wire.requirements).map_err(|v| v.within("requirements"));
    let mut requirements = wrong.or_default(requirements);
    let affinity_key = wrong.or_default(short("affinity_key", wire.affinity_key, KEY_BYTES_MAX));
    let delivery = wrong.or_default(delivery(wire.delivery));
    let queue_timeout = wrong.or_default(q::duration("queue_timeout_ms", wire.queue_timeout_ms));
    let attempt_timeout = wrong.or_default(q::duration("attempt_timeout_ms", wire.attempt_timeout_ms));
    let deadline = wrong.or_default(q::timestamp("deadline_unix_ms", wire.deadline_unix_ms));
    let retry = wrong.or_default(retry(wire.retry.unwrap_or_default()).map_err(|v| v.within("retry")));
    let budget = wrong.or_default(spend::task_budget(wire.budget).map_err(|v| v.within("budget")));
    let Some(kind) = kind.filter(|_| wrong.is_empty()) else { return Err(wrong) };
    let trace = trace(&wire.traceparent, &wire.tracestate);
    let asked = wire.reserved.map(|reserved| Box::new(reserve(&mut requirements.resources, reserved)));
    let spec = TaskSpec {
        idempotency_key,
        kind,
        tenant,
        priority,
        requirements,
        affinity_key,
        delivery,
        queue_timeout,
        attempt_timeout,
        deadline,
        retry,
        budget,
        trace,
        asked,
    };
    Ok((spec, wire.payload))
}

/// Puts what is reserved in the place of what was asked for, and answers that.
const fn reserve(resources: &mut Resources, reserved: v1::Reserved) -> Asked {
    let v1::Reserved { cpu_millis, memory_bytes, size_version } = reserved;
    let asked = Asked { cpu_millis: resources.cpu_millis, memory_bytes: resources.memory_bytes, size_version };
    (resources.cpu_millis, resources.memory_bytes) = (cpu_millis, memory_bytes);
    asked
}

/// Writes a task; leave the payload empty to send the task without it.
#[must_use]
pub fn to_task_spec(spec: &TaskSpec, payload: Bytes) -> v1::TaskSpec {
    let mut requirements = labels::to_requirements(&spec.requirements);
    let asked = spec.asked.as_deref().zip(requirements.resources.as_mut());
    let reserved = asked.map(|(asked, resources)| {
        let (cpu_millis, memory_bytes) = (resources.cpu_millis, resources.memory_bytes);
        (resources.cpu_millis, resources.memory_bytes) = (asked.cpu_millis, asked.memory_bytes);
        v1::Reserved { cpu_millis, memory_bytes, size_version: asked.size_version }
    });
    v1::TaskSpec {
        idempotency_key: spec.idempotency_key.clone(),
        kind: spec.kind.as_str().to_owned(),
        payload,
        tenant: spec.tenant.as_str().to_owned(),
        priority: Some(spec.priority.level().into()),
        requirements: Some(requirements),
        affinity_key: spec.affinity_key.clone(),
        delivery: enums::to_delivery(spec.delivery).into(),
        queue_timeout_ms: q::to_ms_or_zero(spec.queue_timeout),
        attempt_timeout_ms: q::to_ms_or_zero(spec.attempt_timeout),
        deadline_unix_ms: q::to_unix_ms_or_zero(spec.deadline),
        retry: Some(to_retry(&spec.retry)),
        budget: spec.budget.as_deref().map(spend::to_task_budget),
        traceparent: to_traceparent(spec.trace.as_deref()),
        tracestate: to_tracestate(spec.trace.as_deref()),
        reserved,
    }
}

/// Reads a place in a trace. One that is none is left out: no work is refused for its trace.
#[must_use]
pub fn trace(parent: &str, state: &str) -> Option<Box<TraceContext>> {
    if parent.is_empty() { None } else { TraceContext::parse(parent, state).map(Box::new) }
}

/// Writes a place in a trace; empty: none.
#[must_use]
pub fn to_traceparent(trace: Option<&TraceContext>) -> String {
    trace.map(TraceContext::parent).unwrap_or_default()
}

/// Writes what vendors add to it.
#[must_use]
pub fn to_tracestate(trace: Option<&TraceContext>) -> String {
    trace.map(|trace| trace.state().to_owned()).unwrap_or_default()
}

/// Reads a tenant; an empty one is the default tenant.
///
/// # Errors
/// An illegal name.
pub fn tenant(name: &str) -> Result<Tenant, Violation> {
    if name.is_empty() { Ok(Tenant::default()) } else { Tenant::new(name) }
}

/// Reads a priority, 0 to 9.
///
/// # Errors
/// A higher number.
pub fn priority(number: u32) -> Result<Priority, Violation> {
    u8::try_from(number)
        .ok()
        .and_then(Priority::new)
        .ok_or_else(|| Violation::new("priority", format!("{number} is not a priority; use 0 to 9")))
}

fn delivery(number: i32) -> Result<Delivery, Violation> {
    enums::delivery(number)
        .ok_or_else(|| Violation::new("delivery", format!("{number} is not a known kind of delivery")))
}

/// Reads a retry policy; every 0 stands for its default.
///
/// # Errors
/// The field at fault.
pub fn retry(wire: v1::RetryPolicy) -> Result<RetryPolicy, Violation> {
    let default = RetryPolicy::default();
    let attempts_max = match wire.max_attempts {
        0 => default.attempts_max,
        n if n <= ATTEMPTS_MAX => n,
        n => return Err(Violation::new("max_attempts", format!("{n} is above {ATTEMPTS_MAX}"))),
    };
    let backoff_initial =
        q::duration("initial_backoff_ms", wire.initial_backoff_ms)?.unwrap_or(default.backoff_initial);
    let backoff_max = match q::duration("max_backoff_ms", wire.max_backoff_ms)? {
        Some(max) if max < backoff_initial => {
            return Err(Violation::new("max_backoff_ms", "is below initial_backoff_ms"));
        }
        Some(max) => max,
        None => default.backoff_max.max(backoff_initial),
    };
    let multiplier = match wire.multiplier {
        0.0 => default.multiplier,
        m if m.is_finite() && m >= 1.0 => m,
        m => return Err(Violation::new("multiplier", format!("{m} is not a growth; use a number from 1 up"))),
    };
    Ok(RetryPolicy { attempts_max, backoff_initial, backoff_max, multiplier })
}

/// Writes a retry policy.
#[must_use]
pub fn to_retry(retry: &RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: retry.attempts_max,
        initial_backoff_ms: q::to_ms(retry.backoff_initial),
        max_backoff_ms: q::to_ms(retry.backoff_max),
        multiplier: retry.multiplier,
    }
}

/// Reads a fencing token.
///
/// # Errors
/// A task id that is none, or attempt 0.
pub fn attempt_ref(wire: v1::AttemptRef) -> Result<AttemptRef, Violation> {
    if wire.attempt == 0 {
        return Err(Violation::new("attempt", "attempts count from 1"));
    }
    Ok(AttemptRef {
        task: wire.task_id.parse()?,
        attempt: AttemptNumber(wire.attempt),
        assignment: AssignmentId(wire.assignment_id),
    })
}

/// Reads the fencing token that a message must carry.
///
/// # Errors
/// If it is missing, or as for [`attempt_ref`], as `attempt.…`.
pub fn required_attempt_ref(wire: Option<v1::AttemptRef>) -> Result<AttemptRef, Violation> {
    let wire = wire.ok_or_else(|| Violation::new("attempt", "must be set"))?;
    attempt_ref(wire).map_err(|violation| violation.within("attempt"))
}

/// Writes a fencing token.
#[must_use]
pub fn to_attempt_ref(attempt: AttemptRef) -> v1::AttemptRef {
    v1::AttemptRef {
        task_id: attempt.task.to_string(),
        attempt: attempt.attempt.0,
        assignment_id: attempt.assignment.0,
    }
}

/// Reads a failure. A class this build does not know is retryable: the failure is real, and one more attempt is safe.
#[must_use]
pub fn failure(wire: v1::Failure) -> Failure {
    Failure {
        class: enums::failure_class(wire.class).unwrap_or(FailureClass::Retryable),
        message: cut_note(wire.message),
        exit_code: wire.exit_code,
    }
}

/// Writes a failure.
#[must_use]
pub fn to_failure(failure: &Failure) -> v1::Failure {
    v1::Failure {
        class: enums::to_failure_class(failure.class).into(),
        message: cut_note(failure.message.clone()),
        exit_code: failure.exit_code,
    }
}

/// Reads a decision.
///
/// # Errors
/// More preferences given up than a task may have.
pub fn decision(wire: v1::Decision) -> Result<Decision, Violation> {
    let preferences_given_up = u8::try_from(wire.preferences_given_up)
        .map_err(|_| Violation::new("preferences_given_up", format!("{} is too many", wire.preferences_given_up)))?;
    Ok(Decision {
        strategy: wire.strategy,
        score: wire.score,
        agents_with_room: wire.agents_with_room,
        prefetched: wire.prefetched,
        preferences_given_up,
        queued: Duration::from_micros(wire.queued_us),
    })
}

/// Writes a decision.
#[must_use]
pub fn to_decision(decision: &Decision) -> v1::Decision {
    v1::Decision {
        strategy: decision.strategy.clone(),
        score: decision.score,
        agents_with_room: decision.agents_with_room,
        prefetched: decision.prefetched,
        preferences_given_up: decision.preferences_given_up.into(),
        queued_us: q::to_us(decision.queued),
    }
}

#[cfg(test)]
pub(super) mod tests;
