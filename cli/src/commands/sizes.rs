//! `evenkeel sizes`: what tasks of a kind reserve, whatever their clients ask for.

use clap::{ArgGroup, Args, Subcommand};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::{limit::RemovedView, size::SizeView},
    quantity,
};

/// What to do with request sizes.
#[derive(Debug, Subcommand)]
pub enum SizesCommand {
    /// List request sizes
    List,
    /// Declare what tasks of a kind reserve, or replace it
    ///
    /// It holds for tasks that are accepted from now on, in the place of the processor and memory that they ask for. What is not given
    /// here stays what each task asks for. `evenkeel task explain` shows both.
    Put(PutArgs),
    /// Let tasks of a kind reserve what they ask for
    Delete(DeleteArgs),
}

/// Arguments of `sizes put`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("size").required(true).multiple(true).args(["cpu", "memory"]))]
pub struct PutArgs {
    /// The kind of task
    kind: String,
    /// Cores that each task reserves, for example 0.5 or 500m
    #[arg(long, value_name = "CORES", value_parser = quantity::cpu_millis)]
    cpu: Option<u64>,
    /// Memory that each task reserves, for example 512MiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes)]
    memory: Option<u64>,
    /// Why, for the history
    #[arg(long, default_value = "")]
    reason: String,
}

/// Arguments of `sizes delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The kind of task
    kind: String,
    /// Why, for the history
    #[arg(long, default_value = "")]
    reason: String,
}

/// Carries it out.
///
/// # Errors
/// If a size is refused or not there, or the coordinator does not answer.
pub async fn run(command: SizesCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let output = global.output();
    match command {
        SizesCommand::List => {
            let request = v1::ListRequestSizesRequest::default();
            let sizes = answer("list request sizes", resources.list_request_sizes(request).await)?.sizes;
            let sizes: Vec<_> = sizes.into_iter().map(SizeView::from).collect();
            output.list(&sizes, "no request sizes: tasks reserve what they ask for")?;
        }
        SizesCommand::Put(PutArgs { kind, cpu, memory, reason }) => {
            let (cpu_millis, memory_bytes) = (cpu.unwrap_or(0), memory.unwrap_or(0));
            let size = v1::RequestSize { kind, cpu_millis, memory_bytes, version: 0 };
            let request = v1::PutRequestSizeRequest { size: Some(size), reason };
            let size = answer("put the request size", resources.put_request_size(request).await)?;
            output.one(&SizeView::from(size))?;
        }
        SizesCommand::Delete(DeleteArgs { kind, reason }) => {
            let request = v1::DeleteRequestSizeRequest { kind: kind.clone(), reason };
            answer("delete the request size", resources.delete_request_size(request).await)
                .map_err(|error| error.hint_if_missing("see `evenkeel sizes list`"))?;
            output.one(&RemovedView { what: "request size of kind", name: kind })?;
        }
    }
    Ok(Exit::Ok)
}
