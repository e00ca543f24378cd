//! Settings of the engine.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_core::{
    admission::breaker::BreakerSettings,
    engine::Settings,
    health::{
        decay::StalenessSettings, lease::LeaseSettings, outlier::OutlierSettings, panic::PanicSettings,
        slow_start::RampSettings, thresholds::HealthSettings,
    },
};
use evenkeel_shared::{StrategyConfig, Tenant, Violation};
use serde::{Deserialize, Serialize};

use super::{ConfigError, ms};

/// Settings of the engine. Durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// The strategy at first start; one set at run time is kept in the store and wins.
    pub strategy: StrategyConfig,
    /// Seed of every draw; not set: from the operating system.
    pub seed: Option<u64>,
    /// Most live tasks.
    pub tasks_max: usize,
    /// Most payload bytes of live tasks.
    pub payload_bytes_max: u64,
    /// A waiting task counts one priority more for each such time. 0: strict priorities.
    pub ageing_interval_ms: u64,
    /// Shares of tenants, where they are not 1.
    pub tenant_weights: BTreeMap<Tenant, u32>,
    /// After so long a wait for more room than ever comes free at once, an agent is held for a task.
    pub hold_after_ms: u64,
    /// Longest time of one attempt where the task does not say.
    pub attempt_timeout_ms: u64,
    /// How long the attempts of an agent whose stream ended wait for it to come back.
    pub reconnect_grace_ms: u64,
    /// The same after a restart of the coordinator.
    pub adoption_grace_ms: u64,
    /// A task that crashed so many agents is quarantined.
    pub quarantine_after: u32,
    /// Tasks are given ahead of a free slot only to agents whose attempts take less on average. 0: never, unless an agent
    /// asks for it.
    pub prefetch_below_ms: u64,
    /// Time for what runs to finish when an operator drains an agent and names none.
    pub drain_deadline_ms: u64,
    /// Agents without a session are shown for so long.
    pub lost_agent_memory_ms: u64,
    /// When an agent counts as degraded or unhealthy.
    pub health: HealthSettings,
    /// When an agent counts as gone.
    pub lease: LeaseSettings,
    /// When an agent that fails much rests for a while.
    pub outliers: OutlierSettings,
    /// When kinds and upstream quotas that fail much are left alone for a while.
    pub breakers: BreakerSettings,
    /// Whether upstream quotas, circuit breakers and slots that follow latency have any effect.
    pub guards: bool,
    /// How fast an agent that came back takes on work.
    pub ramp: RampSettings,
    /// When failover is slowed down.
    pub panic: PanicSettings,
    /// How fast a measurement of an agent loses its worth.
    pub staleness: StalenessSettings,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let engine = Settings::default();
        Self {
            strategy: engine.strategy,
            seed: None,
            tasks_max: engine.tasks_max,
            payload_bytes_max: engine.payload_bytes_max,
            ageing_interval_ms: engine.ageing_interval.map_or(0, ms),
            tenant_weights: engine.tenant_weights,
            hold_after_ms: ms(engine.hold_after),
            attempt_timeout_ms: ms(engine.attempt_timeout),
            reconnect_grace_ms: ms(engine.reconnect_grace),
            adoption_grace_ms: ms(engine.adoption_grace),
            quarantine_after: engine.quarantine_after,
            prefetch_below_ms: ms(engine.prefetch_below),
            drain_deadline_ms: ms(engine.drain_deadline),
            lost_agent_memory_ms: ms(engine.lost_agent_memory),
            health: engine.health,
            lease: engine.lease,
            outliers: engine.outliers,
            breakers: engine.breakers,
            guards: engine.guards,
            ramp: engine.ramp,
            panic: engine.panic,
            staleness: engine.staleness,
        }
    }
}

impl EngineConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.strategy.validate().map_err(|violation| violation.within("engine.strategy"))?;
        for (section, checked) in [
            ("engine.health", self.health.validate()),
            ("engine.lease", self.lease.validate()),
            ("engine.outliers", self.outliers.validate()),
            ("engine.breakers", self.breakers.validate()),
            ("engine.ramp", self.ramp.validate()),
            ("engine.panic", self.panic.validate()),
            ("engine.staleness", self.staleness.validate()),
        ] {
            checked.map_err(|violation| violation.within(section))?;
        }
        if let Some((tenant, _)) = self.tenant_weights.iter().find(|(_, weight)| **weight == 0) {
            let field = format!("engine.tenant_weights.{tenant}");
            return Err(Violation::new(field, "must be at least 1").into());
        }
        Ok(())
    }

    /// The engine's own settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let duration = Duration::from_millis;
        Settings {
            strategy: self.strategy.clone(),
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
            tasks_max: self.tasks_max,
            payload_bytes_max: self.payload_bytes_max,
            ageing_interval: (self.ageing_interval_ms > 0).then(|| duration(self.ageing_interval_ms)),
            tenant_weights: self.tenant_weights.clone(),
            hold_after: duration(self.hold_after_ms),
            attempt_timeout: duration(self.attempt_timeout_ms),
            reconnect_grace: duration(self.reconnect_grace_ms),
            adoption_grace: duration(self.adoption_grace_ms),
            quarantine_after: self.quarantine_after,
            prefetch_below: duration(self.prefetch_below_ms),
            drain_deadline: duration(self.drain_deadline_ms),
            lost_agent_memory: duration(self.lost_agent_memory_ms),
            health: self.health,
            lease: self.lease,
            outliers: self.outliers,
            breakers: self.breakers,
            guards: self.guards,
            ramp: self.ramp,
            panic: self.panic,
            staleness: self.staleness,
        }
    }
}
