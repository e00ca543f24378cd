//! The faults, in the order of the table.

mod clock;
mod crash;
mod crashpoints;
mod damage;
mod disk;
mod fleet;
mod frames;
mod hostile;
mod http2;
mod lifecycle;
mod manager;
mod network;
mod overload;
mod soak;
mod unread;
mod watchdog;

use super::Fault;

/// All faults.
pub const FAULTS: &[Fault] = &[
    crash::COORDINATOR_KILLED,
    crashpoints::AFTER_COMMIT,
    crashpoints::AFTER_CLAIM,
    crashpoints::AFTER_RECORD,
    crash::AGENT_KILLED,
    crash::AGENT_STOPPED,
    network::HALF_OPEN,
    network::ONE_WAY_TO_COORDINATOR,
    network::ONE_WAY_TO_AGENT,
    network::DELAY,
    network::RESETS,
    network::RESETS_CLIENTS,
    network::CHUNKING,
    clock::FORWARD,
    clock::BACKWARD,
    fleet::POISON,
    fleet::RECONNECT,
    fleet::MASS_LOSS,
    overload::OVERLOAD,
    overload::EXPIRED_BACKLOG,
    frames::FRAMES,
    frames::SAME_ID,
    unread::AGENT_NEVER_READS,
    unread::CLIENT_NEVER_READS,
    disk::FULL,
    disk::READ_ONLY,
    disk::SYNC_FAILS,
    damage::DAMAGED,
    damage::EARLIER_VERSION,
    lifecycle::SIGTERM,
    lifecycle::ROLLING_RESTART,
    crashpoints::ACTOR_PANICS,
    manager::MANAGER_PANICS,
    watchdog::STUCK_ENGINE,
    hostile::HOSTILE_AGENT,
    http2::ABUSE,
    crashpoints::EARLY_ANSWERS,
    soak::SOAK,
];
