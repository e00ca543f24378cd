//! What an operator says about the size of the fleet.
//!
//! The words for windows, steps and tolerance are those of the Kubernetes autoscaler (HPA v2, `behavior`), and mean the
//! same, so that who has tuned the one can tune the other.

use evenkeel_shared::Timestamp;
use serde::{Deserialize, Serialize};

/// What is measured for the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingMetric {
    /// Processor in use: mean share of the agents, 0 to 1.
    Cpu,
    /// Memory in use: mean share of the agents, 0 to 1.
    Memory,
    /// Milliseconds from acceptance to end, mean.
    ResponseTime,
    /// Share of attempts that failed, 0 to 1.
    ErrorRate,
    /// Tasks accepted per second and agent.
    RequestRate,
    /// Slots that are asked for over slots that there are; above 1 work piles up.
    Utilisation,
}

impl ScalingMetric {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::Memory, Self::ResponseTime, Self::ErrorRate, Self::RequestRate, Self::Utilisation];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::ResponseTime => "response_time",
            Self::ErrorRate => "error_rate",
            Self::RequestRate => "request_rate",
            Self::Utilisation => "utilisation",
        }
    }

    /// The metric of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

/// How much a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricWeight {
    /// Which.
    pub metric: ScalingMetric,
    /// Its part of the score, in relation to the other weights. Finite, at least 0.
    pub weight: f64,
    /// The value that counts as 100 per cent; `None`: see [`super::score`]. Finite and positive.
    pub normaliser: Option<f64>,
}

/// How fast the fleet may follow, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// The mildest proposal of this time counts. 0: none is waited for.
    pub stabilisation_ms: u64,
    /// Agents at most in each period.
    pub step_agents_max: Option<u32>,
    /// Per cent of the fleet at most in each period, rounded up; if both are set both hold.
    pub step_percent_max: Option<u32>,
    /// The period of the two. At least 1.
    pub period_ms: u64,
    /// Up: nothing for so long after the last scale-up. Down: nothing for so long after the last change, whichever it was;
    /// a load that comes back right after a scale-down must not wait.
    pub cooldown_ms: u64,
}

/// How the fleet follows the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The template it was made from; may be empty.
    pub template: String,
    /// Grows with each change.
    pub version: u64,
    /// At least so many agents, whatever the load. 0: none are kept while there is nothing to do.
    pub agents_min: u32,
    /// At most.
    pub agents_max: u32,
    /// Slots in use that are aimed at, per cent. 1 to 100.
    pub utilisation_target_percent: u32,
    /// What makes up the score.
    pub metrics: Vec<MetricWeight>,
    /// Above this score the fleet grows, per cent.
    pub scale_up_percent: u32,
    /// It shrinks only below this score, per cent.
    pub scale_down_percent: u32,
    /// How fast it grows.
    pub up: Rules,
    /// How fast it shrinks.
    pub down: Rules,
    /// Per cent that demand may be off what the fleet is made for before anything is done.
    pub tolerance_percent: u32,
    /// Whether forecast demand counts as well as present demand.
    pub predictive: bool,
    /// Waiting work is to start within this time: what the demand of a backlog is reckoned by, and a miss is judged by.
    pub wait_target_ms: u64,
    /// How long a new agent takes until it works: how far a forecast looks ahead.
    pub start_up_ms: u64,
}

impl Policy {
    /// The utilisation aimed at, as a share above 0.
    #[must_use]
    pub fn target(&self) -> f64 {
        f64::from(self.utilisation_target_percent.clamp(1, 100)) / 100.0
    }

    /// The tolerance, as a share.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        f64::from(self.tolerance_percent) / 100.0
    }

    /// So many agents, or the nearest number that is allowed.
    #[must_use]
    pub fn bounded(&self, agents: u32) -> u32 {
        // Not `clamp`: it panics where the bounds are the wrong way round, which is refused, but not here.
        agents.min(self.agents_max).max(self.agents_min)
    }
}

/// The number of agents fixed for a while, whatever the policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// So many.
    pub agents: u32,
    /// Until then.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Since when.
    pub set: Timestamp,
}

impl Override {
    /// Whether it is in force.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}
