//! What is kept of a run of a scenario: the one document that the verdict, the report, comparisons and the history read.
//!
//! It is self-contained: scenario, machine and command are in it, so that a record can be judged years later without the
//! checkout that made it. Times within a run are seconds since its start, so that records can be laid over each other. Full
//! histograms are beside it in the HdrHistogram log format, one tagged histogram for each [`Slice`] and [`Phase`];
//! the percentiles here are taken from them. Rejected: a database of runs. A directory of documents can be looked into,
//! copied and deleted with the tools that everyone has.

pub mod collect;
mod error;
#[cfg(test)]
pub(crate) mod example;
mod histograms;
mod intervals;
mod log;
pub mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    error::RecordError,
    histograms::Histograms,
    intervals::{INTERVALS_MAX, Interval, Intervals, Sparse},
    store::{KeptRun, RunStore},
};
use crate::{levels::LevelOutcome, report::Latency, scenario::Scenario};

/// The version of the form of records. A reader refuses what it does not know.
pub const RECORD_VERSION: u32 = 1;

/// A stretch of a task's life that is measured, always from when the task was *due*: a submission that waits behind others
/// in a client that cannot keep up counts as waiting (coordinated omission, Gil Tene).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Due to the answer that it is accepted.
    Acceptance,
    /// Due to the start of its execution.
    Queueing,
    /// The execution itself, as the agent measured it.
    Execution,
    /// Due to the notice of its end.
    EndToEnd,
}

impl Phase {
    /// All phases, in the order of a task's life.
    pub const ALL: [Self; 4] = [Self::Acceptance, Self::Queueing, Self::Execution, Self::EndToEnd];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acceptance => "acceptance",
            Self::Queueing => "queueing",
            Self::Execution => "execution",
            Self::EndToEnd => "end_to_end",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        if matches!(self, Self::EndToEnd) { "end to end" } else { self.name() }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Which tasks a histogram is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slice {
    /// All.
    All,
    /// Those of one tenant.
    Tenant(String),
    /// Those of one priority.
    Priority(u8),
    /// Those of one kind of work of the scenario.
    Work(String),
}

/// A run of a scenario, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Sorts by time: `20260131T120000Z-scale_test-1a2b`.
    pub id: String,
    /// When it started, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// What was to be done, with everything that the command line changed.
    pub scenario: Scenario,
    /// Everything random is drawn from it.
    pub seed: u64,
    /// The program's arguments.
    pub command: Vec<String>,
    /// The version of the program, and its commit where that is known.
    pub build: Build,
    /// What it ran on.
    pub machine: Machine,
    /// How long it took, drain included.
    pub duration_s: f64,
    /// Counts of tasks.
    pub totals: Totals,
    /// Percentiles, in milliseconds.
    pub latency_ms: Vec<SliceLatency>,
    /// What happened in each second, in order.
    pub windows: Vec<Window>,
    /// Where the load was.
    pub agent_load: AgentLoad,
    /// What is worth a mark on the axis of time, in order.
    pub marks: Vec<Mark>,
    /// How each service level came out.
    pub levels: Vec<LevelOutcome>,
    /// What became of the change under test, if there was one.
    pub change: Option<ChangeOutcome>,
    /// What the coordinator's process took.
    pub coordinator: Option<ProcessUsage>,
    /// May it be released?
    pub verdict: Decision,
    /// Why not; empty for a go.
    pub reasons: Vec<String>,
}

/// Go or no-go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// All promises and all service levels that decide were kept.
    Go,
    /// A promise or a service level was broken.
    NoGo,
}

/// Which program ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version of the program.
    pub version: String,
    /// The commit of the working directory's repository, with `-dirty` if it had changes.
    pub commit: Option<String>,
    /// Whether it was compiled with optimisation.
    pub optimized: bool,
}

/// What a run ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// As the processor names itself.
    pub cpu: String,
    /// Processors that the process may use.
    pub cpus: u32,
    /// Of memory.
    pub memory_bytes: u64,
    /// Name and release of the operating system.
    pub os: String,
    /// The kind of file system that the store of a coordinator of the run's own was on.
    pub file_system: Option<String>,
}

