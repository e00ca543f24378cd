//! `evenkeel dev --autoscale`: a fleet of processes on this machine that grows and shrinks while one watches.
//!
//! The policy is that of a person who tries it: it follows within seconds, where one for work follows within minutes, and
//! it looks at slots alone, since all agents share the processor and the memory of one machine. The rest is what every
//! coordinator does.

use std::time::{Duration, SystemTime};

use evenkeel_agent::sampler::HostSampler;
use evenkeel_coordinator::{
    actuators::{ActuatorConfig, LocalConfig},
    config::ScalingConfig,
};
use evenkeel_core::capacity::{MetricWeight, Policy, Rules, ScalingMetric};
use evenkeel_proto::v1;

use super::AGENTS_MAX;
use crate::{
    client::Address,
    exit::{CliError, Exit},
    quantity,
};

/// Agents that start, or go, within a few seconds are seen to do so.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Agents that go let their tasks finish for so long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the first decision.
const QUIET: Duration = Duration::from_millis(500);

/// Reads the bounds.
///
/// # Errors
/// What is wrong with them, for clap to show.
pub fn bounds(text: &str) -> Result<(u32, u32), String> {
    let (min, max) = quantity::range(text)?;
    match max {
        0 => Err("at least one agent must be allowed".to_owned()),
        _ if max > AGENTS_MAX => Err(format!("{AGENTS_MAX} agents on one machine are the most")),
        _ => Ok((min, max)),
    }
}

/// The settings of scaling between these bounds; agents are given these options before all others.
///
/// # Errors
/// If this program does not know where it is.
pub fn config(
    (agents_min, agents_max): (u32, u32),
    slots: u32,
    drain: Duration,
    options: Vec<String>,
) -> Result<ScalingConfig, CliError> {
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Error, "this program does not know where it is").because(error))?;
    // They share one machine; declared by each it would be promised several times over.
    let (limits, share) = (HostSampler::limits(), u64::from(agents_max));
    let words = [
        "--coordinator".into(),
        "{coordinator}".into(),
        "agent".into(),
        "--until-stdin-ends".into(),
        "--id".into(),
        "{agent}".into(),
        "--slots".into(),
        slots.to_string(),
        "--cpu".into(),
        format!("{}m", limits.cpu_millis / share),
        "--memory".into(),
        (limits.memory_bytes / share).to_string(),
        "--drain-timeout".into(),
        format!("{}s", drain.as_secs()),
        "--allow".into(),
        "*".into(),
    ];
    let command = [program.display().to_string()].into_iter().chain(options).chain(words).collect();
    let local = LocalConfig { command, stop_timeout_ms: quantity::millis(drain * 2), ..LocalConfig::default() };
    Ok(ScalingConfig {
        policy: Some(policy(agents_min, agents_max)),
        actuator: ActuatorConfig::Local(local),
        drain_timeout_ms: Some(quantity::millis(LEAVE_TIMEOUT)),
        join_timeout_ms: Some(quantity::millis(JOIN_TIMEOUT)),
        quiet_ms: Some(quantity::millis(QUIET)),
        ..ScalingConfig::default()
    })
}

/// Follows within seconds.
fn policy(agents_min: u32, agents_max: u32) -> Policy {
    Policy {
        name: "dev-autoscale".to_owned(),
        template: String::new(),
        version: 0,
        agents_min,
        agents_max,
        utilisation_target_percent: 75,
        metrics: vec![MetricWeight { metric: ScalingMetric::Utilisation, weight: 1.0, normaliser: None }],
        scale_up_percent: 85,
        scale_down_percent: 60,
        up: Rules { stabilisation_ms: 2_000, period_ms: 2_000, cooldown_ms: 2_000, ..Rules::default() },
        // A pause shorter than this is none.
        down: Rules { stabilisation_ms: 15_000, period_ms: 5_000, cooldown_ms: 10_000, ..Rules::default() },
        tolerance_percent: 10,
        predictive: false,
        wait_target_ms: 5_000,
        start_up_ms: 1_000,
    }
}

/// Prints each change of the fleet's size, for as long as the coordinator tells.
pub async fn tell(coordinator: Address, since: SystemTime) {
    let told = async {
        let mut clients = coordinator.connect().await?;
        let types = vec![v1::ClusterEventType::Scaling.into()];
        let request = v1::EventsRequest { follow: true, types, ..v1::EventsRequest::default() };
        let failed = |status| CliError::status("follow the size of the fleet", &status);
        let mut events = clients.cluster.events(request).await.map_err(failed)?.into_inner();
        while let Some(event) = events.message().await.map_err(failed)? {
            // The history may hold those of earlier runs.
            if event.at_unix_ms >= quantity::unix_ms(since) {
                eprintln!("evenkeel: {}", event.message);
            }
        }
        Ok::<_, CliError>(())
    };
    if let Err(error) = told.await {
        tracing::debug!("changes of the fleet's size are not shown any more: {error}");
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::capacity::validate;

    use super::*;

    #[test]
    fn bounds_are_a_range_of_agents() {
        assert_eq!(bounds("1..8"), Ok((1, 8)));
        assert_eq!(bounds("0..1"), Ok((0, 1)));
        for (text, named) in [("8", "1..8"), ("3..2", "greater"), ("0..0", "at least one"), ("1..100000", "the most")] {
            let error = bounds(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_policy_is_sound_within_any_bounds() {
        for (min, max) in [(0, 1), (1, 8), (4, 4)] {
            let errors: Vec<_> = validate(&policy(min, max)).into_iter().filter(|advice| advice.error).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}
