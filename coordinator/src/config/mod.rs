//! What can be set of a coordinator, each setting with its unit and default. Unknown settings are refused.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use evenkeel_core::manager::ManagerSettings;
use evenkeel_shared::Violation;
use serde::{Deserialize, Serialize};

mod audit;
mod auth;
mod engine;
mod health;
mod limits;
mod log;
mod reload;
mod scaling;
mod store;
mod telemetry;
mod tls;

pub use audit::AuditConfig;
pub use auth::AuthConfig;
pub use engine::EngineConfig;
pub use health::HealthConfig;
pub use limits::LimitsConfig;
pub use log::LogConfig;
pub use reload::ReloadConfig;
pub use scaling::{ResourcesConfig, ScalingConfig};
pub use store::{RETENTION_MIN, StoreConfig};
pub use telemetry::TelemetryConfig;
pub use tls::TlsConfig;

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
    /// Encryption of the ports.
    pub tls: TlsConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Who changed what.
    pub audit: AuditConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// The log.
    pub log: LogConfig,
    /// The coordinator's own health.
    pub health: HealthConfig,
    /// Changes of these settings while it runs.
    pub reload: ReloadConfig,
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
            tls: TlsConfig::default(),
            auth: AuthConfig::default(),
            audit: AuditConfig::default(),
            telemetry: TelemetryConfig::default(),
            log: LogConfig::default(),
            health: HealthConfig::default(),
            reload: ReloadConfig::default(),
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
        self.store.validate()?;
        self.limits.validate()?;
        self.tls.validate()?;
        self.auth.validate()?;
        self.audit.validate()?;
        self.telemetry.validate()?;
        self.log.validate()?;
        self.health.validate()?;
        self.reload.validate()?;
        self.scaling.validate()?;
        self.engine.validate()
    }

    /// The manager's own settings.
    #[must_use]
    pub fn manager_settings(&self) -> ManagerSettings {
        ManagerSettings { scaling: self.scaling.settings(Duration::from_millis(self.engine.adoption_grace_ms)) }
    }
}

fn at_least(field: &str, value: u64, min: u64) -> Result<(), Violation> {
    if value < min { Err(Violation::new(field, format!("is {value}; at least {min} is needed"))) } else { Ok(()) }
}

fn at_most(field: &str, value: u64, max: u64) -> Result<(), Violation> {
    if value > max { Err(Violation::new(field, format!("is {value}; at most {max} is allowed"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
