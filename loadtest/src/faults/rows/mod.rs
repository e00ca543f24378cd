//! The faults, in the order of the table.

mod crash;

use super::Fault;

/// All faults.
pub const FAULTS: &[Fault] = &[crash::COORDINATOR_KILLED, crash::AGENT_KILLED, crash::AGENT_STOPPED];
