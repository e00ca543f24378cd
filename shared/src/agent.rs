//! Agents: what they say of themselves, what is observed of them, what the operator wants of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AgentId, AttemptRef, Kind, QuotaKey},
    labels::Labels,
    units::Resources,
};

/// What an agent is, as it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Its lasting name.
    pub id: AgentId,
    /// Kinds of task it takes, sorted, without repeats.
    pub kinds: Vec<Kind>,
    /// Its labels.
    pub labels: Labels,
    /// What it has in all. At least one slot.
    pub capacity: Resources,
    /// For the priority strategy: 0 is used first. 0 to 15.
    pub tier: u8,
    /// How much it is favoured by strategies that weigh; [`AgentSpec::WEIGHT_ORDINARY`] is ordinary. 1 to 1000.
    pub weight: u16,
    /// Its program's version.
    pub version: String,
    /// Tasks it wants ahead, per slot: 0 or 1. `None`: the engine decides.
    pub prefetch_per_slot: Option<u8>,
    /// Upstream quotas that all its work draws on, sorted, without repeats: while one is used up it gets nothing.
    #[serde(default)]
    pub quota_keys: Vec<QuotaKey>,
}

impl AgentSpec {
    /// The weight of an agent that is favoured like any other.
    pub const WEIGHT_ORDINARY: u16 = 100;

    /// An agent with so much, and nothing particular: it takes no kind, has no labels, and is favoured like any other.
    #[must_use]
    pub const fn of(id: AgentId, capacity: Resources) -> Self {
        Self {
            id,
            kinds: Vec::new(),
            labels: Labels::new(),
            capacity,
            tier: 0,
            weight: Self::WEIGHT_ORDINARY,
            version: String::new(),
            prefetch_per_slot: None,
            quota_keys: Vec::new(),
        }
    }
}

/// What an agent says when its session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it is.
    pub spec: AgentSpec,
    /// Which process it is: the same one may take over its own session. May be empty.
    pub instance: String,
    /// Which dial of that process it is. 0: not said.
    pub dial: u64,
    /// Attempts it still runs, or has an unacknowledged result of.
    pub held: Vec<AttemptRef>,
}

/// How one kind of task fares on an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindLatency {
    /// The kind.
    pub kind: Kind,
    /// Attempts completed.
    pub completed: u64,
    /// Mean time of one, in microseconds.
    pub mean_us: f64,
}

/// What an agent measures of itself. All numbers are finite and not negative; shares are 0 to 1 of its own limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentLoad {
    /// Processor in use.
    pub cpu_share: f64,
    /// Memory in use.
    pub memory_share: f64,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Received.
    pub network_rx_bytes_per_s: f64,
    /// Sent.
    pub network_tx_bytes_per_s: f64,
    /// Load average over a minute.
    pub load_average: f64,
    /// Attempts that run, by its own count.
    pub running_tasks: u32,
    /// By kind.
    pub latencies: Vec<KindLatency>,
}

/// What the operator wants of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Give it work.
    #[default]
    Active,
    /// Give it nothing new.
    Cordoned,
    /// Give it nothing new, and move what is left at the deadline.
    Draining,
}

impl AdminState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Cordoned, Self::Draining];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is observed of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All is well.
    #[default]
    Healthy,
    /// Works, but is strained: used after the healthy ones.
    Degraded,
    /// Gets nothing new.
    Unhealthy,
    /// Has no session.
    Lost,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Lost];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
