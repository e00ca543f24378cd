//! `evenkeel agents`: look at agents, take them out of service and back.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use evenkeel_proto::v1;
use evenkeel_shared::{LabelRule, wire};

use super::pages::{self, PAGE_SIZE};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome, answer},
    output::agent::AgentView,
    quantity, selector,
};

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// List agents
    List {
        /// Only of this health (may be repeated)
        #[arg(long, value_enum)]
        health: Vec<Health>,
        /// Only those that take this kind of task
        #[arg(long)]
        kind: Option<String>,
        /// Only those whose labels match, for example 'zone in (eu,us)' (may be repeated)
        #[arg(long, value_name = "RULE", value_parser = selector::parse)]
        label: Vec<LabelRule>,
    },
    /// Show one agent in full
    Describe {
        /// The agent
        id: String,
    },
    /// Give an agent nothing new; what it runs goes on
    Cordon {
        /// The agent
        id: String,
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Give an agent nothing new, and move what it still runs at the deadline elsewhere
    Drain {
        /// The agent
        id: String,
        /// Time for what runs to finish [default: the coordinator's, 5m]
        #[arg(long, value_parser = quantity::duration)]
        deadline: Option<Duration>,
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Undo cordon or drain
    Resume {
        /// The agent
        id: String,
    },
}

/// Health, as a filter.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Health {
    Healthy,
    Degraded,
    Unhealthy,
    Lost,
}

impl From<Health> for v1::Health {
    fn from(health: Health) -> Self {
        match health {
            Health::Healthy => Self::Healthy,
            Health::Degraded => Self::Degraded,
            Health::Unhealthy => Self::Unhealthy,
            Health::Lost => Self::Lost,
        }
    }
}

/// Carries it out.
///
/// # Errors
/// If there is no such agent, or the coordinator does not answer.
pub async fn run(command: AgentsCommand, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let cluster = &mut clients.cluster;
    let (doing, answer) = match command {
        AgentsCommand::List { health, kind, label } => return list(&mut clients, health, kind, &label, global).await,
        AgentsCommand::Describe { id } => {
            ("describe", cluster.describe_agent(v1::DescribeAgentRequest { agent_id: id }).await)
        }
        AgentsCommand::Cordon { id, reason } => {
            ("cordon", cluster.cordon_agent(v1::CordonAgentRequest { agent_id: id, reason }).await)
        }
        AgentsCommand::Drain { id, deadline, reason } => {
            let deadline_ms = deadline.map_or(0, |deadline| quantity::millis(deadline).max(1));
            ("drain", cluster.drain_agent(v1::DrainAgentRequest { agent_id: id, deadline_ms, reason }).await)
        }
        AgentsCommand::Resume { id } => ("resume", cluster.resume_agent(v1::ResumeAgentRequest { agent_id: id }).await),
    };
    let agent = answer.map_err(|status| {
        let error = CliError::status(&format!("{doing} the agent"), &status);
        if error.exit == Exit::NotFound { error.hint("see `evenkeel agents list`") } else { error }
    })?;
    global.output().one(&AgentView::from(agent.into_inner()))?;
    Ok(Exit::Ok)
}

async fn list(
    clients: &mut crate::client::Clients,
    health: Vec<Health>,
    kind: Option<String>,
    labels: &[LabelRule],
    global: &Global,
) -> Outcome {
    let request = v1::ListAgentsRequest {
        health: health.into_iter().map(|health| v1::Health::from(health).into()).collect(),
        kind: kind.unwrap_or_default(),
        labels: labels.iter().map(wire::labels::to_label_rule).collect(),
        page_size: PAGE_SIZE,
        ..v1::ListAgentsRequest::default()
    };
    let read = async |page_token| {
        let request = v1::ListAgentsRequest { page_token, ..request.clone() };
        let page = answer("list agents", clients.cluster.list_agents(request).await)?;
        Ok((page.agents, page.next_page_token))
    };
    let agents: Vec<_> = pages::all(read).await?.into_iter().map(AgentView::from).collect();
    global.output().list(&agents, "no agents; start one with `evenkeel agent`")?;
    Ok(Exit::Ok)
}
