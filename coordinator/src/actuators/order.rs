//! A decision as programs and other services are told of it.

use evenkeel_core::capacity::{Action, Decision};
use serde::Serialize;

/// A decision in JSON. Fields are added, never changed or taken away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    /// The decision's number; the same order may come twice, and is one by this.
    pub id: u64,
    /// When it was decided.
    pub at_unix_ms: u64,
    /// `up` or `down`.
    pub action: &'static str,
    /// Agents before.
    pub agents_before: u32,
    /// Agents wanted.
    pub agents_after: u32,
    /// Of a scale-down: which go. They are drained already.
    pub agents: Vec<String>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub policy_version: u64,
}

impl From<&Decision> for Order {
    fn from(decision: &Decision) -> Self {
        Self {
            id: decision.id,
            at_unix_ms: decision.at.unix_millis(),
            action: match decision.action {
                Action::Up => "up",
                Action::Down => "down",
                Action::None => "none",
            },
            agents_before: decision.agents_before,
            agents_after: decision.agents_after,
            agents: decision.agents.iter().map(ToString::to_string).collect(),
            reasons: decision.reasons.iter().map(ToString::to_string).collect(),
            policy: decision.policy.clone(),
            policy_version: decision.policy_version,
        }
    }
}
