//! The engine's settings, each with its unit, its default and what it trades.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{StrategyConfig, Tenant};

use crate::admission::breaker::BreakerSettings;
use crate::health::{
    decay::StalenessSettings, lease::LeaseSettings, outlier::OutlierSettings, panic::PanicSettings,
    slow_start::RampSettings, thresholds::HealthSettings,
};

/// All that can be set of the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The strategy at first start; one set at run time is kept in the store and wins.
    pub strategy: StrategyConfig,
    /// Seed of every draw the engine makes.
    pub seed: u64,
    /// Most live tasks. Beyond it submissions get RESOURCE_EXHAUSTED. About 1 KiB of memory each, payloads apart.
    pub tasks_max: usize,
    /// Most payload bytes of live tasks: they are held in memory until the task is over.
    pub payload_bytes_max: u64,
    /// A level of waiting tasks rises by one priority for each such time its oldest has waited. `None`: strict priorities.
    pub ageing_interval: Option<Duration>,
    /// Shares of tenants, where they are not 1.
    pub tenant_weights: BTreeMap<Tenant, u32>,
    /// A task that has waited so long for more room than ever comes free at once gets an agent held for it.
    pub hold_after: Duration,
    /// Longest time of one attempt where the task does not say.
    pub attempt_timeout: Duration,
    /// How long the attempts of an agent whose stream ended wait for it to come back. Longer survives longer breaks of the
    /// network, shorter moves the work of a dead agent sooner.
    pub reconnect_grace: Duration,
    /// The same after a restart of the coordinator, when all agents have to come back.
    pub adoption_grace: Duration,
    /// A task that crashed so many agents is quarantined.
    pub quarantine_after: u32,
    /// Tasks are given ahead of a free slot only to agents whose attempts take less than this on average, where the round
    /// trip matters. Zero: never, unless an agent asks for it.
    pub prefetch_below: Duration,
    /// Time for what runs to finish when an operator drains an agent and names none.
    pub drain_deadline: Duration,
    /// Agents without a session are shown for so long.
    pub lost_agent_memory: Duration,
    /// When an agent counts as degraded or unhealthy.
    pub health: HealthSettings,
    /// When an agent counts as gone.
    pub lease: LeaseSettings,
    /// When an agent that fails much rests for a while.
    pub outliers: OutlierSettings,
    /// When kinds and upstream quotas that fail much are left alone for a while.
    pub breakers: BreakerSettings,
    /// Whether quotas, breakers and slots that follow latency have any effect. Without them routing is by limits, budgets and
    /// health alone.
    pub guards: bool,
    /// How fast an agent that came back takes on work.
    pub ramp: RampSettings,
    /// When failover is slowed down.
    pub panic: PanicSettings,
    /// How fast a measurement of an agent loses its worth.
    pub staleness: StalenessSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: StrategyConfig::default(),
            seed: 0,
            tasks_max: 1_000_000,
            payload_bytes_max: 1 << 30,
            ageing_interval: Some(Duration::from_secs(30)),
            tenant_weights: BTreeMap::new(),
            hold_after: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3_600),
            reconnect_grace: Duration::from_millis(150),
            adoption_grace: Duration::from_secs(15),
            quarantine_after: 3,
            prefetch_below: Duration::from_millis(5),
            drain_deadline: Duration::from_secs(300),
            lost_agent_memory: Duration::from_secs(3_600),
            health: HealthSettings::default(),
            lease: LeaseSettings::default(),
            outliers: OutlierSettings::default(),
            breakers: BreakerSettings::default(),
            guards: true,
            ramp: RampSettings::default(),
            panic: PanicSettings::default(),
            staleness: StalenessSettings::default(),
        }
    }
}
