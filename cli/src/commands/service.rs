//! What `dev` and `coordinator` share: flags over the file's settings, the start, and the word that it is ready.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use evenkeel_coordinator::{
    ConfigError, Coordinator, CoordinatorConfig, RunningCoordinator, StartError, store::StoreError,
};
use evenkeel_shared::{StrategyConfig, otlp::endpoint_from_environment};
use serde::Serialize;

use crate::{
    args::Global,
    exit::{CliError, Exit},
    output::{Show, table::Style},
};

/// Where a coordinator listens and keeps its data.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Where gRPC listens; port 0 is any free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", env = "EVENKEEL_GRPC")]
    grpc: Option<SocketAddr>,
    /// Where HTTP listens, for health, metrics and read-only JSON [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR", env = "EVENKEEL_HTTP")]
    http: Option<SocketAddr>,
    /// Where the data is kept
    #[arg(long, value_name = "DIR", env = "EVENKEEL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Keep no data: all tasks are gone when it ends
    #[arg(long)]
    ephemeral: bool,
    /// The strategy at first start; one that was set later is kept with the data and wins
    #[arg(long, value_name = "NAME", value_parser = StrategyConfig::NAMES, env = "EVENKEEL_STRATEGY")]
    strategy: Option<String>,
    /// Write addresses and process id to this file, as JSON, once it is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl ServiceArgs {
    /// Puts what is given here over the settings.
    ///
    /// # Errors
    /// If a value is wrong.
    pub fn apply(&self, config: &mut CoordinatorConfig) -> Result<(), CliError> {
        config.grpc = self.grpc.unwrap_or(config.grpc);
        config.http = self.http.unwrap_or(config.http);
        config.ephemeral |= self.ephemeral;
        if let Some(directory) = &self.data_dir {
            config.data_dir.clone_from(directory);
        }
        // Whole, because it is shown to people who may be in another directory.
        config.data_dir = std::path::absolute(&config.data_dir).map_err(|error| {
            CliError::usage(format!("`{}` is not a directory for data", config.data_dir.display())).because(error)
        })?;
        if let Some(name) = &self.strategy {
            config.engine.strategy =
                StrategyConfig::named(name).map_err(|violation| CliError::usage(violation.to_string()))?;
        }
        Ok(())
    }

    /// Says on stdout, and in the file asked for, that the service is ready.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn announce(&self, coordinator: &RunningCoordinator, global: &Global) -> Result<(), CliError> {
        let ready = Ready {
            grpc: coordinator.grpc_addr().to_string(),
            http: coordinator.http_addr().to_string(),
            pid: std::process::id(),
        };
        if let Some(path) = &self.ready_file {
            write_whole(path, &serde_json::json!(ready).to_string()).map_err(|error| {
                CliError::new(Exit::Error, format!("could not write `{}`", path.display())).because(error)
            })?;
        }
        Ok(global.output().one(&ready)?)
    }
}

/// Written beside and renamed, so that who waits for the file never reads half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

/// Where a ready service is.
#[derive(Debug, Serialize)]
struct Ready {
    grpc: String,
    http: String,
    pid: u32,
}

impl Show for Ready {
    fn show(&self, _style: &Style) -> String {
        format!("ready grpc={} http={} pid={}", self.grpc, self.http, self.pid)
    }
}

/// Starts a coordinator.
///
/// # Errors
/// Why it cannot start, with the flag that helps.
pub async fn start(mut config: CoordinatorConfig) -> Result<RunningCoordinator, CliError> {
    config.telemetry.otlp_endpoint = config.telemetry.otlp_endpoint.or_else(endpoint_from_environment);
    Coordinator::start(config).await.map_err(|error| {
        let exit = if matches!(error, StartError::Config(_)) { Exit::Usage } else { Exit::Error };
        let hint = hint(&error);
        let failed = CliError::new(exit, "the coordinator could not start").because(error);
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    })
}

fn hint(error: &StartError) -> Option<String> {
    match error {
        StartError::Bind { setting, .. } => {
            Some(format!("give another address with --{setting}; port 0 is any free one"))
        }
        StartError::Store(StoreError::InUse { .. }) => {
            Some("give another directory with --data-dir, or --ephemeral".to_owned())
        }
        StartError::Config(ConfigError::Exposed { .. }) => Some("--insecure allows it for this start".to_owned()),
        _ => None,
    }
}

/// Stops a coordinator in order, within the time its settings allow.
///
/// # Errors
/// If something had to be cut off; what was answered is on disk nevertheless.
pub async fn stop(coordinator: RunningCoordinator, deadline: Duration) -> Result<(), CliError> {
    let stopped = coordinator.shutdown(deadline).await;
    stopped.map_err(|error| CliError::new(Exit::Error, "the coordinator did not stop in order").because(error))
}
