//! Tasks, agents and the rest as the wire shows them.

use evenkeel_core::{
    engine::FinishedTask,
    model::{
        AgentView, Candidate, ClusterEvent, ClusterEventKind, EngineStatus, Explanation, KindStatistics, TaskEvent,
        TaskEventKind,
    },
};
use evenkeel_proto::v1;
use evenkeel_shared::{
    AgentId, Health, TaskId, Timestamp,
    wire::{
        enums,
        labels::to_labels,
        quantities::{to_resources, to_unix_ms, to_unix_ms_or_zero, to_us},
        spend::to_usage,
        task::{to_decision, to_failure, to_task_spec},
    },
};

use crate::{
    directory::{Known, LiveTask},
    store::{StoredAttempt, StoredTask},
};

fn text_of(id: Option<TaskId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn name_of(agent: Option<&AgentId>) -> String {
    agent.map(|agent| agent.as_str().to_owned()).unwrap_or_default()
}

fn latency_us(accepted: Timestamp, finished: Option<Timestamp>) -> u64 {
    finished.map_or(0, |at| to_us(at.since(accepted)))
}

/// A task as stored, without its payload.
#[must_use]
pub fn stored_task(task: &StoredTask) -> v1::Task {
    v1::Task {
        task_id: task.id.to_string(),
        spec: Some(to_task_spec(&task.spec, bytes::Bytes::new())),
        state: enums::to_task_state(task.state).into(),
        accepted_unix_ms: to_unix_ms(task.accepted_at),
        finished_unix_ms: to_unix_ms_or_zero(task.finished_at),
        attempts_made: task.attempts_made,
        crashes: task.crashes,
        agent_id: name_of(task.agent.as_ref()),
        output: task.output.clone(),
        failure: task.failure.as_ref().map(to_failure),
        redrive_of: text_of(task.redrive_of),
        latency_us: latency_us(task.accepted_at, task.finished_at),
        payload_bytes: u32::try_from(task.payload_bytes).unwrap_or(u32::MAX),
        ..v1::Task::default()
    }
}

/// A task that no store has, without its payload.
#[must_use]
pub fn known_task(known: &Known) -> v1::Task {
    match known {
        Known::Live(task) => {
            let mut shown = v1::Task {
                task_id: task.id.to_string(),
                spec: Some(to_task_spec(&task.spec, bytes::Bytes::new())),
                accepted_unix_ms: to_unix_ms(task.accepted_at),
                redrive_of: text_of(task.redrive_of),
                payload_bytes: u32::try_from(task.payload.len()).unwrap_or(u32::MAX),
                ..v1::Task::default()
            };
            put_live(&mut shown, task);
            shown
        }
        Known::Over(task) => v1::Task {
            task_id: task.id.to_string(),
            spec: Some(to_task_spec(&task.spec, bytes::Bytes::new())),
            state: enums::to_task_state(task.state).into(),
            accepted_unix_ms: to_unix_ms(task.accepted_at),
            finished_unix_ms: to_unix_ms(task.finished_at),
            attempts_made: task.attempts_made,
            crashes: task.crashes,
            agent_id: name_of(task.agent.as_ref()),
            output: task.output.clone(),
            failure: task.failure.as_ref().map(to_failure),
            latency_us: latency_us(task.accepted_at, Some(task.finished_at)),
            ..v1::Task::default()
        },
    }
}

/// Puts what the engine knows on top of what the store knows.
pub fn put_live(shown: &mut v1::Task, live: &LiveTask) {
    shown.state = enums::to_task_state(live.state).into();
    shown.attempts_made = live.attempts_made;
    if let Some(agent) = &live.agent {
        shown.agent_id = agent.as_str().to_owned();
    }
    shown.progress = live.progress;
    shown.progress_note.clone_from(&live.progress_note);
}

/// A task that is over, for those who waited.
#[must_use]
pub fn finished(task: &FinishedTask) -> v1::TaskFinished {
    v1::TaskFinished {
        task_id: task.id.to_string(),
        state: enums::to_task_state(task.state).into(),
        output: task.output.clone(),
        failure: task.failure.as_ref().map(to_failure),
        attempts_made: task.attempts_made,
        agent_id: name_of(task.agent.as_ref()),
        latency_us: latency_us(task.accepted_at, Some(task.finished_at)),
    }
}

/// An attempt as stored.
#[must_use]
pub fn attempt(attempt: &StoredAttempt) -> v1::Attempt {
    let ended = attempt.ended.as_ref();
    v1::Attempt {
        attempt: attempt.attempt.attempt.0,
        assignment_id: attempt.attempt.assignment.0,
        agent_id: attempt.agent.as_str().to_owned(),
        assigned_unix_ms: to_unix_ms(attempt.assigned_at),
        started_unix_ms: to_unix_ms_or_zero(attempt.started_at),
        ended_unix_ms: to_unix_ms_or_zero(ended.map(|ended| ended.at)),
        end: ended.map_or(v1::AttemptEnd::Unspecified, |ended| enums::to_attempt_end(ended.end)).into(),
        failure: ended.and_then(|ended| ended.failure.as_ref()).map(to_failure),
        run_us: ended.map_or(0, |ended| to_us(ended.run)),
        decision: Some(to_decision(&attempt.decision)),
        usage: ended.and_then(|ended| ended.usage.as_ref()).map(to_usage),
    }
}

/// An event of a task.
#[must_use]
pub fn task_event(event: &TaskEvent) -> v1::TaskEvent {
    v1::TaskEvent {
        position: event.position.0,
        at_unix_ms: to_unix_ms(event.at),
        task_id: event.task.to_string(),
        r#type: task_event_type(event.kind).into(),
        state: enums::to_task_state(event.state).into(),
        attempt: event.attempt.0,
        agent_id: name_of(event.agent.as_ref()),
        progress: event.progress,
        message: event.message.clone(),
    }
}

const fn task_event_type(kind: TaskEventKind) -> v1::TaskEventType {
    use v1::TaskEventType as Type;
    match kind {
        TaskEventKind::Accepted => Type::Accepted,
        TaskEventKind::Assigned => Type::Assigned,
        TaskEventKind::Started => Type::Started,
        TaskEventKind::Progress => Type::Progress,
        TaskEventKind::AttemptEnded => Type::AttemptEnded,
        TaskEventKind::Requeued => Type::Requeued,
        TaskEventKind::Finished => Type::Finished,
        TaskEventKind::Adopted => Type::Adopted,
    }
}

/// An event of the fleet.
#[must_use]
pub fn cluster_event(event: &ClusterEvent) -> v1::ClusterEvent {
    v1::ClusterEvent {
        position: event.position.0,
        at_unix_ms: to_unix_ms(event.at),
        r#type: cluster_event_type(event.kind).into(),
        agent_id: name_of(event.agent.as_ref()),
        task_id: text_of(event.task),
        message: event.message.clone(),
    }
}

const fn cluster_event_type(kind: ClusterEventKind) -> v1::ClusterEventType {
    use v1::ClusterEventType as Type;
    match kind {
        ClusterEventKind::AgentJoined => Type::AgentJoined,
        ClusterEventKind::AgentLost => Type::AgentLost,
        ClusterEventKind::AgentLeft => Type::AgentLeft,
        ClusterEventKind::AgentReturned => Type::AgentReturned,
        ClusterEventKind::AgentHealth => Type::AgentHealth,
        ClusterEventKind::AgentAdmin => Type::AgentAdmin,
        ClusterEventKind::AgentEjected => Type::AgentEjected,
        ClusterEventKind::Failover => Type::Failover,
        ClusterEventKind::Quarantine => Type::Quarantine,
        ClusterEventKind::Strategy => Type::Strategy,
        ClusterEventKind::PanicMode => Type::PanicMode,
        ClusterEventKind::Coordinator => Type::Coordinator,
        ClusterEventKind::Limit => Type::Limit,
        ClusterEventKind::Breaker => Type::Breaker,
        ClusterEventKind::Quota => Type::Quota,
        ClusterEventKind::Budget => Type::Budget,
        ClusterEventKind::Scaling => Type::Scaling,
        ClusterEventKind::Bottleneck => Type::Bottleneck,
        ClusterEventKind::Config => Type::Config,
        ClusterEventKind::Security => Type::Security,
        ClusterEventKind::Component => Type::Component,
        ClusterEventKind::Size => Type::Size,
    }
}

/// The kind of event of this number; `None`: not known.
#[must_use]
pub fn cluster_event_kind(number: i32) -> Option<ClusterEventKind> {
    ClusterEventKind::ALL.into_iter().find(|kind| i32::from(cluster_event_type(*kind)) == number)
}

/// An agent.
#[must_use]
pub fn agent(view: &AgentView) -> v1::Agent {
    let (spec, load) = (&view.spec, &view.load);
    v1::Agent {
        agent_id: spec.id.as_str().to_owned(),
        kinds: spec.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        labels: to_labels(&spec.labels),
        capacity: Some(to_resources(&spec.capacity)),
        reserved: Some(to_resources(&view.reserved)),
        tier: spec.tier.into(),
        weight: spec.weight.into(),
        version: spec.version.clone(),
        admin_state: enums::to_admin_state(view.admin).into(),
        health: enums::to_health(view.health).into(),
        conditions: view.conditions.clone(),
        session_epoch: view.session.0,
        connected_unix_ms: to_unix_ms(view.connected_at),
        last_heard_unix_ms: to_unix_ms(view.last_heard_at),
        running_tasks: view.running_tasks,
        prefetched_tasks: view.prefetched_tasks,
        cpu_share: load.cpu_share,
        memory_share: load.memory_share,
        memory_used_bytes: load.memory_used_bytes,
        network_rx_bytes_per_s: load.network_rx_bytes_per_s,
        network_tx_bytes_per_s: load.network_tx_bytes_per_s,
        load_average: load.load_average,
        succeeded: view.succeeded,
        failed: view.failed,
        kinds_seen: view.kinds_seen.iter().map(kind_statistics).collect(),
        slots_usable: view.slots_usable,
    }
}

fn kind_statistics(kind: &KindStatistics) -> v1::KindStatistics {
    v1::KindStatistics {
        kind: kind.kind.as_str().to_owned(),
        completed: kind.completed,
        mean_us: kind.mean.as_secs_f64() * 1e6,
    }
}

/// The numbers of the whole; who it is, the caller adds.
#[must_use]
pub fn status(status: &EngineStatus) -> v1::ClusterStatus {
    let [agents_healthy, agents_degraded, agents_unhealthy, agents_lost] = by_health(status);
    let counters = &status.counters;
    v1::ClusterStatus {
        strategy: status.strategy.to_owned(),
        agents_healthy,
        agents_degraded,
        agents_unhealthy,
        agents_lost,
        slots_total: status.slots_total,
        slots_used: status.slots_used,
        tasks_queued: status.queued,
        tasks_assigned: status.assigned,
        tasks_running: status.running,
        tasks_retry_wait: status.retry_wait,
        tasks_accepted: counters.accepted,
        tasks_succeeded: counters.succeeded,
        tasks_failed: counters.failed,
        tasks_cancelled: counters.cancelled,
        tasks_expired: counters.expired,
        tasks_quarantined: counters.quarantined,
        attempts_lost: counters.attempts_lost,
        stale_results: counters.stale_results,
        queue_bytes: status.payload_bytes,
        panic_mode: status.panic_mode,
        oldest_queued_ms: u64::try_from(status.oldest_queued.as_millis()).unwrap_or(u64::MAX),
        ..v1::ClusterStatus::default()
    }
}

/// Agents by health, in the order of the wire.
fn by_health(status: &EngineStatus) -> [u32; 4] {
    [Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Lost].map(|health| {
        let place = Health::ALL.iter().position(|other| *other == health);
        place.and_then(|place| status.agents_by_health.get(place)).copied().unwrap_or(0)
    })
}

/// Why a live task is where it is.
#[must_use]
pub fn explanation(explanation: Explanation, attempts: &[StoredAttempt]) -> v1::Explanation {
    let refused = explanation.refused_by_reason.into_iter();
    v1::Explanation {
        task_id: explanation.task.to_string(),
        state: enums::to_task_state(explanation.state).into(),
        summary: explanation.summary,
        queue_position: explanation.queue_position.map_or(0, |ahead| u32::try_from(ahead).unwrap_or(u32::MAX)),
        waiting_for: explanation.waiting_for.unwrap_or_default(),
        strategy: explanation.strategy.to_owned(),
        candidates: explanation.candidates.into_iter().map(candidate).collect(),
        agents_considered: explanation.agents_considered,
        refused_by_reason: refused.map(|(reason, count)| (reason.to_owned(), count)).collect(),
        attempts: attempts.iter().map(attempt).collect(),
        reserves: explanation.reserves.unwrap_or_default(),
    }
}

fn candidate(candidate: Candidate) -> v1::Candidate {
    let eligible = candidate.refusal.is_none();
    let (refusal, detail) = candidate.refusal.unwrap_or_default();
    v1::Candidate {
        agent_id: candidate.agent.as_str().to_owned(),
        eligible,
        score: candidate.score,
        refusal: refusal.to_owned(),
        detail,
    }
}

/// Why a task that is over ended as it did.
#[must_use]
pub fn post_mortem(task: &FinishedTask, attempts: &[StoredAttempt]) -> v1::Explanation {
    let where_ = task.agent.as_ref().map(|agent| format!(" on `{agent}`")).unwrap_or_default();
    let why = task.failure.as_ref().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    let made = task.attempts_made;
    let summary = match made {
        0 => format!("it is over: {} before any attempt{why}", task.state),
        1 => format!("it is over: {} after 1 attempt{where_}{why}", task.state),
        _ => format!("it is over: {} after {made} attempts, the last{where_}{why}", task.state),
    };
    v1::Explanation {
        task_id: task.id.to_string(),
        state: enums::to_task_state(task.state).into(),
        summary,
        strategy: attempts.last().map(|last| last.decision.strategy.clone()).unwrap_or_default(),
        attempts: attempts.iter().map(attempt).collect(),
        reserves: task.spec.sized_in_words().unwrap_or_default(),
        ..v1::Explanation::default()
    }
}
