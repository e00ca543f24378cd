//! What the agent measures of the machine it runs on.
//!
//! Shares are of the agent's own limits: inside a container that may use two of 64 cores, two busy cores are 1.0. The
//! limits are those of cgroup v2 where there is one, else the host's.
//!
//! One thread samples for all agents of the process, and agents read its last sample. Sampling on the runtime's blocking
//! pool was rejected: executors may fill that pool, and an agent that cannot sample for want of a thread would fall
//! silent just when it is busy.

mod cgroup;
mod host;

pub use host::HostSampler;

/// What the machine does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostLoad {
    /// Processor in use, 0 to 1 of the limit.
    pub cpu_share: f64,
    /// Memory in use, 0 to 1 of the limit.
    pub memory_share: f64,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Received by all interfaces but loopback.
    pub network_rx_bytes_per_s: f64,
    /// Sent by all interfaces but loopback.
    pub network_tx_bytes_per_s: f64,
    /// Load average over a minute, of the whole host.
    pub load_average: f64,
}

/// What the machine may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Thousandths of a processor core.
    pub cpu_millis: u64,
    /// Memory; 0 where it is not known.
    pub memory_bytes: u64,
}

/// Where heartbeats get their measurements. A fake one makes tests repeatable.
pub trait Sampler: Send + Sync + 'static {
    /// The last sample. Called on an async thread: it must not block.
    fn load(&self) -> HostLoad;
}
