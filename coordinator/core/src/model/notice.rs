//! What somebody wants said of the fleet.

use evenkeel_shared::AgentId;

use super::ClusterEventKind;

/// Something to say about the fleet: a cluster event that has no place in the history yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: ClusterEventKind,
    /// The agent it is about.
    pub agent: Option<AgentId>,
    /// In words.
    pub message: String,
}

impl Notice {
    /// About the fleet as a whole.
    #[must_use]
    pub fn new(kind: ClusterEventKind, message: impl Into<String>) -> Self {
        Self { kind, agent: None, message: message.into() }
    }
}
