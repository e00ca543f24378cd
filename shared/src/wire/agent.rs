//! What agents and the coordinator say to each other.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use evenkeel_proto::v1;
use v1::attempt_result::Outcome as WireOutcome;

use super::{
    cut_note, entry, few,
    labels::{labels, to_labels},
    quantities as q, short, spend, task,
};
use crate::{
    agent::{AgentLoad, AgentSpec, KindLatency, Registration},
    error::Violation,
    ids::{AgentId, AttemptRef, Kind, QuotaKey, Tenant},
    limits::{HELD_ATTEMPTS_MAX, KINDS_MAX, NAME_BYTES_MAX, OUTPUT_BYTES_MAX, TIER_MAX},
    spend::{TaskBudget, Usage},
    task::{Outcome, Priority, TaskSpec},
    time::Timestamp,
    trace::TraceContext,
    units::Resources,
};

/// Highest weight of an agent.
const WEIGHT_MAX: u16 = 1_000;
/// How far above 1 a share may lie and count as 1: usage and elapsed time are sampled one after the other, so a busy
/// machine measures a little more than all. More than that is a mistake of units.
const SHARE_OVERSHOOT_MAX: f64 = 0.05;

/// Reads what an agent says when its session begins.
///
/// # Errors
/// The first field at fault.
pub fn registration(wire: v1::Register) -> Result<Registration, Violation> {
    let held = held(wire.held)?;
    let spec = AgentSpec {
        id: AgentId::new(&wire.agent_id)?,
        kinds: kinds(&wire.kinds)?,
        labels: labels(wire.labels)?,
        capacity: q::capacity(wire.capacity).map_err(|violation| violation.within("capacity"))?,
        tier: within("tier", wire.tier, 0, TIER_MAX)?,
        weight: match wire.weight {
            0 => AgentSpec::WEIGHT_ORDINARY,
            weight => within("weight", weight, 1, WEIGHT_MAX)?,
        },
        version: short("version", wire.version, NAME_BYTES_MAX)?,
        prefetch_per_slot: wire.prefetch_per_slot.map(|n| within("prefetch_per_slot", n, 0, 1)).transpose()?,
        quota_keys: spend::quota_keys(&wire.quota_keys)?,
    };
    let instance = short("instance_id", wire.instance_id, NAME_BYTES_MAX)?;
    Ok(Registration { spec, instance, dial: wire.dial, held })
}

/// What is said twice is held once.
fn held(wire: Vec<v1::AttemptRef>) -> Result<Vec<AttemptRef>, Violation> {
    few("held", wire.len(), HELD_ATTEMPTS_MAX)?;
    let read = |(i, attempt)| task::attempt_ref(attempt).map_err(|v| v.within(&entry("held", i)));
    let mut held = wire.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    held.retain(|attempt| seen.insert(*attempt));
    Ok(held)
}

