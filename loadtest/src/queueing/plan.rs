//! What to simulate.

use std::path::PathBuf;

use evenkeel_core::replay::ReplayError;
use evenkeel_shared::StrategyConfig;
use serde::{Serialize, Serializer};

use super::law::ServiceLaw;
use crate::trace::TraceError;

/// Most agents: as many as the engine can index.
pub const AGENTS_MAX: u32 = 262_144;
/// Most tasks of a seed: their response times are held in memory, 4 bytes each and twice.
const TASKS_MAX: u64 = 50_000_000;
/// Fewest tasks of a seed: below it a batch has no p99.
const TASKS_MIN: u64 = 10_000;
/// Most seeds of a run.
const SEEDS_MAX: u64 = 1_000;
/// Greatest spread of speeds: in practice machines differ by 2 to 10.
const SPREAD_MAX: f64 = 100.0;
/// Oldest heartbeats, in mean service times.
const HEARTBEAT_AGE_MAX: f64 = 1_000.0;
/// Highest utilisation; closer to 1 no number of tasks that can be simulated comes to rest.
const RHO_MAX: f64 = 0.999;

/// What to simulate. All times are in mean service times.
#[derive(Clone, Debug, Serialize)]
pub struct QueueingPlan {
    /// Agents.
    pub agents: u32,
    /// Slots of each.
    pub slots: u32,
    /// How long tasks take.
    #[serde(serialize_with = "as_text")]
    pub service: ServiceLaw,
    /// Utilisation: work that arrives, as a share of what the fleet can do.
    pub rho: f64,
    /// The strategies to try.
    #[serde(serialize_with = "as_names")]
    pub strategies: Vec<StrategyConfig>,
    /// What heartbeats tell is so old when it arrives.
    pub heartbeat_age: f64,
    /// The fastest agent is so many times as fast as the slowest; in between evenly by the logarithm.
    pub speed_spread: f64,
    /// Tasks of a seed.
    pub tasks: u64,
    /// Tasks of each seed that are not measured: the fleet is empty at first, and knows nothing.
    pub warm_up: u64,
    /// First seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// The mean service time in real seconds, which settings of the engine are in. `None`: 100 ms, or that of the trace.
    pub mean_service_s: Option<f64>,
    /// Seeds and strategies at a time.
    #[serde(skip)]
    pub threads: usize,
}

fn as_text<S: Serializer>(law: &ServiceLaw, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(law)
}

fn as_names<S: Serializer>(strategies: &[StrategyConfig], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(strategies.iter().map(StrategyConfig::name))
}

impl QueueingPlan {
    /// The mean service time in seconds where neither the plan nor a trace tells: far above `prefetch_below`, so that
    /// tasks are not given ahead, and far below every timeout.
    pub(super) const MEAN_SERVICE_S: f64 = 0.1;

    /// Whether it can be simulated.
    ///
    /// # Errors
    /// The first number that is out of its range.
    pub fn check(&self) -> Result<(), QueueingError> {
        let within = |name: &'static str, value: f64, min: f64, max: f64| {
            let fits = (min..=max).contains(&value);
            if fits { Ok(()) } else { Err(QueueingError::Range { name, value, min, max }) }
        };
        within("agents", f64::from(self.agents), 1.0, f64::from(AGENTS_MAX))?;
        within("slots", f64::from(self.slots), 1.0, f64::from(evenkeel_shared::limits::SLOTS_MAX))?;
        within("rho", self.rho, 0.01, RHO_MAX)?;
        within("speed-spread", self.speed_spread, 1.0, SPREAD_MAX)?;
        within("heartbeat-age", self.heartbeat_age, 0.0, HEARTBEAT_AGE_MAX)?;
        within("tasks", self.tasks as f64, TASKS_MIN as f64, TASKS_MAX as f64)?;
        within("warm-up", self.warm_up as f64, 0.0, self.tasks as f64 * 0.9)?;
        within("seeds", self.seeds as f64, 1.0, SEEDS_MAX as f64)?;
        within("mean-service", self.mean_service_s.unwrap_or(Self::MEAN_SERVICE_S), 0.000_1, 3_600.0)?;
        if self.strategies.is_empty() {
            return Err(QueueingError::NoStrategy);
        }
        Ok(())
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueingError {
    /// A number of the plan is out of its range.
    #[error("{name} is {value}; it can be {min} to {max}")]
    Range {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f64,
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// Nothing is to be tried.
    #[error("no strategy is named")]
    NoStrategy,
    /// The trace cannot be used.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The trace has no tasks, or none that took any time.
    #[error("the tasks of {} took no time in all, so there is nothing to simulate", path.display())]
    NoService {
        /// The file.
        path: PathBuf,
    },
    /// The engine, or the recorded history, does not lend itself to it.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The engine would not have it.
    #[error("the engine refused {what}: {reason}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// A part of the simulation ended without a result.
    #[error("a thread of the simulation ended without a result; this is a defect")]
    Lost,
}
