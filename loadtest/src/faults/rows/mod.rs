//! The faults, in the order of the table.

mod crash;
mod network;

use super::Fault;

/// All faults.
pub const FAULTS: &[Fault] = &[
    crash::COORDINATOR_KILLED,
    crash::AGENT_KILLED,
    crash::AGENT_STOPPED,
    network::HALF_OPEN,
    network::ONE_WAY_TO_COORDINATOR,
    network::ONE_WAY_TO_AGENT,
    network::DELAY,
    network::RESETS,
    network::RESETS_CLIENTS,
    network::CHUNKING,
];
