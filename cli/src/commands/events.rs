//! `evenkeel events`: what happened in the fleet, and what happens.

use clap::Args;
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::event::ClusterEventView,
    quantity,
};

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Keep printing events as they happen
    #[arg(long, short)]
    follow: bool,
    /// Only of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only after this position, which `-o json` shows with each event
    #[arg(long, value_name = "POSITION", value_parser = quantity::position)]
    after: Option<u64>,
    /// Only of this type, such as agent_lost or failover (may be repeated)
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    types: Vec<v1::ClusterEventType>,
}

/// Reads the name of a type as the output has it.
fn event_type(name: &str) -> Result<v1::ClusterEventType, String> {
    let full = format!("CLUSTER_EVENT_TYPE_{}", name.to_uppercase());
    v1::ClusterEventType::from_str_name(&full).filter(|&known| known != v1::ClusterEventType::Unspecified).ok_or_else(
        || {
            "there are: agent_joined, agent_lost, agent_left, agent_returned, agent_health, agent_admin, agent_ejected, \
             failover, quarantine, strategy, panic_mode, coordinator, limit, breaker, quota, budget, scaling, bottleneck, \
             config, security, component, size"
                .to_owned()
        },
    )
}

/// Prints events until there are no more, or for as long as the coordinator lives.
///
/// # Errors
/// If the coordinator does not answer, or its stream breaks.
pub async fn run(args: EventsArgs, global: &Global) -> Outcome {
    let failed = |status| CliError::status("read events", &status);
    let mut clients = global.address()?.connect().await?;
    let request = v1::EventsRequest {
        after_position: args.after,
        follow: args.follow,
        agent_id: args.agent.unwrap_or_default(),
        types: args.types.into_iter().map(Into::into).collect(),
    };
    let mut events = clients.cluster.events(request).await.map_err(failed)?.into_inner();
    let output = global.output();
    while let Some(event) = events.message().await.map_err(failed)? {
        output.event(&ClusterEventView::from(event))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_they_are_printed() {
        assert_eq!(event_type("agent_lost"), Ok(v1::ClusterEventType::AgentLost));
        for kind in evenkeel_core::model::ClusterEventKind::ALL {
            let known = event_type(kind.name()).is_ok() && event_type("").unwrap_err().contains(kind.name());
            assert!(known, "{} is not named", kind.name());
        }
        for bad in ["unspecified", "lost", ""] {
            assert!(event_type(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
