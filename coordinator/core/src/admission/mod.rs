//! Who may begin how much, and when: limits, upstream quotas, circuit breakers, limits that follow measured latency.

pub mod breaker;
pub mod bucket;
pub mod dynamic;
pub mod gates;
pub mod guards;
pub mod limits;
pub mod quota;
pub mod statistics;

use std::time::Duration;

use evenkeel_shared::{AgentId, Kind, QuotaKey, Tenant};
use serde::{Deserialize, Serialize};

/// To what a limit applies: every part that is set must match, and at least one is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitScope {
    /// Tasks of this tenant.
    pub tenant: Option<Tenant>,
    /// Tasks of this kind.
    pub kind: Option<Kind>,
    /// Attempts on this agent.
    pub agent: Option<AgentId>,
    /// Attempts on the agents with this label and value, together.
    pub agent_label: Option<(String, String)>,
    /// One such limit for each tenant that no other limit names.
    pub each_tenant: bool,
    /// The same for each kind.
    pub each_kind: bool,
    /// The same for each agent.
    pub each_agent: bool,
}

/// A limit, as an operator declares it. At least one of the two bounds is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// To what it applies.
    pub scope: LimitScope,
    /// Attempts at a time.
    pub concurrency_max: Option<u32>,
    /// Attempts begun per second. Finite and positive.
    pub rate_per_s: Option<f64>,
    /// Attempts that may begin at once after a pause: the size of the token bucket. At least 1.
    pub burst: u32,
}

/// What a circuit breaker watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerId {
    /// The attempts on an agent.
    Agent(AgentId),
    /// The attempts of a kind.
    Kind(Kind),
    /// The attempts that draw on an upstream quota.
    Quota(QuotaKey),
}

/// What an operator wants of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerOrder {
    /// Let nothing through for so long.
    Open(Duration),
    /// Let everything through.
    Close,
}

/// How the slots of agents follow measured latency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicLimitSettings {
    /// Whether they do.
    pub enabled: bool,
    /// How.
    pub algorithm: DynamicAlgorithm,
    /// An agent keeps at least so many. At least 1.
    pub slots_min: u32,
    /// Latency may be so many times the best before slots are taken away. At least 1.
    pub tolerance: f64,
    /// From this priority on, tasks may also use the slots that were taken away. 0 to 9.
    pub headroom_priority: u8,
}

/// How a dynamic limit moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DynamicAlgorithm {
    /// By the ratio of the best latency to the present one.
    #[default]
    Gradient,
    /// Up by one, down by a factor.
    Aimd,
}

impl DynamicAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gradient, Self::Aimd];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gradient => "gradient",
            Self::Aimd => "aimd",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl Default for DynamicLimitSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            algorithm: DynamicAlgorithm::Gradient,
            slots_min: 1,
            tolerance: 1.5,
            headroom_priority: 8,
        }
    }
}
