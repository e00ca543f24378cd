//! Settings of scaling: who carries decisions out, and how long that may take.

use std::time::Duration;

use crate::{capacity::Policy, manager::change::ChangeSettings};

/// What carries decisions out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing: they are shown.
    Nobody,
    /// Something outside that chooses itself which agents go, such as an orchestrator, and ends them in order.
    Choosing,
    /// Something that takes away the agents that it is told, once they are empty. It can take only those whose names begin
    /// with this; empty: any.
    Told(String),
}

/// Settings of scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingSettings {
    /// The policy until an operator puts another one.
    pub policy: Option<Policy>,
    /// The actuator's name.
    pub actuator: String,
    /// What it can do.
    pub carrier: Carrier,
    /// How long the parts of a change may take.
    pub change: ChangeSettings,
    /// Nothing is decided for so long after the start.
    pub quiet: Duration,
}

impl Default for ScalingSettings {
    fn default() -> Self {
        Self {
            policy: None,
            actuator: "advise".to_owned(),
            carrier: Carrier::Nobody,
            change: ChangeSettings { drain: Duration::from_secs(600), join: Duration::from_secs(120) },
            quiet: Duration::from_secs(15),
        }
    }
}