fn kinds(wire: &[String]) -> Result<Vec<Kind>, Violation> {
    if wire.is_empty() {
        return Err(Violation::new("kinds", "must name at least one kind of task"));
    }
    few("kinds", wire.len(), KINDS_MAX)?;
    let read =
        |(i, kind): (usize, &String)| Kind::new(kind).map_err(|v| Violation::new(entry("kinds", i), v.description));
    let mut kinds = wire.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

fn within<N: TryFrom<u32> + PartialOrd + std::fmt::Display>(
    field: &str,
    number: u32,
    min: N,
    max: N,
) -> Result<N, Violation> {
    N::try_from(number)
        .ok()
        .filter(|n| (&min..=&max).contains(&n))
        .ok_or_else(|| Violation::new(field, format!("{number} is out of range; use {min} to {max}")))
}

/// Writes what an agent says when its session begins.
#[must_use]
pub fn to_registration(registration: &Registration) -> v1::Register {
    let spec = &registration.spec;
    v1::Register {
        agent_id: spec.id.as_str().to_owned(),
        instance_id: registration.instance.clone(),
        kinds: spec.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        labels: to_labels(&spec.labels),
        capacity: Some(q::to_resources(&spec.capacity)),
        tier: spec.tier.into(),
        weight: spec.weight.into(),
        version: spec.version.clone(),
        held: registration.held.iter().copied().map(task::to_attempt_ref).collect(),
        prefetch_per_slot: spec.prefetch_per_slot.map(u32::from),
        quota_keys: spend::to_quota_keys(&spec.quota_keys),
        dial: registration.dial,
    }
}

/// Reads what an agent measures of itself. Shares up to 1.05 count as 1.
///
/// # Errors
/// A number that is negative, infinite or none, a share above that, too many kinds or an illegal one.
pub fn load(wire: v1::Heartbeat) -> Result<AgentLoad, Violation> {
    few("latencies", wire.latencies.len(), KINDS_MAX)?;
    let latencies = wire.latencies.into_iter().enumerate();
    let latencies = latencies.map(|(i, latency)| kind_latency(latency).map_err(|v| v.within(&entry("latencies", i))));
    Ok(AgentLoad {
        cpu_share: share("cpu_share", wire.cpu_share)?,
        memory_share: share("memory_share", wire.memory_share)?,
        memory_used_bytes: wire.memory_used_bytes,
        network_rx_bytes_per_s: q::measured("network_rx_bytes_per_s", wire.network_rx_bytes_per_s)?,
        network_tx_bytes_per_s: q::measured("network_tx_bytes_per_s", wire.network_tx_bytes_per_s)?,
        load_average: q::measured("load_average", wire.load_average)?,
        running_tasks: wire.running_tasks,
        latencies: latencies.collect::<Result<_, _>>()?,
    })
}

fn share(field: &str, share: f64) -> Result<f64, Violation> {
    if share > 1.0 + SHARE_OVERSHOOT_MAX {
        return Err(Violation::new(field, format!("{share} is above 1; send a share of the agent's own limit")));
    }
    Ok(q::measured(field, share)?.min(1.0))
}

fn kind_latency(wire: v1::KindLatency) -> Result<KindLatency, Violation> {
    let mean_us = q::measured("mean_us", wire.mean_us)?;
    Ok(KindLatency { kind: Kind::new(&wire.kind)?, completed: wire.completed, mean_us })
}

/// Writes what an agent measures of itself.
#[must_use]
pub fn to_load(load: &AgentLoad) -> v1::Heartbeat {
    let latency = |latency: &KindLatency| v1::KindLatency {
        kind: latency.kind.as_str().to_owned(),
        completed: latency.completed,
        mean_us: latency.mean_us,
    };
    v1::Heartbeat {
        cpu_share: load.cpu_share,
        memory_share: load.memory_share,
        memory_used_bytes: load.memory_used_bytes,
        network_rx_bytes_per_s: load.network_rx_bytes_per_s,
        network_tx_bytes_per_s: load.network_tx_bytes_per_s,
        load_average: load.load_average,
        running_tasks: load.running_tasks,
        latencies: load.latencies.iter().map(latency).collect(),
    }
}

/// The end of an attempt, as its agent says it: which, how, how long it ran, and what it used.
pub type Ended = (AttemptRef, Outcome, Duration, Option<Box<Usage>>);

/// Reads the result of an attempt, how long it ran, and what it used.
///
/// # Errors
/// A missing or broken token, no outcome, or an output that is too large.
pub fn outcome(wire: v1::AttemptResult) -> Result<Ended, Violation> {
    let attempt = task::required_attempt_ref(wire.attempt)?;
    let outcome = match wire.outcome.ok_or_else(|| Violation::new("outcome", "must be set"))? {
        WireOutcome::Success(success) => {
            let len = success.output.len();
            if len > OUTPUT_BYTES_MAX {
                let what = format!("is {len} bytes; at most {OUTPUT_BYTES_MAX} are allowed");
                return Err(Violation::new("success.output", what));
            }
            Outcome::Succeeded(success.output)
        }
        WireOutcome::Failure(failure) => Outcome::Failed(task::failure(failure)),
        WireOutcome::Cancelled(v1::Cancelled {}) => Outcome::Cancelled,
        WireOutcome::HandedBack(back) => Outcome::HandedBack(cut_note(back.reason)),
    };
    Ok((attempt, outcome, Duration::from_micros(wire.run_us), spend::usage(wire.usage)?))
}

/// Writes the result of an attempt, how long it ran, and what it used.
#[must_use]
pub fn to_outcome(attempt: AttemptRef, outcome: &Outcome, run: Duration, usage: Option<&Usage>) -> v1::AttemptResult {
    let outcome = match outcome {
        Outcome::Succeeded(output) => WireOutcome::Success(v1::Success { output: output.clone() }),
        Outcome::Failed(failure) => WireOutcome::Failure(task::to_failure(failure)),
        Outcome::Cancelled => WireOutcome::Cancelled(v1::Cancelled {}),
        Outcome::HandedBack(reason) => WireOutcome::HandedBack(v1::HandedBack { reason: cut_note(reason.clone()) }),
    };
    v1::AttemptResult {
        attempt: Some(task::to_attempt_ref(attempt)),
        outcome: Some(outcome),
        run_us: q::to_us(run),
        usage: usage.map(spend::to_usage),
    }
}

/// Work for an agent, as the agent reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The fencing token.
    pub attempt: AttemptRef,
    /// What is to be done.
    pub kind: Kind,
    /// With what.
    pub payload: Bytes,
    /// Whose work it is.
    pub tenant: Tenant,
    /// How urgent it is.
    pub priority: Priority,
    /// What the coordinator has set aside for it.
    pub resources: Resources,
    /// Longest time to run it.
    pub timeout: Duration,
    /// When the task as a whole is given up.
    pub deadline: Option<Timestamp>,
    /// Tasks of one key share state on one agent. Empty: none.
    pub affinity_key: String,
    /// For the executor's own deduplication. Empty: none.
    pub idempotency_key: String,
    /// What it may cost and use.
    pub budget: Option<Box<TaskBudget>>,
    /// Upstream quotas that it draws on, sorted.
    pub quota_keys: Vec<QuotaKey>,
    /// Its place in its task's trace.
    pub trace: Option<Box<TraceContext>>,
}

