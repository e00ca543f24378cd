//! What `dev` and `coordinator` share: flags over the file's settings, the start, and the word that it is ready.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use evenkeel_coordinator::{
    ConfigError, Coordinator, RunningCoordinator, StartError,
    config::{Flag, Loaded},
    store::StoreError,
};
use evenkeel_shared::StrategyConfig;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::{CliError, Exit},
    output::{Show, table::Style},
    quantity,
};

/// Where a coordinator listens and keeps its data. Not read from the environment here: the [sources] do that for every setting,
/// and know which variable a value came from.
///
/// [sources]: evenkeel_coordinator::config::Sources
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Where gRPC listens; port 0 is any free one [env: EVENKEEL_GRPC] [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", value_parser = quantity::address)]
    grpc: Option<SocketAddr>,
    /// Where HTTP listens, for health, metrics and JSON [env: EVENKEEL_HTTP] [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR", value_parser = quantity::address)]
    http: Option<SocketAddr>,
    /// Where the data is kept [env: EVENKEEL_DATA_DIR] [default: evenkeel-data; with `dev` .evenkeel/dev]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep no data: all tasks are gone when it ends
    #[arg(long)]
    ephemeral: bool,
    /// The strategy at the first start; one that was set later is kept with the data and wins [env: EVENKEEL_STRATEGY]
    /// [default: least_loaded]
    #[arg(long, value_name = "NAME", value_parser = StrategyConfig::NAMES)]
    strategy: Option<String>,
    /// Write addresses and process id to this file, as JSON, once it is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl ServiceArgs {
    /// What is given here, as the highest layer of the settings.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let text = |name, path, value: Option<String>| value.map(|value| Flag::new(name, path, value));
        let strategy =
            self.strategy.as_ref().map(|name| Flag::new("--strategy", "engine.strategy", json!({ "name": name })));
        let flags = [
            text("--grpc", "grpc", self.grpc.map(|address| address.to_string())),
            text("--http", "http", self.http.map(|address| address.to_string())),
            text("--data-dir", "data_dir", self.data_dir.as_ref().map(|path| path.display().to_string())),
            self.ephemeral.then(|| Flag::new("--ephemeral", "ephemeral", true)),
            strategy,
        ];
        flags.into_iter().flatten().collect()
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
            write_whole(path, &json!(ready).to_string()).map_err(|error| {
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

/// Starts a coordinator, unless the process is told to stop before it takes work: then there is none.
///
/// # Errors
/// Why it cannot start, with the flag that helps.
pub async fn start(loaded: Loaded, told_to_stop: &CancellationToken) -> Result<Option<RunningCoordinator>, CliError> {
    let error = match Coordinator::start_unless(loaded, told_to_stop).await {
        Ok(coordinator) => return Ok(Some(coordinator)),
        Err(error @ StartError::Stopped { .. }) => {
            tracing::info!("the coordinator was {error}");
            return Ok(None);
        }
        Err(error) => error,
    };
    let exit = if matches!(error, StartError::Config(_)) { Exit::Usage } else { Exit::Error };
    let hint = hint(&error);
    let failed = CliError::new(exit, "the coordinator could not start").because(error);
    Err(match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
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
    let report = coordinator.stop(deadline).await;
    tracing::info!("the coordinator {report}");
    if report.is_clean() {
        return Ok(());
    }
    Err(CliError::new(Exit::Error, "the coordinator did not stop in order").because(report))
}
