//! `evenkeel loadtest faults`: real processes, real faults, a table of what was seen.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_loadtest::faults::{self, FAULTS, Fault, FaultError, FaultPlan, FaultReport, Row, Told, agent};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity, signals,
};

/// Arguments of `loadtest faults`. Every fault has coordinators and agents of its own; a cluster in use is not touched.
#[derive(Debug, Args)]
pub struct FaultsArgs {
    /// Try only this fault (may be repeated)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Name the faults, and try none
    #[arg(long)]
    list: bool,
    /// What is drawn at random is drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the soak lasts, where it is asked for with --only soak
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = quantity::duration)]
    soak: Duration,
    /// Keep the files of all clusters, and not only of those that failed
    #[arg(long)]
    keep: bool,
}

/// Arguments of `loadtest fault-agents`, which `loadtest faults` starts.
#[derive(Debug, Args)]
pub struct FaultAgentsArgs {
    /// The agents are called NAME-0, NAME-1, ...
    #[arg(long)]
    name: String,
    /// How many
    #[arg(long)]
    agents: u32,
    /// Slots of each
    #[arg(long)]
    slots: u32,
    /// Tasks wanted ahead per slot
    #[arg(long)]
    prefetch: Option<u8>,
    /// The kind of tasks that they take
    #[arg(long)]
    kind: String,
    /// Where they write down what they execute
    #[arg(long, value_name = "FILE")]
    executions: PathBuf,
}

/// Says on stderr how far the faults are: stdout is for the report.
struct Stderr;

impl Told for Stderr {
    fn begins(&self, fault: &Fault) {
        eprintln!("...   {}: {}", fault.name, fault.fault);
    }

    fn ended(&self, row: &Row) {
        eprintln!("{row}");
    }
}

impl Show for FaultReport {
    fn show(&self, _style: &Style) -> String {
        self.to_string()
    }
}

/// Tries the faults.
///
/// # Errors
/// If a name is none, or the faults cannot be tried at all.
pub async fn run(args: FaultsArgs, global: &Global) -> Outcome {
    if args.list {
        for fault in FAULTS {
            println!("{:<26} {}", fault.name, fault.fault);
        }
        return Ok(Exit::Ok);
    }
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Error, "could not find this program's file").because(error))?;
    let plan = FaultPlan { program, only: args.only, seed: args.seed, soak: args.soak, keep: args.keep };
    let interrupted = signals::shutdown()?;
    let report = tokio::select! {
        report = faults::run(&plan, &Stderr) => report.map_err(failed)?,
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    global.output().one(&report)?;
    Ok(if report.failed == 0 { Exit::Ok } else { Exit::Error })
}

fn failed(error: FaultError) -> CliError {
    let exit = if matches!(error, FaultError::Unknown { .. }) { Exit::Usage } else { Exit::Error };
    CliError::new(exit, "the faults could not be tried").because(error)
}

/// Runs agents for faults until told to stop.
///
/// # Errors
/// If one of them cannot go on.
pub async fn agents(args: FaultAgentsArgs, global: &Global) -> Outcome {
    let plan = agent::HostPlan {
        coordinator: global.address()?.url().to_owned(),
        name: args.name,
        agents: args.agents,
        slots: args.slots,
        prefetch: args.prefetch,
        kind: args.kind,
        executions: args.executions,
    };
    let stop = signals::shutdown()?;
    let host = agent::host(plan, stop).await;
    host.map_err(|error| CliError::new(Exit::Error, "the agents stopped").because(error))?;
    Ok(Exit::Ok)
}
