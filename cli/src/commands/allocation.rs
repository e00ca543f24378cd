//! `evenkeel allocation`: who asked for how much and got it, and what was throttled and moved.

use clap::{Args, Subcommand, ValueEnum};
use evenkeel_proto::v1;

use super::pages::{self, Stretch};
use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::allocation::{AllocationEventView, AllocationView},
};

/// What to see of allocation.
#[derive(Debug, Subcommand)]
pub enum AllocationCommand {
    /// Show who asked for how much, and got it
    Show {
        /// By tenant, kind or agent
        #[arg(long, value_enum, default_value_t = By::Tenant)]
        by: By,
        /// Only this one
        #[arg(long)]
        name: Option<String>,
    },
    /// Show what was throttled, refused, opened and moved, newest first
    Events(EventsArgs),
}

/// Arguments of `allocation events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only about this, for example limit:batch or agent:a-1
    #[arg(long)]
    subject: Option<String>,
    /// When, and how many
    #[command(flatten)]
    stretch: Stretch,
}

/// By what.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum By {
    Tenant,
    Kind,
    Agent,
}

/// Shows it.
///
/// # Errors
/// If the coordinator does not answer.
pub async fn run(command: AllocationCommand, global: &Global) -> Outcome {
    match command {
        AllocationCommand::Show { by, name } => show(by, name, global).await,
        AllocationCommand::Events(args) => events(args, global).await,
    }
}

async fn show(by: By, name: Option<String>, global: &Global) -> Outcome {
    let by = match by {
        By::Tenant => v1::AllocationBy::Tenant,
        By::Kind => v1::AllocationBy::Kind,
        By::Agent => v1::AllocationBy::Agent,
    };
    let request = v1::GetAllocationRequest { by: by.into(), name: name.unwrap_or_default() };
    let mut resources = global.address()?.connect().await?.resources;
    let allocation = answer("read the allocation", resources.get_allocation(request).await)?;
    if allocation.fallback {
        eprintln!("warning: the manager is off; limits and the size of the fleet stay as they were last set");
    }
    let rows: Vec<_> = allocation.rows.into_iter().map(AllocationView::from).collect();
    global.output().list(&rows, "nothing was asked for yet")?;
    Ok(Exit::Ok)
}

async fn events(args: EventsArgs, global: &Global) -> Outcome {
    let request = v1::ListAllocationEventsRequest {
        from_unix_ms: args.stretch.begins_unix_ms(),
        to_unix_ms: args.stretch.ends_unix_ms(),
        subject: args.subject.unwrap_or_default(),
        page_size: args.stretch.page_size(),
        page_token: String::new(),
    };
    let mut resources = global.address()?.connect().await?.resources;
    let read = async |page_token| {
        let request = v1::ListAllocationEventsRequest { page_token, ..request.clone() };
        let page = answer("read the events", resources.list_allocation_events(request).await)?;
        Ok((page.events, page.next_page_token))
    };
    let output = global.output();
    pages::each(args.stretch.limit as usize, read, |event| Ok(output.event(&AllocationEventView::from(event))?))
        .await?;
    Ok(Exit::Ok)
}