/// Counts of tasks of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks that were due, follow-ups included.
    pub offered: u64,
    /// Tasks answered with an id.
    pub accepted: u64,
    /// Tasks refused for good, or given up after all retries.
    pub refused: u64,
    /// Tasks that succeeded.
    pub completed: u64,
    /// Tasks that ended in any other way.
    pub failed: u64,
    /// Follow-up tasks submitted to specialists.
    pub escalated: u64,
    /// Accepted tasks without an end.
    pub lost: u64,
    /// Accepted tasks of whose end nobody can tell.
    pub unverified: u64,
    /// Tasks with two ids, two ends, or two recorded attempts.
    pub duplicated: u64,
    /// Ends that do not fit their task.
    pub mismatched: u64,
    /// Submissions sent again after RESOURCE_EXHAUSTED, UNAVAILABLE or a broken stream.
    pub retried: u64,
    /// Executions beyond the first of their task.
    pub executions_extra: u64,
}

/// Percentiles of one phase of some tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceLatency {
    /// Which tasks.
    pub slice: Slice,
    /// Which phase.
    pub phase: Phase,
    /// How many tasks.
    pub count: u64,
    /// In milliseconds.
    pub latency: Latency,
}

/// A stretch of a run, one second unless the last. Counts are of this stretch alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its end, in seconds since the start of the run.
    pub at_s: f64,
    /// Its length, in seconds.
    pub length_s: f64,
    /// Tasks that were due.
    pub offered: u64,
    /// Tasks answered with an id.
    pub accepted: u64,
    /// Tasks refused for good, or given up.
    pub refused: u64,
    /// Tasks that succeeded.
    pub completed: u64,
    /// Tasks that ended in any other way.
    pub failed: u64,
    /// Submissions sent again.
    pub retried: u64,
    /// Percentiles of the tasks that ended or were answered in this stretch, by phase; none of a phase without tasks.
    pub latency_ms: BTreeMap<Phase, Latency>,
    /// Tasks that wait in the coordinator's queue, at the end of the stretch.
    pub queue_depth: u64,
    /// Tasks that agents hold, at the end of the stretch.
    pub running: u64,
    /// Agents with a session, at the end of the stretch.
    pub agents: u32,
    /// Whether the coordinator answered when it was asked.
    pub available: bool,
    /// Processor time of the coordinator's process, in cores; known of a process on this machine.
    pub coordinator_cpu_cores: Option<f64>,
    /// Resident memory of the coordinator's process.
    pub coordinator_memory_bytes: Option<u64>,
    /// Processor time of the harness itself, in cores: a harness at its limit measures itself.
    pub harness_cpu_cores: Option<f64>,
}

/// Busy share of agents over time. Agents are grouped where there are too many for a picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentLoad {
    /// Length of a column, in seconds.
    pub column_s: f64,
    /// Agents in each row, the last may have fewer.
    pub agents_per_row: u32,
    /// Rows of columns: busy share of the slots, 0 to 1; none where no agent of the row had a session.
    pub rows: Vec<Vec<Option<f32>>>,
    /// Tasks finished by each agent.
    pub finished_by_agent: Vec<u32>,
}

/// What a mark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The scenario enters a part of it: a ramp, a spike, the drain at the end.
    Stage,
    /// Harm that the scenario did: agents cut off, a coordinator killed.
    Fault,
    /// A service level was broken or holds again.
    Level,
    /// The change under test was made.
    Change,
    /// The change under test was undone.
    Rollback,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// In seconds since the start of the run.
    pub at_s: f64,
    /// What it is about.
    pub kind: MarkKind,
    /// In one line.
    pub text: String,
}

/// What became of a change under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeOutcome {
    /// What was changed, in one line.
    pub change: String,
    /// When it was made.
    pub made_at_s: Option<f64>,
    /// The violation that called for its rollback.
    pub violation: Option<String>,
    /// When it was undone.
    pub undone_at_s: Option<f64>,
    /// How long after that the service levels held again.
    pub recovered_after_s: Option<f64>,
    /// Whether the rollback did what it is for; none where none was needed.
    pub rollback_succeeded: Option<bool>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// What a process took in a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Processor time, user and system.
    pub cpu_s: f64,
    /// Largest resident memory seen.
    pub memory_peak_bytes: u64,
    /// Resident memory once all agents were there and before the first task.
    pub memory_idle_bytes: u64,
    /// Context switches, voluntary and not.
    pub context_switches: u64,
}
