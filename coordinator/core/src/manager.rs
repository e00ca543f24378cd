//! The resource manager: what is measured each second, and what follows from it. Pure, like the engine.

use std::sync::Arc;

use evenkeel_shared::Timestamp;

use crate::model::{AgentView, EngineStatus};

/// What the fleet looks like at one moment.
#[derive(Clone, Debug)]
pub struct FleetSample {
    /// When.
    pub at: Timestamp,
    /// The whole in numbers.
    pub status: Arc<EngineStatus>,
    /// The agents, by id.
    pub agents: Vec<Arc<AgentView>>,
}
