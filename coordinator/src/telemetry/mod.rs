//! Traces: what becomes of a task, from its submission to its end, as spans that are sent to a collector.
//!
//! Spans are made of what is released, after the commit, with the times that the engine gave: the core knows nothing of
//! them, and what is not on disk is in no trace. A task that is in no trace, as nearly all are, costs a look at one pointer;
//! without a collector there is not even that.
//!
//! A task is traced because its client said so (the context of W3C Trace Context, in the task or in the call's headers), or
//! because a draw says so; both as often a second as is allowed. The decision is kept with the task, so that an agent and a
//! later incarnation of the coordinator go by it.

mod fleet;
mod shown;
mod submission;
mod tasks;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::{
    engine::{AcceptedTask, Assignment, FinishedTask},
    model::{RecoveredTask, TaskEvent},
};
use evenkeel_shared::{
    TaskSpec, Timestamp,
    otlp::{Counts, Exporter, ExporterHealth, Sampler, Source, StartError},
};

use crate::{clock::Clock, config::TelemetryConfig};

pub use fleet::Commit;
pub use submission::{Accept, Call, place_of};

use fleet::Fleet;
use tasks::Followed;

/// Traces, or none. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Active>>);

/// Traces that are made.
#[derive(Debug)]
pub struct Active {
    exporter: Exporter,
    sampler: Sampler,
    clock: Clock,
    followed: Mutex<Followed>,
    fleet: Fleet,
}

impl Traces {
    /// None.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// As configured, for the coordinator of this name; none if no collector is.
    ///
    /// # Errors
    /// If the collector's address is none, or there is no thread to be had.
    pub fn start(config: &TelemetryConfig, clock: Clock, coordinator_id: &str) -> Result<Self, StartError> {
        let Some(settings) = config.settings() else { return Ok(Self::off()) };
        let source = Source {
            service: "evenkeel-coordinator",
            instance: coordinator_id.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let exporter = Exporter::start(&settings, &source)?;
        tracing::info!(collector = settings.endpoint, ratio = config.sample_ratio, "tasks are traced");
        Ok(Self(Some(Arc::new(Active {
            exporter,
            sampler: Sampler::new(config.sample_ratio, config.traced_per_s_max, Instant::now()),
            clock,
            followed: Mutex::default(),
            fleet: Fleet::new(Instant::now()),
        }))))
    }

    /// Traces that are made, if any are.
    #[must_use]
    pub fn active(&self) -> Option<&Active> {
        self.0.as_deref()
    }

    /// What became of spans; nothing where none are made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.active().map(|active| active.exporter.counts()).unwrap_or_default()
    }

    /// Traces that were not kept because there were too many.
    #[must_use]
    pub fn over_cap(&self) -> u64 {
        self.active().map_or(0, |active| active.sampler.over_cap())
    }

    /// How the export is doing; `None`: there is none.
    #[must_use]
    pub fn health(&self) -> Option<ExporterHealth> {
        self.active().map(|active| active.exporter.health())
    }

    /// Sends what is queued, for so long at most, and ends: a stage of the stop, after the last commit. Answers with what
    /// became of all.
    pub async fn stop(&self, within: Duration) -> Counts {
        match self.active() {
            Some(active) => active.exporter.stop(within).await,
            None => Counts::default(),
        }
    }

    /// Goes on with the tasks of an earlier incarnation.
    pub fn recovered(&self, tasks: &[RecoveredTask]) {
        let Some(active) = self.active() else { return };
        let mut followed = active.followed();
        tasks.iter().filter(|task| is_traced(&task.spec)).for_each(|task| followed.recovered(task));
    }
}

/// Whether the task's spans are kept.
#[must_use]
pub fn is_traced(spec: &TaskSpec) -> bool {
    spec.trace.as_ref().is_some_and(|trace| trace.is_sampled())
}

/// What the dispatcher has to tell, of tasks that [are traced](is_traced).
impl Active {
    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task was accepted.
    pub fn accepted(&self, task: &AcceptedTask, commit: Option<&Commit>) {
        let now = self.clock.now();
        let spans = self.followed().accepted(task, now, commit);
        self.exporter.send_all(spans);
    }

    /// Something happened to a task.
    pub fn happened(&self, event: &TaskEvent) {
        let spans = self.followed().happened(event);
        self.exporter.send_all(spans);
    }

    /// An assignment is about to be sent.
    pub fn assigned(&self, assignment: &Assignment, commit: Option<&Commit>) {
        let now = self.clock.now();
        let spans = self.followed().assigned(assignment, now, commit);
        self.exporter.send_all(spans);
    }

    /// A task is over.
    pub fn finished(&self, task: &FinishedTask, commit: Option<&Commit>) {
        let now = self.clock.now();
        let spans = self.followed().finished(task, now, commit);
        self.exporter.send_all(spans);
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
