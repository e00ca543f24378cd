//! Agents as they are shown, for tests of who looks at a fleet.

use std::sync::Arc;

use evenkeel_shared::{AdminState, AgentLoad, AgentSpec, Health, Resources, SessionEpoch, Timestamp};

use crate::model::AgentView;

/// A healthy agent that connected then, was heard of at the same moment, and has had nothing to do.
#[must_use]
pub fn idle_agent(spec: AgentSpec, connected_at: Timestamp) -> AgentView {
    AgentView {
        slots_usable: spec.capacity.slots,
        spec: Arc::new(spec),
        admin: AdminState::Active,
        health: Health::Healthy,
        conditions: Vec::new(),
        session: SessionEpoch(1),
        connected_at,
        last_heard_at: connected_at,
        reserved: Resources::default(),
        running_tasks: 0,
        prefetched_tasks: 0,
        load: AgentLoad::default(),
        succeeded: 0,
        failed: 0,
        kinds_seen: Vec::new(),
    }
}
