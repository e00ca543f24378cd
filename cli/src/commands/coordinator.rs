//! `evenkeel coordinator`: a coordinator for a fleet.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_coordinator::{CoordinatorConfig, actuators::ActuatorConfig, end_process_on_panic};

use super::service::{self, ServiceArgs};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    quantity, settings, signals,
};

/// Arguments of `coordinator`. What is given here goes before the environment, and that before the file.
#[derive(Debug, Args)]
pub struct CoordinatorArgs {
    /// Settings, in TOML
    #[arg(long, value_name = "FILE", env = "EVENKEEL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    /// Scale the fleet by this template; a policy that was put later is kept with the data and wins
    #[arg(long, value_name = "TEMPLATE", env = "EVENKEEL_SCALING_POLICY")]
    scaling_policy: Option<String>,
    /// At least and at most so many agents, whatever the template says
    #[arg(long, value_name = "MIN..MAX", value_parser = quantity::range, env = "EVENKEEL_SCALING_AGENTS")]
    scaling_agents: Option<(u32, u32)>,
    /// What carries decisions about the fleet's size out; those that have settings are set in the file
    #[arg(long, value_name = "NAME", value_parser = ActuatorConfig::SIMPLE, env = "EVENKEEL_ACTUATOR")]
    actuator: Option<String>,
    /// Listen on other addresses than this machine's own, without TLS or authentication
    #[arg(long, env = "EVENKEEL_INSECURE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure: bool,
}

impl CoordinatorArgs {
    fn scale(&self, config: &mut CoordinatorConfig) {
        let scaling = &mut config.scaling;
        if let Some(template) = &self.scaling_policy {
            (scaling.template, scaling.policy) = (Some(template.clone()), None);
        }
        if let Some((min, max)) = self.scaling_agents {
            (scaling.agents_min, scaling.agents_max) = (Some(min), Some(max));
        }
        if let Some(actuator) = self.actuator.as_deref().and_then(ActuatorConfig::named) {
            scaling.actuator = actuator;
        }
    }
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
    args.scale(&mut config);
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
/// an actuator starts inherit this; it costs them nothing that they would notice.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "the system does not let a process refuse huge pages");
    }
}
