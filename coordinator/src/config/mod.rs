//! What can be set of a coordinator: types with their defaults, one a section, and a table that says of each setting what it
//! may be, what it is for and when a change of it counts.
//!
//! | file | what |
//! |---|---|
//! | `engine`, `limits`, `store` and so on | the sections, as the rest of the program reads them |
//! | `setting`, `table` | what is known of each setting: the one table |
//! | `origin`, `layer` | values with where they come from, and what is put over what |
//! | `file`, `sources` | reading: default < file < environment < flags |
//! | `problem` | what is wrong, all of it at once |
//! | `document` | what is made of the table: a commented file, a JSON Schema, the reference |
//! | `live` | the configuration of a running coordinator: changes, versions, rolling back |
//!
//! Crates that merge layers (`config`, `figment`) were looked at: the one forgets where a value came from, the other knows the
//! file but not the line, and neither reports more than the first mistake.

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
pub mod document;
mod engine;
mod file;
mod health;
mod layer;
mod limits;
pub mod live;
mod log;
mod origin;
mod problem;
mod reload;
mod scaling;
pub mod setting;
mod sources;
mod store;
pub mod table;
mod telemetry;
mod tls;

pub use audit::AuditConfig;
pub use auth::{AuthConfig, JwtConfig};
pub use engine::EngineConfig;
pub use health::HealthConfig;
pub use layer::{Change, Layer, holds_secret, shown};
pub use limits::LimitsConfig;
pub use log::{FILTER_BYTES_MAX, LogConfig, LogFormat};
pub use origin::{Origin, Source};
pub use problem::{Problem, Problems};
pub use reload::ReloadConfig;
pub use scaling::{ResourcesConfig, ScalingConfig};
pub use sources::{Flag, Loaded, Sources, hash, read_file, variables};
pub use store::{RETENTION_MIN, StoreConfig};
pub use telemetry::TelemetryConfig;
pub use tls::{ClientCertificates, TlsConfig};

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Its value is out of range.
    #[error("setting `{}` {}", .0.field, .0.description)]
    Value(Violation),
    /// The address can be reached from other machines, and is not protected.
    #[error(
        "{setting} = {address} can be reached from other machines, and that takes TLS and authentication; \
         set `tls.cert_file` and `auth.enabled`, or listen on 127.0.0.1, or set `insecure = true` (--insecure) where the network protects it"
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
    /// Serve other machines without TLS, or without authentication.
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
        match self.out_of_range().into_iter().next() {
            Some(violation) => Err(violation.into()),
            None => self.checks().into_iter().find_map(Result::err).map_or(Ok(()), Err),
        }
    }

    /// All that [`Self::validate`] can find at once: each setting that is out of its range, and of each section the first
    /// settings that do not go together.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .out_of_range()
            .into_iter()
            .map(|violation| Problem::new(violation.field, violation.description, None))
            .collect();
        for error in self.checks().into_iter().filter_map(Result::err) {
            let (path, message) = match error {
                ConfigError::Value(Violation { field, description }) => (field, description),
                error @ ConfigError::Exposed { .. } => (String::new(), error.to_string()),
            };
            if path.is_empty() || problems.iter().all(|known| known.path != path) {
                problems.push(Problem::new(path, message, None));
            }
        }
        problems
    }

    /// Settings whose values are not what the table says they may be.
    fn out_of_range(&self) -> Vec<Violation> {
        let layer = Layer::of(self, "");
        let wrong = |setting: &setting::Setting| {
            let what = setting.kind.check(layer.value(setting.path)).err()?;
            Some(Violation::new(setting.path, what))
        };
        table::settings().filter_map(wrong).collect()
    }

    /// What each section says of its settings together.
    fn checks(&self) -> [Result<(), ConfigError>; 10] {
        [
            self.check_addresses(),
            self.tls.validate(),
            self.auth.validate(),
            self.audit.validate(),
            self.telemetry.validate(),
            self.log.validate(),
            self.health.validate(),
            self.reload.validate(),
            self.scaling.validate(),
            self.engine.validate(),
        ]
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        for (setting, address, is_encrypted) in
            [("grpc", self.grpc, self.tls.is_on()), ("http", self.http, self.tls.is_on_for_http())]
        {
            let is_safe = address.ip().is_loopback() || is_encrypted && self.auth.is_on();
            if !is_safe && !self.insecure {
                return Err(ConfigError::Exposed { setting, address });
            }
        }
        Ok(())
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
