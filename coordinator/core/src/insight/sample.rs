//! What a sample tells beside the engine's numbers and the agents: groups of tasks, limits, and the shell's own counters.
//!
//! Counters are since the coordinator started; insight takes differences. A part that the shell does not know stays at its
//! default, and what depends on it is not measured.

use std::time::Duration;

use crate::cost::Prices;

/// All that a sample tells beside the engine's numbers and the agents. The lists are in the order of their names, so that two
/// samples can be walked side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MoreSamples {
    /// Tenants, by name.
    pub tenants: Vec<GroupSample>,
    /// Kinds, by name.
    pub kinds: Vec<GroupSample>,
    /// Declared limits, by name.
    pub limits: Vec<LimitSample>,
    /// What agents cost.
    pub prices: Prices,
    /// The shell itself.
    pub shell: ShellSample,
}

/// The tasks of one tenant or kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSample {
    /// The tenant or kind.
    pub name: String,
    /// Tasks that wait for an agent at the moment.
    pub waiting: u64,
    /// Slots in use at the moment.
    pub slots_in_use: u32,
    /// Tasks accepted.
    pub requested: u64,
    /// Attempts that ended.
    pub released: u64,
    /// Attempts that ran into a time limit.
    pub timed_out: u64,
    /// Their run times, summed up.
    pub run_time: Duration,
}

/// A declared limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSample {
    /// Its name.
    pub name: String,
    /// Attempts at a time at most; 0: not limited.
    pub concurrency_max: u32,
    /// It lets nothing through at the moment.
    pub closed: bool,
    /// Tasks that wait under it.
    pub waiting: u64,
}

/// What the shell knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellSample {
    /// Transactions of the store.
    pub commits: u64,
    /// Their times, summed up.
    pub commit_time: Duration,
    /// Time for which the engine's thread was at work.
    pub engine_busy: Duration,
    /// Tasks that ended.
    pub tasks_ended: u64,
    /// Their times from acceptance to end, summed up.
    pub response_time: Duration,
    /// Its caches.
    pub caches: Vec<CacheSample>,
}

/// A cache: something bounded that is kept because looking again is dearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheSample {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub entries: u64,
    /// What it can hold.
    pub capacity: u64,
    /// Look-ups that found something.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries given up for want of room.
    pub evictions: u64,
}