/// Reads work for an agent.
///
/// # Errors
/// The first field at fault; the coordinator sends none that is.
pub fn assignment(wire: v1::Assignment) -> Result<Assignment, Violation> {
    Ok(Assignment {
        attempt: task::required_attempt_ref(wire.attempt)?,
        kind: Kind::new(&wire.kind)?,
        payload: wire.payload,
        tenant: task::tenant(&wire.tenant)?,
        priority: task::priority(wire.priority)?,
        resources: q::need(wire.resources).map_err(|violation| violation.within("resources"))?,
        timeout: q::duration("timeout_ms", wire.timeout_ms)?
            .ok_or_else(|| Violation::new("timeout_ms", "must be set"))?,
        deadline: q::timestamp("deadline_unix_ms", wire.deadline_unix_ms)?,
        affinity_key: wire.affinity_key,
        idempotency_key: wire.idempotency_key,
        budget: spend::task_budget(wire.budget).map_err(|v| v.within("budget"))?,
        quota_keys: spend::quota_keys(&wire.quota_keys)?,
        trace: task::trace(&wire.traceparent, &wire.tracestate),
    })
}

/// Writes work for an agent: an attempt at this task, to run for `timeout` at most.
#[must_use]
pub fn to_assignment(attempt: AttemptRef, spec: &TaskSpec, payload: Bytes, timeout: Duration) -> v1::Assignment {
    v1::Assignment {
        attempt: Some(task::to_attempt_ref(attempt)),
        kind: spec.kind.as_str().to_owned(),
        payload,
        tenant: spec.tenant.as_str().to_owned(),
        priority: spec.priority.level().into(),
        resources: Some(q::to_resources(&spec.requirements.resources)),
        timeout_ms: q::to_ms_or_zero(Some(timeout)),
        deadline_unix_ms: q::to_unix_ms_or_zero(spec.deadline),
        affinity_key: spec.affinity_key.clone(),
        idempotency_key: spec.idempotency_key.clone(),
        budget: spec.budget.as_deref().map(spend::to_task_budget),
        quota_keys: spend::to_quota_keys(&spec.requirements.quota_keys),
        traceparent: task::to_traceparent(spec.trace.as_deref()),
        tracestate: task::to_tracestate(spec.trace.as_deref()),
    }
}

#[cfg(test)]
mod tests;
