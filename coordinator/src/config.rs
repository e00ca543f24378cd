//! What can be set of a coordinator, each setting with its unit and default. Unknown settings are refused.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use evenkeel_core::{
    admission::breaker::BreakerSettings,
    capacity::{Policy, TEMPLATES, Template, validate},
    engine::Settings,
    health::{
        decay::StalenessSettings, lease::LeaseSettings, outlier::OutlierSettings, panic::PanicSettings,
        slow_start::RampSettings, thresholds::HealthSettings,
    },
    manager::{
        ManagerSettings,
        change::ChangeSettings,
        scaling::{Carrier, ScalingSettings},
    },
};
use evenkeel_shared::{StrategyConfig, Tenant, Violation, limits::DURATION_MAX};
use serde::{Deserialize, Serialize};

use crate::actuators::ActuatorConfig;

use crate::store::{FINE_DEFAULT, HISTORY_DEFAULT, HISTORY_MIN, Retention};

/// Finished tasks are kept at least so long: clients rely on it for their idempotency keys (24 h).
pub const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600);

/// Most that a queue or a number of connections can be set to: more than a machine has room for, and less than what the
/// queues and semaphores behind the settings can count to.
const COUNT_MAX: u64 = 1 << 28;

const DAY_SECONDS: u64 = 24 * 3_600;

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Its value is out of range.
    #[error("setting `{}` {}", .0.field, .0.description)]
    Value(Violation),
    /// The address can be reached from other machines, and nothing protects it.
    #[error(
        "{setting} = {address} can be reached from other machines without TLS or authentication; \
         listen on 127.0.0.1, or set `insecure = true` where the network protects it"
    )]
    Exposed {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
    },
}

impl From<Violation> for ConfigError {
    fn from(violation: Violation) -> Self {
        Self::Value(violation)
    }
}

/// All settings of a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// Where gRPC is served. Port 0: any that is free.
    pub grpc: SocketAddr,
    /// Where HTTP is served. Port 0: any that is free.
    pub http: SocketAddr,
    /// Names under which HTTP is asked, beside addresses, `localhost` and names without a dot. Requests under other names
    /// are refused: a web page could have made them.
    pub http_names: Vec<String>,
    /// Where the data is kept; made if it is not there.
    pub data_dir: PathBuf,
    /// Keep the data for the life of the process only, in a temporary directory; `data_dir` is not used.
    pub ephemeral: bool,
    /// Serve other machines without TLS or authentication.
    pub insecure: bool,
    /// End the process when a thread panics. Without it an actor that panics leaves a process that answers UNAVAILABLE;
    /// tests want that.
    pub abort_on_panic: bool,
    /// How long a stop may take, in milliseconds, before what is left is cut off.
    pub shutdown_deadline_ms: u64,
    /// The engine.
    pub engine: EngineConfig,
    /// The store.
    pub store: StoreConfig,
    /// Bounds of the shell.
    pub limits: LimitsConfig,
    /// The resource manager.
    pub resources: ResourcesConfig,
    /// The size of the fleet.
    pub scaling: ScalingConfig,
}

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

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Finished tasks are kept for so many hours. At least 24.
    pub retention_hours: u64,
    /// Measurements are kept as they were taken for so many hours, and by the quarter of an hour after that. At least 1.
    pub fine_hours: u64,
    /// Measurements, costs, scaling decisions and what was declared before are kept for so many days. At least 32, so that
    /// what a budget has spent in a month is known to the end of the month.
    pub history_days: u64,
}

/// Settings of the resource manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourcesConfig {
    /// Whether there is one: without it the fleet is not measured over time, not scaled and not advised about; limits,
    /// quotas, breakers and budgets are the engine's and stay.
    pub enabled: bool,
}

