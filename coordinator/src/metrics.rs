//! All metrics of the coordinator.
//!
//! What the engine and the manager count is read from what they publish at each scrape ([`engine`]), and so is what other
//! parts count ([`rows`]); what the shell counts itself is here. Labels are closed enumerations, so that no input can make a
//! new time series. The page `docs/metrics.md` is made of this; names end with their unit, in base units, counters with
//! `_total`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_core::{engine::FinishedTask, insight::sample::ShellSample};
use evenkeel_shared::telemetry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

use crate::{
    actors::manager::ManagerState,
    directory::Directory,
    health::{Assessment, Component, Level, judge::DiskSample},
    sessions::Sessions,
    snapshot::Snapshot,
    start::StartPhases,
};

pub mod calls;
mod engine;
mod exposition;
mod labels;
mod latency;
mod process;
mod registries;
pub mod rows;
mod runtime;

pub use exposition::{Exposition, Form};
pub use labels::{BadInput, ClosedConnection, SlowConsumer};

use calls::Calls;
use engine::Published;
use labels::{ClosedLabel, ReasonLabel, StreamLabel};
use latency::{Buckets, Latency};
use registries::Registries;
use rows::{Row, Rows};

/// Seconds as fractions, which gauges of the library take as such.
type Real = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ComponentLabel {
    component: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// Connections that the coordinator has closed, by reason. Clones share them; the default one is shown nowhere.
#[derive(Clone, Debug, Default)]
pub struct ClosedConnections(Family<ClosedLabel, Counter>);

impl ClosedConnections {
    /// One more.
    pub fn add(&self, reason: ClosedConnection) {
        self.0.get_or_create(&ClosedLabel { reason: reason.name() }).inc();
    }
}

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<State>);

