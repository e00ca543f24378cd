//! `evenkeel health`: how the fleet is, and what holds it up.

use clap::{Args, Subcommand};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::{
        component::CoordinatorHealthView,
        health::{BottleneckView, HealthView},
    },
};

/// Arguments of `health`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HealthArgs {
    #[command(subcommand)]
    command: Option<HealthCommand>,
    /// Pools by the values of this label of agents [default: by kind]
    #[arg(long, value_name = "KEY")]
    pool_label: Option<String>,
}

/// What else to see of health.
#[derive(Debug, Subcommand)]
pub enum HealthCommand {
    /// Show what holds the fleet up
    Bottlenecks {
        /// Those that are over too
        #[arg(long)]
        all: bool,
    },
    /// Show how the coordinator itself is, part by part; ends with 1 if it is not ready
    Coordinator,
}

/// Shows it.
///
/// # Errors
/// If the coordinator does not answer.
pub async fn run(args: HealthArgs, global: &Global) -> Outcome {
    let clients = global.address()?.connect().await?;
    let (mut resources, mut admin) = (clients.resources, clients.admin);
    match args.command {
        None => {
            let request = v1::GetFleetHealthRequest { pool_label: args.pool_label.unwrap_or_default() };
            let health = answer("read the health", resources.get_fleet_health(request).await)?;
            global.output().one(&HealthView::from(health))?;
        }
        Some(HealthCommand::Coordinator) => {
            let health = answer("read the health", admin.get_health(v1::GetHealthRequest {}).await)?;
            let view = CoordinatorHealthView::from(health);
            global.output().one(&view)?;
            if !view.ready {
                return Ok(Exit::Error);
            }
        }
        Some(HealthCommand::Bottlenecks { all }) => {
            let request = v1::ListBottlenecksRequest { include_ended: all };
            let found = answer("list bottlenecks", resources.list_bottlenecks(request).await)?.bottlenecks;
            let found: Vec<_> = found.into_iter().map(BottleneckView::from).collect();
            global.output().list(&found, "nothing holds the fleet up")?;
        }
    }
    Ok(Exit::Ok)
}
