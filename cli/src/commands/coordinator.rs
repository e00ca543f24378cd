//! `evenkeel coordinator`: a coordinator for a fleet.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_coordinator::{
    actuators::ActuatorConfig,
    config::{Flag, Sources},
    end_process_on_panic,
};
use tokio_util::task::AbortOnDropHandle;

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
    /// Scale the fleet by this template (`evenkeel scaling policy templates` lists them); a policy that was put later is kept with
    /// the data and wins [env: EVENKEEL_SCALING_POLICY] [default: none]
    #[arg(long, value_name = "TEMPLATE")]
    scaling_policy: Option<String>,
    /// Agents at least and at most, in place of the template's
    #[arg(long, value_name = "MIN..MAX", value_parser = quantity::range, env = "EVENKEEL_SCALING_AGENTS")]
    scaling_agents: Option<(u32, u32)>,
    /// What carries out decisions about the fleet's size; actuators with settings are set in the file
    /// [env: EVENKEEL_ACTUATOR] [default: advise]
    #[arg(long, value_name = "NAME", value_parser = ActuatorConfig::SIMPLE)]
    actuator: Option<String>,
    /// Listen on other addresses than this machine's own, without TLS or authentication [env: EVENKEEL_INSECURE]
    #[arg(long)]
    insecure: bool,
}

impl CoordinatorArgs {
    fn flags(&self) -> Vec<Flag> {
        let mut flags = self.service.flags();
        if let Some(template) = &self.scaling_policy {
            flags.push(Flag::new("--scaling-policy", "scaling.template", template.clone()));
            flags.push(Flag::new("--scaling-policy", "scaling.policy", serde_json::Value::Null));
        }
        if let Some((min, max)) = self.scaling_agents {
            flags.push(Flag::new("--scaling-agents", "scaling.agents_min", min));
            flags.push(Flag::new("--scaling-agents", "scaling.agents_max", max));
        }
        if let Some(name) = &self.actuator {
            flags.push(Flag::new("--actuator", "scaling.actuator", serde_json::json!({ "name": name })));
        }
        if self.insecure {
            flags.push(Flag::new("--insecure", "insecure", true));
        }
        flags
    }
}

/// Serves until told to stop.
///
/// # Errors
/// If a setting is wrong, an address is taken, the data cannot be used, or the coordinator stops by itself.
pub async fn run(args: CoordinatorArgs, global: &Global) -> Outcome {
    without_huge_pages();
    end_process_on_panic();
    let loaded = settings::coordinator(args.config.clone(), args.flags(), Sources::default())?;
    let shutdown = signals::shutdown()?;
    let Some(coordinator) = service::start(loaded, &shutdown).await? else { return Ok(Exit::Ok) };
    let _hang_ups = AbortOnDropHandle::new(signals::reload_on_hang_up(coordinator.config().clone())?);
    args.service.announce(&coordinator, global)?;
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = coordinator.stopped() => return Err(CliError::new(Exit::Error, "the coordinator stopped by itself")),
    }
    let deadline = Duration::from_millis(coordinator.config().now().shutdown_deadline_ms);
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
