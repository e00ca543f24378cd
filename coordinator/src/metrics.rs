//! All metrics of the coordinator, in one table.
//!
//! What the engine counts is read from the published status at each scrape; what the shell counts itself is here. Labels
//! are closed enumerations, so that no input can make a new time series.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_core::{engine::FinishedTask, insight::sample::ShellSample, model::EngineStatus};
use evenkeel_shared::{Code, Error, Health};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{actors::manager::ManagerState, directory::Directory, sessions::Sessions, snapshot::Snapshot};

/// How a number is to be read.
#[derive(Clone, Copy)]
enum Sort {
    Counter,
    Gauge,
}
use Sort::{Counter as C, Gauge as G};

type Row = (&'static str, &'static str, Sort, fn(&EngineStatus) -> f64);

/// What the engine says of itself. Counters get the suffix `_total`.
#[rustfmt::skip]
const ENGINE: &[Row] = &[
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
    ("manager_records_dropped", "Measurements that could not be stored and were let go.", C, |m| m.records_dropped() as f64),
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

/// Input that was refused, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the values of the label")]
enum Reason {
    invalid_task,
    invalid_request,
    invalid_frame,
    not_registered,
    agent_id_taken,
    session_refused,
    stale_result,
}

/// Input that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInput {
    /// A task of a submission.
    Task,
    /// Any other request of a client.
    Request,
    /// A frame of an agent.
    Frame,
    /// A frame before registration, or a second registration.
    NotRegistered,
    /// An agent claimed the id of another.
    AgentIdTaken,
    /// The engine ended a session for another reason.
    Session,
    /// A result for an attempt that the agent does not hold.
    StaleResult,
}

impl BadInput {
    /// What an ended session was ended for.
    #[must_use]
    pub fn session(error: &Error) -> Self {
        if error.code == Code::AlreadyExists { Self::AgentIdTaken } else { Self::Session }
    }

    const fn reason(self) -> Reason {
        match self {
            Self::Task => Reason::invalid_task,
            Self::Request => Reason::invalid_request,
            Self::Frame => Reason::invalid_frame,
            Self::NotRegistered => Reason::not_registered,
            Self::AgentIdTaken => Reason::agent_id_taken,
            Self::Session => Reason::session_refused,
            Self::StaleResult => Reason::stale_result,
        }
    }
}

/// Who did not take what was his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowConsumer {
    /// An agent.
    Session,
    /// Somebody who watches.
    Watch,
    /// Somebody who wants results.
    Results,
}

/// Why a connection was closed by the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedConnection {
    /// There were as many as there may be.
    TooMany,
    /// It did not begin its protocol.
    Silent,
    /// Its peer did not take what was sent.
    Unread,
    /// Its peer did not end what it had begun to send.
    Unfinished,
}

impl ClosedConnection {
    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Silent => "silent",
            Self::Unread => "unread",
            Self::Unfinished => "unfinished",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<State>);

struct State {
    registry: Registry,
    bad_input: Family<ReasonLabel, Counter>,
    slow_consumers: Family<StreamLabel, Counter>,
    connections_closed: Family<ClosedLabel, Counter>,
    commit_seconds: Histogram,
    commit_changes: Histogram,
    task_seconds: Histogram,
    store_full: Gauge,
    commit_retries: Counter,
    manager: ManagerState,
    sums: Sums,
}

/// What the resource manager takes differences of. Durations are in microseconds.
#[derive(Debug, Default)]
struct Sums {
    commits: AtomicU64,
    commit_us: AtomicU64,
    tasks_ended: AtomicU64,
    response_us: AtomicU64,
    engine_busy_us: AtomicU64,
}

impl Sums {
    fn add(count: &AtomicU64, sum: &AtomicU64, time: Duration) {
        count.fetch_add(1, Ordering::Relaxed);
        Self::add_time(sum, time);
    }

