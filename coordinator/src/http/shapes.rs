//! The shapes of the JSON answers: the fields of the protobuf messages, under their names, with enumerations as words.
//! Times are milliseconds since the Unix epoch, 0 where there is none.

use evenkeel_proto::v1;
use evenkeel_shared::{Error, wire::enums};
use serde_json::{Value, json};

/// An error.
pub fn error(error: &Error) -> Value {
    let violations: Vec<Value> =
        error.violations.iter().map(|v| json!({ "field": v.field, "description": v.description })).collect();
    json!({ "error": {
        "code": error.code.name(),
        "message": error.message,
        "violations": violations,
        "retry_after_ms": error.retry_after.map(|after| after.as_millis() as u64),
    } })
}

/// The whole.
pub fn status(status: &v1::ClusterStatus) -> Value {
    json!({
        "coordinator_id": status.coordinator_id,
        "version": status.version,
        "started_unix_ms": status.started_unix_ms,
        "strategy": status.strategy,
        "ready": status.ready,
        "agents": {
            "healthy": status.agents_healthy,
            "degraded": status.agents_degraded,
            "unhealthy": status.agents_unhealthy,
            "lost": status.agents_lost,
        },
        "slots": { "total": status.slots_total, "used": status.slots_used },
        "tasks": {
            "queued": status.tasks_queued,
            "assigned": status.tasks_assigned,
            "running": status.tasks_running,
            "retry_wait": status.tasks_retry_wait,
            "accepted": status.tasks_accepted,
            "succeeded": status.tasks_succeeded,
            "failed": status.tasks_failed,
            "cancelled": status.tasks_cancelled,
            "expired": status.tasks_expired,
            "quarantined": status.tasks_quarantined,
        },
        "attempts_lost": status.attempts_lost,
        "stale_results": status.stale_results,
        "queue_bytes": status.queue_bytes,
        "oldest_queued_ms": status.oldest_queued_ms,
        "panic_mode": status.panic_mode,
        "data_directory": status.data_directory,
    })
}

/// An agent.
pub fn agent(agent: &v1::Agent) -> Value {
    let kinds: Vec<Value> = agent
        .kinds_seen
        .iter()
        .map(|kind| json!({ "kind": kind.kind, "completed": kind.completed, "mean_us": kind.mean_us }))
        .collect();
    json!({
        "agent_id": agent.agent_id,
        "kinds": agent.kinds,
        "labels": agent.labels,
        "capacity": resources(agent.capacity.as_ref()),
        "reserved": resources(agent.reserved.as_ref()),
        "tier": agent.tier,
        "weight": agent.weight,
        "version": agent.version,
        "admin_state": enums::admin_state(agent.admin_state).map(|state| state.name()),
        "health": enums::health(agent.health).map(|health| health.name()),
        "conditions": agent.conditions,
        "session_epoch": agent.session_epoch,
        "connected_unix_ms": agent.connected_unix_ms,
        "last_heard_unix_ms": agent.last_heard_unix_ms,
        "slots_usable": agent.slots_usable,
        "running_tasks": agent.running_tasks,
        "prefetched_tasks": agent.prefetched_tasks,
        "cpu_share": agent.cpu_share,
        "memory_share": agent.memory_share,
        "memory_used_bytes": agent.memory_used_bytes,
        "network_rx_bytes_per_s": agent.network_rx_bytes_per_s,
        "network_tx_bytes_per_s": agent.network_tx_bytes_per_s,
        "load_average": agent.load_average,
        "succeeded": agent.succeeded,
        "failed": agent.failed,
        "kinds_seen": kinds,
    })
}

fn resources(resources: Option<&v1::Resources>) -> Value {
    resources.map_or(Value::Null, |resources| {
        json!({
            "slots": resources.slots,
            "cpu_millis": resources.cpu_millis,
            "memory_bytes": resources.memory_bytes,
            "custom": resources.custom,
        })
    })
}

/// A task. Its output is there as text if it is text; its payload is not shown.
pub fn task(task: &v1::Task) -> Value {
    let spec = task.spec.clone().unwrap_or_default();
    let attempts: Vec<Value> = task.attempts.iter().map(attempt).collect();
    json!({
        "task_id": task.task_id,
        "kind": spec.kind,
        "tenant": spec.tenant,
        "priority": spec.priority,
        "idempotency_key": spec.idempotency_key,
        "affinity_key": spec.affinity_key,
        "delivery": enums::delivery(spec.delivery),
        "resources": resources(spec.requirements.as_ref().and_then(|requirements| requirements.resources.as_ref())),
        "state": enums::task_state(task.state).map(|state| state.name()),
        "accepted_unix_ms": task.accepted_unix_ms,
        "finished_unix_ms": task.finished_unix_ms,
        "deadline_unix_ms": spec.deadline_unix_ms,
        "latency_us": task.latency_us,
        "attempts_made": task.attempts_made,
        "crashes": task.crashes,
        "agent_id": task.agent_id,
        "progress": task.progress,
        "progress_note": task.progress_note,
        "payload_bytes": task.payload_bytes,
        "output_bytes": task.output.len(),
        "output_text": std::str::from_utf8(&task.output).ok(),
        "failure": failure(task.failure.as_ref()),
        "redrive_of": task.redrive_of,
        "redriven_as": task.redriven_as,
        "attempts": attempts,
    })
}

fn attempt(attempt: &v1::Attempt) -> Value {
    let decision = attempt.decision.clone().unwrap_or_default();
    json!({
        "attempt": attempt.attempt,
        "assignment_id": attempt.assignment_id.to_string(),
        "agent_id": attempt.agent_id,
        "assigned_unix_ms": attempt.assigned_unix_ms,
        "started_unix_ms": attempt.started_unix_ms,
        "ended_unix_ms": attempt.ended_unix_ms,
        "end": enums::attempt_end(attempt.end).map(|end| end.name()),
        "failure": failure(attempt.failure.as_ref()),
        "run_us": attempt.run_us,
        "decision": {
            "strategy": decision.strategy,
            "score": decision.score,
            "agents_with_room": decision.agents_with_room,
            "prefetched": decision.prefetched,
            "preferences_given_up": decision.preferences_given_up,
            "queued_us": decision.queued_us,
        },
    })
}

fn failure(failure: Option<&v1::Failure>) -> Value {
    failure.map_or(Value::Null, |failure| {
        json!({
            "class": enums::failure_class(failure.class).map(|class| class.name()),
            "message": failure.message,
            "exit_code": failure.exit_code,
        })
    })
}

/// An event of the fleet.
pub fn cluster_event(event: &v1::ClusterEvent) -> Value {
    let kind = super::view::cluster_event_kind(event.r#type);
    json!({
        // As text: it does not fit the numbers of JavaScript.
        "position": event.position.to_string(),
        "at_unix_ms": event.at_unix_ms,
        "type": kind.map(|kind| kind.name()),
        "agent_id": event.agent_id,
        "task_id": event.task_id,
        "message": event.message,
    })
}
