//! Decisions as they are kept: with their reasons, and what became of them.

use evenkeel_shared::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    effect::Effect,
    verdict::{Action, Reason},
};
use crate::model::ScalingRecord;

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingOutcome {
    /// It is being carried out.
    Decided,
    /// It was carried out.
    Done,
    /// It was not.
    Failed,
    /// Nothing carries it out; somebody may.
    Advised,
}

impl ScalingOutcome {
    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Advised => "advised",
        }
    }
}

/// A decision to change the size of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number; unique and growing.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// Agents before.
    pub agents_before: u32,
    /// Agents wanted.
    pub agents_after: u32,
    /// Of a scale-down: which go.
    pub agents: Vec<AgentId>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What kept it from going further, if anything.
    pub waiting_for: Option<Reason>,
    /// What carries it out.
    pub actuator: String,
    /// What became of it.
    pub outcome: ScalingOutcome,
    /// Why it failed; else empty.
    pub error: String,
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub policy_version: u64,
    /// The score, per cent.
    pub score_percent: f64,
    /// Slots asked for.
    pub demand_slots: f64,
    /// How the policy had done until then.
    pub effect: Effect,
}

impl Decision {
    /// As it is stored: a record with the same number replaces it.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which is a defect.
    pub fn record(&self) -> Result<ScalingRecord, serde_json::Error> {
        let body = serde_json::to_string(self)?;
        let Self { id, at, agents_before, agents_after, .. } = *self;
        Ok(ScalingRecord { id, at, agents_before, agents_after, body })
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// If it is no decision.
    pub fn read(record: &ScalingRecord) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&record.body)
    }
}