struct State {
    registries: Registries,
    rows: Rows,
    calls: Calls,
    bad_input: Family<ReasonLabel, Counter>,
    slow_consumers: Family<StreamLabel, Counter>,
    connections_closed: ClosedConnections,
    commit_seconds: Latency,
    commit_changes: Histogram,
    task_seconds: Latency,
    store_full: Gauge,
    commit_retries: Counter,
    components: Family<ComponentLabel, Gauge>,
    loop_lag: Real,
    disk_free: Gauge,
    disk_size: Gauge,
    start_phases: Family<PhaseLabel, Real>,
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
        Self::after(ClosedConnections::default(), snapshot, directory, sessions, manager)
    }

    /// The same, with the connections that were closed before there was a coordinator.
    #[must_use]
    pub fn after(
        connections_closed: ClosedConnections,
        snapshot: Snapshot,
        directory: Directory,
        sessions: Sessions,
        manager: ManagerState,
    ) -> Self {
        let mut all = Registries::default();
        let bad_input = all.both_of("bad_input", "Input that was refused");
        let slow_consumers = all.both_of("slow_consumers", "Streams cut off because they were not read");
        let help = "Connections closed because there were too many, or for what their peers did not do";
        all.both("connections_closed", help, connections_closed.0.clone());
        let buckets = |first_seconds, count| Buckets { first_seconds, count };
        let help = "Time of one transaction of the store";
        let commit_seconds = Latency::register(&mut all, "commit_seconds", help, buckets(0.000_1, 16));
        let commit_changes = Histogram::new(exponential_buckets(1.0, 2.0, 16));
        all.both("commit_changes", "Changes in one transaction of the store", commit_changes.clone());
        let help = "Time from acceptance to end of a task";
        let task_seconds = Latency::register(&mut all, "task_seconds", help, buckets(0.001, 20));
        let store_full = all.both_of("store_full", "1 while the disk of the database is full");
        let disk_free = all.both_of("disk_free_bytes", "Bytes that are free where the data is");
        let disk_size = all.both_of("disk_size_bytes", "Bytes of the file system where the data is");
        let help = "Transactions of the store that found the disk full and are tried again";
        let commit_retries = all.both_of("commit_retries", help);
        let components = all.both_of("component_status", "1 for the status that a part of the coordinator has");
        let help = "The longest that the engine's loop was late since the last look at it";
        let loop_lag = all.both_of("engine_loop_lag_seconds", help);
        let start_phases = all.both_of("start_phase_seconds", "Time that a phase of the start took");
        let calls = Calls::register(&mut all);
        let rows = Rows::default();
        all.collector(Published { snapshot, directory, sessions, manager: manager.clone() });
        all.collector(rows.clone());
        all.bare_collector(process::Process);
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            all.collector(runtime::Runtime(handle.metrics()));
        }
        let made = Self(Arc::new(State {
            registries: all,
            rows,
            calls,
            bad_input,
            slow_consumers,
            connections_closed,
            commit_seconds,
            commit_changes,
            task_seconds,
            store_full,
            commit_retries,
            components,
            loop_lag,
            disk_free,
            disk_size,
            start_phases,
            manager,
            sums: Sums::default(),
        }));
        made.tell_of_the_program();
        made.begin_at_zero();
        made
    }

    /// What is known of the program without a coordinator.
    fn tell_of_the_program(&self) {
        self.0.rows.add(Row {
            name: "build_info",
            help: "1, with the version of the program.",
            sort: rows::Sort::Gauge,
            values: Arc::new(|| vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)]),
        });
        let help = "Lines of the log that were left out because their place said too many.";
        let left_out = || telemetry::control().map_or(0, |control| control.repeats().left_out()) as f64;
        self.0.rows.add(Row::one(("log_lines_left_out", help, rows::Sort::Counter), left_out));
    }

    /// Every series is there from the start: a rate over a counter that appears with its first event does not see it.
    fn begin_at_zero(&self) {
        for what in BadInput::ALL {
            drop(self.0.bad_input.get_or_create(&ReasonLabel { reason: what.reason() }));
        }
        for who in SlowConsumer::ALL {
            drop(self.0.slow_consumers.get_or_create(&StreamLabel { stream: who.name() }));
        }
        for why in ClosedConnection::ALL {
            drop(self.0.connections_closed.0.get_or_create(&ClosedLabel { reason: why.name() }));
        }
        self.component_levels(&Assessment::default());
    }

    /// Counts of other parts, made after this.
    pub fn add(&self, row: Row) {
        self.0.rows.add(row);
    }

    /// Calls of the gRPC services.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// Input was refused.
    pub fn bad_input(&self, what: BadInput) {
        self.0.bad_input.get_or_create(&ReasonLabel { reason: what.reason() }).inc();
    }

    /// So many streams were cut off.
    pub fn slow_consumers(&self, who: SlowConsumer, count: usize) {
        if count > 0 {
            self.0.slow_consumers.get_or_create(&StreamLabel { stream: who.name() }).inc_by(count as u64);
        }
    }

    /// Where connections are counted that the coordinator closes.
    #[must_use]
    pub fn connections_closed(&self) -> ClosedConnections {
        self.0.connections_closed.clone()
    }

    /// A transaction was made.
    pub fn committed(&self, changes: usize, took: Duration) {
        self.0.commit_changes.observe(changes as f64);
        self.0.commit_seconds.observe(took.as_secs_f64(), None);
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

    /// How the parts are.
    pub fn component_levels(&self, assessment: &Assessment) {
        for component in Component::ALL {
            let level = assessment.level(component);
            for status in Level::ALL {
                let label = ComponentLabel { component: component.name(), status: status.name() };
                self.0.components.get_or_create(&label).set(i64::from(level == status));
            }
        }
    }

    /// The engine's loop was so late.
    pub fn loop_lag(&self, lag: Duration) {
        self.0.loop_lag.set(lag.as_secs_f64());
    }

    /// Room where the data is.
    pub fn disk(&self, sample: DiskSample) {
        if let DiskSample::Room { free_bytes, total_bytes } = sample {
            let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.0.disk_free.set(bytes(free_bytes));
            self.0.disk_size.set(bytes(total_bytes));
        }
    }

    /// What the start took.
    pub fn started(&self, phases: &StartPhases) {
        for (phase, took) in phases.iter() {
            self.0.start_phases.get_or_create(&PhaseLabel { phase }).set(took.as_secs_f64());
        }
    }

    /// A task is over.
    pub fn finished(&self, task: &FinishedTask) {
        let took = task.finished_at.since(task.accepted_at);
        // Only traces that somebody keeps can be looked up.
        let trace = task.spec.trace.as_deref().filter(|trace| trace.is_sampled());
        self.0.task_seconds.observe(took.as_secs_f64(), trace.map(|trace| trace.trace.to_string()));
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
    /// If a metric cannot be written, which is a defect.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.0.registries.open_metrics()
    }

    /// All of it, in this form.
    ///
    /// # Errors
    /// If a metric cannot be written, which is a defect.
    pub fn expose(&self, form: Form) -> Result<Exposition, std::fmt::Error> {
        exposition::expose(&self.0.registries, form)
    }
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
