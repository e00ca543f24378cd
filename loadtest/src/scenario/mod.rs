//! Scenarios: what a fleet and its clients do, written as a file.
//!
//! A scenario is data. Everything that it names is drawn from one seed, so a scenario with a seed is the same offered load
//! on every machine; what the machine makes of it is what is measured. The form is TOML: tables for the fleet, the
//! arrivals, the mix of work, the network, faults, service levels, and a change under test. Unknown keys are refused, and
//! units are part of the names.

mod file;
mod validate;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::file::{BUILT_IN, ScenarioError};
use crate::{
    levels::{Change, ServiceLevel, Webhook},
    task_time::TaskTime,
};

/// Follow-up tasks are called like the work they follow, with this behind it.
pub const ESCALATED: &str = "_escalated";

/// A scenario, as its file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// In lower case with underscores.
    pub name: String,
    /// What it is like, and what it is for.
    pub description: String,
    /// How long tasks arrive. What is in flight then is waited for.
    pub duration_s: f64,
    /// The strategy during the run; the one before it is put back afterwards. Without one: the coordinator's.
    #[serde(default)]
    pub strategy: Option<String>,
    /// The simulated agents.
    pub fleet: Fleet,
    /// When tasks are due.
    pub arrivals: Arrivals,
    /// What tasks are like; drawn by weight. May be empty where they are those of a trace.
    #[serde(default)]
    pub work: Vec<Work>,
    /// Errors of the network, and what clients do about them.
    #[serde(default)]
    pub network: Network,
    /// Harm done at given times.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What has to hold.
    #[serde(default)]
    pub levels: Vec<ServiceLevel>,
    /// Where alerts go beside the console.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// A change under test.
    #[serde(default)]
    pub change: Option<Change>,
}

/// A value over the time of the run: points of (share of the duration, factor), straight lines between them. Empty: 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Curve(pub Vec<(f64, f64)>);

impl Curve {
    /// The factor at this share of the duration; before the first point as there, after the last one likewise.
    #[must_use]
    pub fn at(&self, share: f64) -> f64 {
        let after = self.0.partition_point(|point| point.0 <= share);
        match (after.checked_sub(1).and_then(|at| self.0.get(at)), self.0.get(after)) {
            (Some(from), Some(to)) => from.1 + (to.1 - from.1) * (share - from.0) / (to.0 - from.0),
            (Some(only), None) | (None, Some(only)) => only.1,
            (None, None) => 1.0,
        }
    }
}

/// The simulated agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// How many, at most at the same time.
    pub agents: u32,
    /// Slots of each.
    pub slots: u32,
    /// Agents that share a connection.
    #[serde(default = "one")]
    pub agents_per_connection: u32,
    /// Share of the agents that take follow-up tasks, and only those.
    #[serde(default)]
    pub specialists_share: f64,
    /// Value of the label `region`, and the share of the agents that carry it. Empty: no such label.
    #[serde(default)]
    pub regions: BTreeMap<String, f64>,
    /// How many agents there are over the time of the run.
    #[serde(default)]
    pub curve: Curve,
    /// Agents that leave and come back.
    #[serde(default)]
    pub churn: Churn,
}

/// Agents that leave and come back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// Departures a minute, of the whole fleet.
    pub per_minute: f64,
    /// Share of them that say so and finish what they hold (drain); the others' streams break, and their work is gone.
    pub orderly_share: f64,
    /// How long they stay away.
    pub away_s: f64,
}

/// When tasks are due: an open loop, that never waits for the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrivals {
    /// Tasks a second, before curve and spikes; for `sessions`, sessions that start in a second; not used by `trace`.
    pub rate_per_s: f64,
    /// How they come.
    pub process: Process,
    /// Factor of the rate over the time of the run.
    #[serde(default)]
    pub curve: Curve,
    /// Stretches with more.
    #[serde(default)]
    pub spikes: Vec<Spike>,
}

