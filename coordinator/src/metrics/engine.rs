//! What the engine and the resource manager say of themselves, read at each scrape from what they have published.

use std::fmt;

use evenkeel_core::model::EngineStatus;
use evenkeel_shared::Health;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
};

use super::rows::{
    Sort::{self, Counter as C, Gauge as G},
    one,
};
use crate::{actors::manager::ManagerState, directory::Directory, sessions::Sessions, snapshot::Snapshot};

type EngineRow = (&'static str, &'static str, Sort, fn(&EngineStatus) -> f64);

/// What the engine says of itself. Counters get the suffix `_total`.
#[rustfmt::skip]
const ENGINE: &[EngineRow] = &[
    ("slots", "Slots of connected agents.", G, |s| f64::from(s.slots_total)),
    ("slots_used", "Slots in use.", G, |s| f64::from(s.slots_used)),
    ("tasks_queued", "Tasks that wait for an agent.", G, |s| s.queued as f64),
    ("tasks_assigned", "Tasks given to an agent that has not started them.", G, |s| s.assigned as f64),
    ("tasks_running", "Tasks that run.", G, |s| s.running as f64),
    ("tasks_retry_wait", "Tasks that wait for their next attempt.", G, |s| s.retry_wait as f64),
    ("queue_payload_bytes", "Payload bytes of live tasks.", G, |s| s.payload_bytes as f64),
    ("queue_oldest_seconds", "Longest wait in the queue at the moment.", G, |s| s.oldest_queued.as_secs_f64()),
    ("panic_mode", "1 while failover is slowed down.", G, |s| f64::from(u8::from(s.panic_mode))),
    ("tasks_accepted", "Tasks accepted.", C, |s| s.counters.accepted as f64),
    ("tasks_duplicate", "Submissions answered with a task that existed.", C, |s| s.counters.duplicates as f64),
    ("tasks_refused", "Submissions refused for want of room.", C, |s| s.counters.refused as f64),
    ("tasks_succeeded", "Tasks that succeeded.", C, |s| s.counters.succeeded as f64),
    ("tasks_failed", "Tasks that failed for good.", C, |s| s.counters.failed as f64),
    ("tasks_cancelled", "Tasks called off.", C, |s| s.counters.cancelled as f64),
    ("tasks_expired", "Tasks that were too late.", C, |s| s.counters.expired as f64),
    ("tasks_quarantined", "Tasks that crashed too many agents.", C, |s| s.counters.quarantined as f64),
    ("assignments", "Assignments made.", C, |s| s.counters.assignments as f64),
    ("assignments_prefetched", "Assignments made ahead of a slot.", C, |s| s.counters.prefetched as f64),
    ("attempts_retried", "Attempts followed by another.", C, |s| s.counters.retries as f64),
    ("attempts_lost", "Attempts that ended with their agent.", C, |s| s.counters.attempts_lost as f64),
    ("attempts_adopted", "Attempts that went on after their agent came back.", C, |s| s.counters.adopted as f64),
    ("results_stale", "Results of superseded attempts.", C, |s| s.counters.stale_results as f64),
    ("results_repeated", "Results sent again after they were recorded.", C, |s| s.counters.repeated_results as f64),
    ("leases_expired", "Agents found gone by silence.", C, |s| s.counters.leases_expired as f64),
    ("ejections", "Agents ejected for failing.", C, |s| s.counters.ejections as f64),
    ("agent_messages_refused", "Messages of agents that did not fit.", C, |s| s.counters.refused_messages as f64),
];

type ManagerRow = (&'static str, &'static str, Sort, fn(&ManagerState) -> f64);

/// What the resource manager says of itself.
#[rustfmt::skip]
const MANAGER: &[ManagerRow] = &[
    ("manager_running", "1 while the resource manager looks at the fleet; 0: what was last set stays.", G, |m| f64::from(u8::from(!m.is_fallback()))),
    ("manager_turns", "Times that the resource manager has looked at the fleet.", C, |m| m.turns() as f64),
    ("manager_busy_seconds", "Time that this took.", C, |m| m.all_turns().as_secs_f64()),
    ("manager_turn_seconds", "Time that the last one took.", G, |m| m.last_turn().as_secs_f64()),
    ("manager_panics", "Times that the resource manager failed and began again.", C, |m| m.panics() as f64),
    ("manager_records_dropped", "Records that could not be stored and were let go: measurements first, never what is in force.", C, |m| m.records_dropped() as f64),
    ("scaling_agents", "Agents that can be given work, as the scaling sees it.", G, |m| f64::from(m.scaling().agents)),
    ("scaling_agents_wanted", "Agents that the scaling wants.", G, |m| f64::from(m.scaling().wanted)),
    ("scaling_changes_up", "Decisions to grow the fleet.", C, |m| m.scaling().ups as f64),
    ("scaling_changes_down", "Decisions to shrink the fleet.", C, |m| m.scaling().downs as f64),
    ("limits", "Limits declared.", G, |m| m.guards().limits as f64),
    ("limits_closed", "Limits that let nothing through somewhere.", G, |m| m.guards().limits_closed as f64),
    ("limits_throttled", "Times that limits closed.", C, |m| m.guards().limits_throttled as f64),
    ("budgets", "Budgets declared.", G, |m| m.guards().budgets as f64),
    ("budgets_warning", "Budgets at their warning.", G, |m| m.guards().budgets_by_level[0] as f64),
    ("budgets_critical", "Budgets at their critical level.", G, |m| m.guards().budgets_by_level[1] as f64),
    ("budgets_exhausted", "Budgets that are used up.", G, |m| m.guards().budgets_by_level[2] as f64),
    ("quotas_exhausted", "Upstream quotas that are used up.", G, |m| m.guards().quotas as f64),
    ("breakers_open", "Circuit breakers that are not closed.", G, |m| m.guards().breakers_open as f64),
    ("scaling_changes_failed", "Changes of the fleet's size that failed.", C, |m| m.scaling().failures as f64),
];

/// What is published by others, read at each scrape.
#[derive(Clone)]
pub struct Published {
    /// The engine.
    pub snapshot: Snapshot,
    /// Live tasks.
    pub directory: Directory,
    /// Agents' sessions.
    pub sessions: Sessions,
    /// The resource manager.
    pub manager: ManagerState,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}

impl Collector for Published {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.snapshot.status();
        for (name, help, sort, value) in ENGINE {
            one(&mut encoder, name, help, *sort, value(&status))?;
        }
        one(&mut encoder, "sessions", "Open sessions of agents.", G, self.sessions.len() as f64)?;
        one(&mut encoder, "tasks_live", "Tasks that are not over.", G, self.directory.live_count() as f64)?;
        for (name, help, sort, value) in MANAGER {
            one(&mut encoder, name, help, *sort, value(&self.manager))?;
        }
        let gauge = ConstGauge::new(0_i64);
        let mut agents = encoder.encode_descriptor("agents", "Agents by health.", None, gauge.metric_type())?;
        for (health, count) in Health::ALL.into_iter().zip(status.agents_by_health) {
            let value = ConstGauge::new(i64::from(count));
            value.encode(agents.encode_family(&[("health", health.name())])?)?;
        }
        Ok(())
    }
}
