//! `evenkeel coordinator`: a coordinator for a fleet.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_coordinator::{CoordinatorConfig, end_process_on_panic};

use super::service::{self, ServiceArgs};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    settings, signals,
};

/// Arguments of `coordinator`. What is given here goes before the environment, and that before the file.
#[derive(Debug, Args)]
pub struct CoordinatorArgs {
    /// Settings, in TOML
    #[arg(long, value_name = "FILE", env = "EVENKEEL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    /// Listen on other addresses than this machine's own, without TLS or authentication
    #[arg(long, env = "EVENKEEL_INSECURE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure: bool,
}

/// Serves until told to stop.
///
/// # Errors
/// If a setting is wrong, an address is taken, the data cannot be used, or the coordinator stops by itself.
pub async fn run(args: CoordinatorArgs, global: &Global) -> Outcome {
    without_huge_pages();
    end_process_on_panic();
    let mut config: CoordinatorConfig = settings::load(args.config.as_deref())?;
    args.service.apply(&mut config)?;
    config.insecure |= args.insecure;
    let deadline = Duration::from_millis(config.shutdown_deadline_ms);
    let shutdown = signals::shutdown()?;
    let coordinator = service::start(config).await?;
    args.service.announce(&coordinator, global)?;
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = coordinator.stopped() => return Err(CliError::new(Exit::Error, "the coordinator stopped by itself")),
    }
    service::stop(coordinator, deadline).await?;
    Ok(Exit::Ok)
}

/// Some systems give huge pages to who has not asked for them; see the allocator in `main` for what they cost. Programs that
/// are started from here on would inherit this, and a coordinator starts none.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "the system does not let a process refuse huge pages");
    }
}