    fn add_time(sum: &AtomicU64, time: Duration) {
        sum.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Metrics {
    /// The metrics of a coordinator that publishes here.
    #[must_use]
    pub fn new(snapshot: Snapshot, directory: Directory, sessions: Sessions, manager: ManagerState) -> Self {
        // The registry adds the full stop to a help text; a collector, as below, writes its own.
        let mut registry = Registry::with_prefix("evenkeel");
        let bad_input = Family::default();
        registry.register("bad_input", "Input that was refused", Family::clone(&bad_input));
        let slow_consumers = Family::default();
        let help = "Streams cut off because they were not read";
        registry.register("slow_consumers", help, Family::clone(&slow_consumers));
        let connections_closed = Family::default();
        let help = "Connections closed because there were too many, or for what their peers did not do";
        registry.register("connections_closed", help, Family::clone(&connections_closed));
        let mut histogram = |name: &str, help: &str, first: f64, count: u16| {
            let histogram = Histogram::new(exponential_buckets(first, 2.0, count));
            registry.register(name, help, histogram.clone());
            histogram
        };
        let commit_seconds = histogram("commit_seconds", "Time of one transaction of the store", 0.000_1, 16);
        let commit_changes = histogram("commit_changes", "Changes in one transaction of the store", 1.0, 16);
        let task_seconds = histogram("task_seconds", "Time from acceptance to end of a task", 0.001, 20);
        let store_full = Gauge::default();
        registry.register("store_full", "1 while the disk of the database is full", store_full.clone());
        let commit_retries = Counter::default();
        let help = "Transactions of the store that found the disk full and are tried again";
        registry.register("commit_retries", help, commit_retries.clone());
        let shown = manager.clone();
        registry.register_collector(Box::new(Published { snapshot, directory, sessions, manager: shown }));
        Self(Arc::new(State {
            registry,
            bad_input,
            slow_consumers,
            connections_closed,
            commit_seconds,
            commit_changes,
            task_seconds,
            store_full,
            commit_retries,
            manager,
            sums: Sums::default(),
        }))
    }

    /// Input was refused.
    pub fn bad_input(&self, what: BadInput) {
        self.0.bad_input.get_or_create(&ReasonLabel { reason: what.reason() }).inc();
    }

    /// So many streams were cut off.
    pub fn slow_consumers(&self, who: SlowConsumer, count: usize) {
        if count == 0 {
            return;
        }
        let stream = match who {
            SlowConsumer::Session => "session",
            SlowConsumer::Watch => "watch",
            SlowConsumer::Results => "results",
        };
        self.0.slow_consumers.get_or_create(&StreamLabel { stream }).inc_by(count as u64);
    }

    /// A connection was closed.
    pub fn connection_closed(&self, reason: ClosedConnection) {
        self.0.connections_closed.get_or_create(&ClosedLabel { reason: reason.name() }).inc();
    }

    /// A transaction was made.
    pub fn committed(&self, changes: usize, took: Duration) {
        self.0.commit_changes.observe(changes as f64);
        self.0.commit_seconds.observe(took.as_secs_f64());
        Sums::add(&self.0.sums.commits, &self.0.sums.commit_us, took);
    }

    /// The disk of the database is full, or has room again.
    pub fn store_full(&self, full: bool) {
        self.0.store_full.set(i64::from(full));
    }

    /// A transaction found the disk full.
    pub fn commit_retried(&self) {
        self.0.commit_retries.inc();
    }

    /// A task is over.
    pub fn finished(&self, task: &FinishedTask) {
        let took = task.finished_at.since(task.accepted_at);
        self.0.task_seconds.observe(took.as_secs_f64());
        Sums::add(&self.0.sums.tasks_ended, &self.0.sums.response_us, took);
    }

    /// The engine's thread has been at work for so long in all.
    pub fn engine_worked(&self, in_all: Duration) {
        let us = u64::try_from(in_all.as_micros()).unwrap_or(u64::MAX);
        self.0.sums.engine_busy_us.store(us, Ordering::Relaxed);
    }

    /// What is shown of the resource manager.
    #[must_use]
    pub fn manager(&self) -> &ManagerState {
        &self.0.manager
    }

    /// What the resource manager takes differences of.
    #[must_use]
    pub fn shell_sample(&self) -> ShellSample {
        let sums = &self.0.sums;
        let time = |sum: &AtomicU64| Duration::from_micros(sum.load(Ordering::Relaxed));
        ShellSample {
            commits: sums.commits.load(Ordering::Relaxed),
            commit_time: time(&sums.commit_us),
            engine_busy: time(&sums.engine_busy_us),
            tasks_ended: sums.tasks_ended.load(Ordering::Relaxed),
            response_time: time(&sums.response_us),
            caches: Vec::new(),
        }
    }

    /// All of it, as OpenMetrics text.
    ///
    /// # Errors
    /// If a metric cannot be written as text, which is a defect.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

/// What is published by others, read at each scrape.
struct Published {
    snapshot: Snapshot,
    directory: Directory,
    sessions: Sessions,
    manager: ManagerState,
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

fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, sort: Sort, value: f64) -> fmt::Result {
    match sort {
        Sort::Counter => {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        }
        Sort::Gauge => {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::model::view::Counters;

    use super::*;
    use crate::{directory::KeptLimits, snapshot::SnapshotUpdate};

    #[test]
    fn every_metric_is_in_the_text_under_its_name() {
        let snapshot = Snapshot::default();
        let counters = Counters { accepted: 7, ..Counters::default() };
        let status = EngineStatus { counters, agents_by_health: [3, 0, 0, 1], ..EngineStatus::default() };
        snapshot.apply(SnapshotUpdate { agents: Vec::new(), status });
        let directory = Directory::new(&[], KeptLimits { tasks: 1, bytes: 1 });
        let metrics = Metrics::new(snapshot, directory, Sessions::new(1, 1), ManagerState::new(true));
        metrics.bad_input(BadInput::AgentIdTaken);
        metrics.slow_consumers(SlowConsumer::Watch, 2);
        metrics.committed(5, Duration::from_millis(1));
        metrics.store_full(true);
        metrics.commit_retried();
        let text = metrics.encode().unwrap();
        for expected in [
            "evenkeel_tasks_accepted_total 7",
            "evenkeel_agents{health=\"lost\"} 1",
            "evenkeel_bad_input_total{reason=\"agent_id_taken\"} 1",
            "evenkeel_slow_consumers_total{stream=\"watch\"} 2",
            "evenkeel_commit_changes_count 1",
            "evenkeel_store_full 1",
            "evenkeel_commit_retries_total 1",
            "evenkeel_manager_running 1",
            "evenkeel_scaling_agents_wanted 0",
        ] {
            assert!(text.contains(expected), "`{expected}` is not in\n{text}");
        }
    }
}
