//! Decisions for tests.

use evenkeel_core::capacity::{Action, Decision, Effect, ScalingOutcome};
use evenkeel_shared::{AgentId, Timestamp};

/// A decision to go from one size to another; these agents go.
pub(super) fn decision(before: u32, after: u32, agents: &[&str]) -> Decision {
    Decision {
        id: 7,
        at: Timestamp::from_unix_millis(1_000),
        action: Action::between(before, after),
        agents_before: before,
        agents_after: after,
        agents: agents.iter().map(|id| AgentId::new(id).unwrap()).collect(),
        reasons: Vec::new(),
        waiting_for: None,
        actuator: String::new(),
        outcome: ScalingOutcome::Decided,
        error: String::new(),
        policy: "trial".to_owned(),
        policy_version: 2,
        score_percent: 0.0,
        demand_slots: 0.0,
        effect: Effect::NONE,
    }
}