/// Settings of scaling. Durations are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalingConfig {
    /// The template of the policy at first start; a policy that was put later is kept in the store and wins. Not set: the
    /// fleet is not scaled before a policy is put.
    pub template: Option<String>,
    /// At least so many agents; not set: as the template says.
    pub agents_min: Option<u32>,
    /// At most so many.
    pub agents_max: Option<u32>,
    /// A whole policy instead of a template.
    pub policy: Option<Policy>,
    /// What carries decisions out.
    pub actuator: ActuatorConfig,
    /// How long agents that go may take to finish what they run. Not set: 10 minutes.
    pub drain_timeout_ms: Option<u64>,
    /// How long new agents may take to join. Not set: 2 minutes.
    pub join_timeout_ms: Option<u64>,
    /// Nothing is decided for so long after the start, while agents come back. Not set: `engine.adoption_grace_ms`.
    pub quiet_ms: Option<u64>,
}

/// Bounds of the shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections to the gRPC port at a time: one for each agent of a large fleet, and clients. Each is an open file.
    pub connections_max: usize,
    /// How long a peer may take to say what it has to say first: a connection its greeting, an HTTP request its headers, a
    /// session its registration.
    pub greeting_timeout_ms: u64,
    /// How long a peer may leave what is sent to it unread, and what it has begun to send unfinished. A message has 8 MiB
    /// at most, so this asks for 140 kB/s.
    pub unread_timeout_ms: u64,
    /// Messages queued for one agent before it is cut off. An agent with 4,096 slots may be sent two for each at once.
    pub session_queue_max: usize,
    /// Recent events kept in memory for those who watch.
    pub recent_events_max: usize,
    /// Events queued for one watcher before it is cut off.
    pub watcher_queue_max: usize,
    /// Watchers at a time, of tasks and of the fleet each.
    pub watchers_max: usize,
    /// Finished ephemeral tasks kept in memory.
    pub ephemeral_kept_max: usize,
    /// Bytes of their outputs.
    pub ephemeral_kept_bytes_max: usize,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7480)),
            http_names: Vec::new(),
            data_dir: PathBuf::from("evenkeel-data"),
            ephemeral: false,
            insecure: false,
            abort_on_panic: true,
            shutdown_deadline_ms: 10_000,
            engine: EngineConfig::default(),
            store: StoreConfig::default(),
            limits: LimitsConfig::default(),
            resources: ResourcesConfig::default(),
            scaling: ScalingConfig::default(),
        }
    }
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

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            retention_hours: 7 * 24,
            fine_hours: FINE_DEFAULT.as_secs() / 3_600,
            history_days: HISTORY_DEFAULT.as_secs() / DAY_SECONDS,
        }
    }
}

impl Default for ResourcesConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            greeting_timeout_ms: 10_000,
            unread_timeout_ms: 60_000,
            session_queue_max: 16_384,
            recent_events_max: 65_536,
            watcher_queue_max: 8_192,
            watchers_max: 1_024,
            ephemeral_kept_max: 10_000,
            ephemeral_kept_bytes_max: 64 << 20,
        }
    }
}