/// A process of arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Process {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Many at the same moment, the moments independent of each other.
    Bursts {
        /// Mean size of a burst (geometric).
        mean_size: f64,
    },
    /// Users: each submits a task, waits for its end, thinks, and goes on with the next.
    Sessions {
        /// Mean number of tasks of a session (geometric).
        mean_tasks: f64,
        /// Between an end and the next submission.
        think_time: TaskTime,
    },
    /// As recorded (the CSV of `loadtest trace`): times, tenants, priorities and service times are the file's.
    Trace {
        /// Relative to the scenario's file.
        file: PathBuf,
        /// Factor of its speed.
        #[serde(default = "unit")]
        speed: f64,
    },
}

/// A stretch with more tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// Its start, as a share of the duration.
    pub at_share: f64,
    /// Its length, as a share of the duration.
    pub length_share: f64,
    /// More tasks, as a multiple of the rate.
    pub times: f64,
    /// The kind of work they are; without one, drawn as all.
    #[serde(default)]
    pub work: Option<String>,
}

/// A kind of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Its name in the report.
    pub name: String,
    /// Its weight among all kinds of work; 0: only where a spike names it.
    pub weight: f64,
    /// How long it takes.
    pub time: TaskTime,
    /// 0 to 9.
    #[serde(default = "middle")]
    pub priority: u8,
    /// Tenants, by weight. Empty: the harness's own.
    #[serde(default)]
    pub tenants: BTreeMap<String, f64>,
    /// Of each payload.
    #[serde(default = "small")]
    pub payload_bytes: u32,
    /// Kept in memory only.
    #[serde(default)]
    pub ephemeral: bool,
    /// Prefers an agent of the region it comes from.
    #[serde(default)]
    pub prefers_region: bool,
    /// Share of the executions that fail and may be tried again.
    #[serde(default)]
    pub failure_share: f64,
    /// The follow-up task on a specialist, when it ends.
    #[serde(default)]
    pub escalation: Option<Escalation>,
}

/// A follow-up task on a specialist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Share of the tasks that need it.
    pub share: f64,
    /// How long it takes.
    pub time: TaskTime,
    /// 0 to 9.
    #[serde(default = "middle")]
    pub priority: u8,
}

/// Errors of the network, and what clients do about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Connections of agents that break in a minute, of the whole fleet; those agents dial again at once.
    pub agent_breaks_per_minute: f64,
    /// Times in a minute that the client's stream breaks.
    pub client_breaks_per_minute: f64,
    /// Times that the client sends a task, at most.
    pub tries_max: u32,
    /// First pause before it is sent again, where the coordinator gives no hint; doubles.
    pub backoff_ms: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self { agent_breaks_per_minute: 0.0, client_breaks_per_minute: 0.0, tries_max: 8, backoff_ms: 50 }
    }
}

/// Harm done at a given time. Only done to a coordinator of the run's own, and to the run's agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// As a share of the duration.
    pub at_share: f64,
    /// What is done.
    pub what: Harm,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Harm {
    /// The coordinator is killed (SIGKILL) and started again.
    KillCoordinator,
    /// A share of the agents is gone at once, without a word, and comes back.
    LoseAgents {
        /// Of the fleet.
        share: f64,
        /// How long they stay away.
        away_s: f64,
        /// Only agents of this region.
        #[serde(default)]
        region: Option<String>,
    },
    /// A share of the agents is drained through the API, and taken back after a while: maintenance in turn.
    DrainAgents {
        /// Of the fleet.
        share: f64,
        /// How long until they are resumed.
        away_s: f64,
        /// Only agents of this region.
        #[serde(default)]
        region: Option<String>,
    },
    /// A share of the agents becomes slower.
    SlowAgents {
        /// Of the fleet.
        share: f64,
        /// Factor of the time that tasks take there.
        factor: f64,
        /// How long.
        length_s: f64,
    },
}

const fn one() -> u32 {
    1
}

const fn unit() -> f64 {
    1.0
}

const fn middle() -> u8 {
    5
}

const fn small() -> u32 {
    64
}

impl Work {
    /// Work that takes so long, everything else as by default.
    #[must_use]
    pub const fn of(time: TaskTime) -> Self {
        Self {
            name: String::new(),
            weight: 1.0,
            time,
            priority: middle(),
            tenants: BTreeMap::new(),
            payload_bytes: small(),
            ephemeral: false,
            prefers_region: false,
            failure_share: 0.0,
            escalation: None,
        }
    }
}
