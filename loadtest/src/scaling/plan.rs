//! What to simulate.

use std::{path::PathBuf, time::Duration};

use evenkeel_core::capacity::{Policy, validate};
use serde::Serialize;

use super::day::DayShape;
use crate::trace::TraceError;

/// Most tasks of a day: each is simulated for each policy.
const TASKS_MAX: f64 = 50_000_000.0;
/// Longest day: a year is no longer a day.
pub const LENGTH_S_MAX: u64 = 31 * 86_400;
/// Most policies of a run.
const POLICIES_MAX: usize = 64;

/// What to simulate.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingPlan {
    /// The policies to try. Their `agents_max` is raised to `agents_max`, so that none of them is judged for a bound.
    pub policies: Vec<Policy>,
    /// The generated day.
    pub day: DayShape,
    /// Tasks a second, mean over the day.
    pub rate_per_s: f64,
    /// How long they run, mean, in seconds.
    pub service_s: f64,
    /// Slots of an agent.
    pub slots: u32,
    /// Agents at most.
    pub agents_max: u32,
    /// From which all randomness is drawn.
    pub seed: u64,
    /// A recorded history instead of the generated day.
    pub trace: Option<PathBuf>,
}

/// Why there is nothing to simulate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScalingError {
    /// The plan cannot be carried out.
    #[error("{field}: {what}")]
    Plan {
        /// What it is about.
        field: &'static str,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A policy would be refused by a coordinator.
    #[error("the policy `{policy}` cannot be put in force: {field} {advice}")]
    Policy {
        /// Its name.
        policy: String,
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        advice: String,
    },
    /// The trace cannot be used.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The trace is longer than a simulation goes on.
    #[error("the trace is {days} days long; the longest is {}", LENGTH_S_MAX / 86_400)]
    TraceLong {
        /// So long.
        days: u64,
    },
    /// The trace has no tasks.
    #[error("the trace holds no task")]
    TraceEmpty,
}

impl ScalingPlan {
    /// Checks the plan.
    ///
    /// # Errors
    /// What cannot be carried out.
    pub fn check(&self) -> Result<(), ScalingError> {
        let wrong = |field, what: &str| Err(ScalingError::Plan { field, what: what.to_owned() });
        if self.policies.is_empty() || self.policies.len() > POLICIES_MAX {
            return wrong("template", "there must be 1 to 64 policies");
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.rate_per_s) || self.rate_per_s * 86_400.0 > TASKS_MAX {
            return wrong("tasks-per-s", "must be above 0, and at most 50,000,000 tasks a day");
        }
        if !positive(self.service_s) || self.service_s > 86_400.0 {
            return wrong("service", "must be above 0 and at most a day");
        }
        if !(1..=1_000).contains(&self.slots) {
            return wrong("slots", "must be 1 to 1,000");
        }
        if !(1..=10_000).contains(&self.agents_max) {
            return wrong("agents-max", "must be 1 to 10,000");
        }
        for policy in self.policies.iter().map(|policy| self.bounded(policy)) {
            if let Some(advice) = validate(&policy).into_iter().find(|advice| advice.error) {
                let (policy, field) = (policy.name, advice.field);
                return Err(ScalingError::Policy { policy, field, advice: advice.advice });
            }
        }
        Ok(())
    }

    /// A policy with the simulation's bound.
    #[must_use]
    pub fn bounded(&self, policy: &Policy) -> Policy {
        Policy { agents_max: policy.agents_max.max(self.agents_max), ..policy.clone() }
    }

    /// How long a task runs, mean.
    #[must_use]
    pub fn service(&self) -> Duration {
        Duration::try_from_secs_f64(self.service_s).unwrap_or_default()
    }
}