impl CoordinatorConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first setting at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (setting, address) in [("grpc", self.grpc), ("http", self.http)] {
            if !address.ip().is_loopback() && !self.insecure {
                return Err(ConfigError::Exposed { setting, address });
            }
        }
        at_least("shutdown_deadline_ms", self.shutdown_deadline_ms, 100)?;
        let hours = self.store.retention_hours;
        at_least("store.retention_hours", hours, RETENTION_MIN.as_secs() / 3_600)?;
        at_most("store.retention_hours", hours, DURATION_MAX.as_secs() / 3_600)?;
        at_least("store.fine_hours", self.store.fine_hours, 1)?;
        at_most("store.fine_hours", self.store.fine_hours, DURATION_MAX.as_secs() / 3_600)?;
        at_least("store.history_days", self.store.history_days, HISTORY_MIN.as_secs() / DAY_SECONDS)?;
        at_most("store.history_days", self.store.history_days, DURATION_MAX.as_secs() / DAY_SECONDS)?;
        let limits = &self.limits;
        for (field, value) in [
            ("limits.connections_max", limits.connections_max),
            ("limits.session_queue_max", limits.session_queue_max),
            ("limits.recent_events_max", limits.recent_events_max),
            ("limits.watcher_queue_max", limits.watcher_queue_max),
            ("limits.watchers_max", limits.watchers_max),
        ] {
            at_least(field, value as u64, 1)?;
            at_most(field, value as u64, COUNT_MAX)?;
        }
        for (field, value) in [
            ("limits.greeting_timeout_ms", limits.greeting_timeout_ms),
            ("limits.unread_timeout_ms", limits.unread_timeout_ms),
        ] {
            at_least(field, value, 100)?;
            at_most(field, value, ms(DURATION_MAX))?;
        }
        self.scaling.validate()?;
        self.engine.validate()
    }

    /// The manager's own settings.
    #[must_use]
    pub fn manager_settings(&self) -> ManagerSettings {
        ManagerSettings { scaling: self.scaling.settings(Duration::from_millis(self.engine.adoption_grace_ms)) }
    }

    /// How long what is kept.
    #[must_use]
    pub const fn retention(&self) -> Retention {
        let StoreConfig { retention_hours, fine_hours, history_days } = self.store;
        Retention {
            tasks: Duration::from_secs(retention_hours.saturating_mul(3_600)),
            fine: Duration::from_secs(fine_hours.saturating_mul(3_600)),
            history: Duration::from_secs(history_days.saturating_mul(DAY_SECONDS)),
        }
    }
}

impl ScalingConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if let Some(name) = self.template.as_deref().filter(|name| Template::named(name).is_none()) {
            let names: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
            let what = format!("is `{name}`; there are {}", names.join(", "));
            return Err(Violation::new("scaling.template", what).into());
        }
        if self.template.is_some() && self.policy.is_some() {
            return Err(Violation::new("scaling.policy", "cannot be set together with `scaling.template`").into());
        }
        if let Some(policy) = self.policy()
            && let Some(advice) = validate(&policy).into_iter().find(|advice| advice.error)
        {
            return Err(Violation::new(format!("scaling.policy.{}", advice.field), advice.advice).into());
        }
        for (field, value) in [
            ("scaling.drain_timeout_ms", self.drain_timeout_ms),
            ("scaling.join_timeout_ms", self.join_timeout_ms),
            ("scaling.quiet_ms", self.quiet_ms),
        ] {
            at_most(field, value.unwrap_or_default(), ms(DURATION_MAX))?;
        }
        Ok(self.actuator.validate()?)
    }

    /// The policy at first start.
    fn policy(&self) -> Option<Policy> {
        let template = self.template.as_deref().and_then(Template::named).map(Template::policy);
        let policy = self.policy.clone().or(template)?;
        let agents_max = self.agents_max.unwrap_or(policy.agents_max);
        let agents_min = self.agents_min.unwrap_or_else(|| policy.agents_min.min(agents_max));
        Some(Policy { agents_min, agents_max, ..policy })
    }

    fn settings(&self, adoption_grace: Duration) -> ScalingSettings {
        let default = ScalingSettings::default();
        let duration = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        ScalingSettings {
            policy: self.policy(),
            actuator: self.actuator.name().to_owned(),
            carrier: match &self.actuator {
                ActuatorConfig::Advise => Carrier::Nobody,
                ActuatorConfig::Keda => Carrier::Choosing,
                told => Carrier::Told(told.removable_prefix().unwrap_or_default().to_owned()),
            },
            change: ChangeSettings {
                drain: duration(self.drain_timeout_ms, default.change.drain),
                join: duration(self.join_timeout_ms, default.change.join),
            },
            quiet: duration(self.quiet_ms, adoption_grace),
        }
    }
}

