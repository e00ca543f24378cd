//! Service levels: what has to hold while a scenario runs, when a violation matters, and what it calls for.
//!
//! What is decided is pure and takes its time from the windows that it is given: [`Watch`] says which levels are violated,
//! [`Trial`] what becomes of a change under test, [`decide`] whether the verdict is go. [`Judge`] is the shell around them:
//! it makes and undoes the change through the API, and sends alerts. Rejected: an expression language over metrics. Nine
//! measures with fixed meanings can be checked before the run starts, and mean the same in every record.

mod change;
mod check;
mod decide;
mod judge;
mod measure;
mod trial;
mod watch;
mod webhook;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    change::Restored,
    check::{LevelError, check, strategy_of},
    decide::decide,
    judge::{Judge, Judgement, Observed},
    trial::{Action, RECOVERED_WINDOWS, Trial},
    watch::{Happening, LevelEvent, Watch},
};

/// Levels of a scenario, at most: each is judged every second, and a percentile keeps a histogram of its own.
pub const LEVELS_MAX: usize = 64;

/// A threshold, and what a violation of it means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceLevel {
    /// Its name in alerts and in the report.
    pub name: String,
    /// What is measured.
    pub measure: Measure,
    /// It may not be above this.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// It may not be below this.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// How bad a violation is.
    #[serde(default)]
    pub severity: Severity,
    /// A violation counts once it has lasted for so long.
    #[serde(default)]
    pub grace_s: f64,
    /// Not judged before: fleets need time to gather and caches to warm.
    #[serde(default)]
    pub from_s: f64,
    /// A violation ends the run.
    #[serde(default)]
    pub stops_run: bool,
    /// A violation undoes the change under test.
    #[serde(default)]
    pub rolls_back: bool,
    /// Only tasks of this kind of work.
    #[serde(default)]
    pub work: Option<String>,
    /// Only tasks of this priority.
    #[serde(default)]
    pub priority: Option<u8>,
}

/// What is measured. Latencies are of the tasks that ended in a window, due to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Measure {
    /// Share of tasks whose phase took at most so long, 0 to 1.
    Compliance {
        /// Which stretch of a task's life.
        phase: crate::record::Phase,
        /// The limit.
        within_ms: f64,
    },
    /// A percentile, in milliseconds.
    Percentile {
        /// Which stretch of a task's life.
        phase: crate::record::Phase,
        /// 0 to 100.
        percent: f64,
    },
    /// Share of the time in which the coordinator answered, 0 to 1.
    Availability,
    /// Tasks refused or failed, as a share of those offered, 0 to 1.
    ErrorRate,
    /// Tasks completed in a second.
    Throughput,
    /// Tasks completed as a share of those offered, over the last ten seconds, 0 to 1 or a little above.
    CompletedShare,
    /// Processor time of the coordinator, in cores.
    CoordinatorCpuCores,
    /// Resident memory of the coordinator, in MiB.
    CoordinatorMemoryMib,
    /// Tasks that wait in the queue.
    QueueDepth,
}

/// How bad a violation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Told, and nothing else.
    Info,
    /// Told; the verdict stays go.
    Warning,
    /// The verdict is no-go.
    #[default]
    Critical,
}

/// Where alerts go, as JSON by POST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http://...`.
    pub url: String,
}

/// A change under test, made while the run goes on and undone if a service level calls for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// When, as a share of the duration.
    pub at_share: f64,
    /// The strategy to use instead, as the API names it.
    pub strategy: String,
    /// Its parameters, as the API names them.
    #[serde(default)]
    pub parameters: BTreeMap<String, f64>,
    /// How long after a rollback the service levels may take to hold again.
    pub recovery_max_s: f64,
}

/// How a service level came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelOutcome {
    /// The level.
    pub level: ServiceLevel,
    /// Over the whole run, in the unit of the measure; none if nothing was measured.
    pub value: Option<f64>,
    /// The worst window.
    pub worst: Option<f64>,
    /// Stretches of violation, grace included: from and to, in seconds since the start.
    pub violations: Vec<(f64, f64)>,
    /// Whether it was kept: the value over the whole run is within, and no violation outlasted the grace.
    pub kept: bool,
}