impl EngineConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        self.strategy.validate().map_err(|violation| violation.within("engine.strategy"))?;
        at_least("engine.tasks_max", self.tasks_max as u64, 1)?;
        at_least("engine.payload_bytes_max", self.payload_bytes_max, 1)?;
        at_least("engine.quarantine_after", self.quarantine_after.into(), 1)?;
        for (field, value, min) in [
            ("engine.ageing_interval_ms", self.ageing_interval_ms, 0),
            ("engine.hold_after_ms", self.hold_after_ms, 1),
            ("engine.attempt_timeout_ms", self.attempt_timeout_ms, 1),
            ("engine.reconnect_grace_ms", self.reconnect_grace_ms, 0),
            ("engine.adoption_grace_ms", self.adoption_grace_ms, 0),
            ("engine.prefetch_below_ms", self.prefetch_below_ms, 0),
            ("engine.drain_deadline_ms", self.drain_deadline_ms, 1),
            ("engine.lost_agent_memory_ms", self.lost_agent_memory_ms, 0),
        ] {
            at_least(field, value, min)?;
            at_most(field, value, ms(DURATION_MAX))?;
        }
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

fn at_least(field: &str, value: u64, min: u64) -> Result<(), Violation> {
    if value < min { Err(Violation::new(field, format!("is {value}; at least {min} is needed"))) } else { Ok(()) }
}

fn at_most(field: &str, value: u64, max: u64) -> Result<(), Violation> {
    if value > max { Err(Violation::new(field, format!("is {value}; at most {max} is allowed"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<CoordinatorConfig, String> {
        let config: CoordinatorConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn nothing_said_is_the_default_and_reads_back() {
        let config = check("").unwrap();
        assert_eq!(config, CoordinatorConfig::default());
        assert_eq!(check(&toml::to_string(&config).unwrap()).unwrap(), config);
        let (settings, default) = (config.engine.settings(), Settings::default());
        assert_eq!(settings.adoption_grace, default.adoption_grace);
        assert_eq!(settings.ageing_interval, default.ageing_interval);
    }

    #[test]
    fn settings_reach_the_engine() {
        let config = check(
            "[engine]\nageing_interval_ms = 0\nquarantine_after = 7\nstrategy = { name = \"weighted\", cpu = 0.5 }\n\
             [engine.tenant_weights]\nacme = 3",
        );
        let settings = config.unwrap().engine.settings();
        assert_eq!(settings.ageing_interval, None);
        assert_eq!(settings.quarantine_after, 7);
        assert_eq!(settings.strategy.name(), "weighted");
        assert_eq!(settings.tenant_weights.get("acme"), Some(&3));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, named) in [
            ("grcp = \"127.0.0.1:1\"", "grcp"),
            ("grpc = \"0.0.0.0:7400\"", "grpc = 0.0.0.0:7400"),
            ("http = \"[::]:7480\"", "http = [::]:7480"),
            ("[store]\nretention_hours = 23", "store.retention_hours"),
            ("[store]\nfine_hours = 0", "store.fine_hours"),
            ("[store]\nhistory_days = 31", "store.history_days"),
            ("[limits]\nwatchers_max = 0", "limits.watchers_max"),
            ("[limits]\nconnections_max = 0", "limits.connections_max"),
            ("[limits]\nconnections_max = 9223372036854775807", "limits.connections_max"),
            ("[limits]\nsession_queue_max = 9223372036854775807", "limits.session_queue_max"),
            ("[limits]\nunread_timeout_ms = 9", "limits.unread_timeout_ms"),
            ("[engine]\nquarantine_after = 0", "engine.quarantine_after"),
            ("[engine]\nattempt_timeout_ms = 99999999999999", "engine.attempt_timeout_ms"),
            ("[engine.lease]\nmissed_max = 0", "engine.lease.missed_max"),
            ("[engine.tenant_weights]\nacme = 0", "engine.tenant_weights.acme"),
            ("[engine]\nstrategy = { name = \"fastest\" }", "fastest"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(named), "`{error}` does not name `{named}`");
        }
        assert!(check("grpc = \"0.0.0.0:7400\"\ninsecure = true").is_ok());
    }
}
