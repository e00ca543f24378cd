//! `evenkeel loadtest`: the load harness, one file for each of its commands.

mod baseline;
mod bench;
mod capacity;
mod compare;
mod faults;
mod history;
mod report;
mod run;
mod scaling;
mod scenario;
mod simulate;
mod simulate_faults;
mod trace;

use clap::Subcommand;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::Show,
};

/// What to do with the load harness.
#[derive(Debug, Subcommand)]
pub enum LoadtestCommand {
    /// Run many tasks on many simulated agents, or a scenario; fails if a task is lost or recorded twice
    Run(Box<run::RunArgs>),
    /// List the scenarios that come with the program
    Scenarios(scenario::ScenariosArgs),
    /// Keep the runs that others are compared with
    #[command(subcommand)]
    Baseline(baseline::BaselineCommand),
    /// Compare runs; a difference counts if it is beyond noise and large enough to matter
    Compare(compare::CompareArgs),
    /// Show the runs that were kept, and where their metrics go
    History(history::HistoryArgs),
    /// Write a run as one HTML page, with pictures, that needs nothing else
    Report(report::ReportArgs),
    /// Find out how many tasks a second are carried, what bounds it, and what a target would need
    Capacity(capacity::CapacityArgs),
    /// Do harm to clusters of real processes, and show what they kept of their promises
    Faults(faults::FaultsArgs),
    /// Simulate a fleet's queues in no time, with the real engine, beside an ideal central queue
    Simulate(simulate::SimulateArgs),
    /// Record the history of a running coordinator as CSV, for `simulate --shadow` or a scenario
    Trace(trace::TraceArgs),
    /// Try scaling policies on a day in no time, beside an oracle that knows it
    SimulateScaling(scaling::SimulateScalingArgs),
    /// Simulate clusters with faults, each from one seed, and check that every promise was kept
    SimulateFaults(simulate_faults::SimulateFaultsArgs),
    /// Measure Evenkeel and bare routers side by side, in turn, and compare them with the goals
    Bench(bench::BenchArgs),
    /// The bare router of `bench`
    #[command(hide = true)]
    BenchServer,
    /// Agents for `bench`
    #[command(hide = true)]
    BenchAgents(bench::BenchAgentsArgs),
    /// A client for `bench`
    #[command(hide = true)]
    BenchClient(bench::BenchClientArgs),
    /// Agents for `faults`
    #[command(hide = true)]
    FaultAgents(faults::FaultAgentsArgs),
}

/// Carries out a command of the load harness.
///
/// # Errors
/// If it came to no verdict.
pub async fn run(command: LoadtestCommand, global: &Global) -> Outcome {
    match command {
        LoadtestCommand::Run(args) => run::run(*args, global).await,
        LoadtestCommand::Scenarios(args) => scenario::list(&args, global),
        LoadtestCommand::Baseline(command) => baseline::run(command, global),
        LoadtestCommand::Compare(args) => compare::run(&args, global),
        LoadtestCommand::History(args) => history::run(&args, global),
        LoadtestCommand::Report(args) => report::run(&args, global),
        LoadtestCommand::Capacity(args) => capacity::run(args, global).await,
        LoadtestCommand::Simulate(args) => simulate::run(args, global).await,
        LoadtestCommand::SimulateScaling(args) => scaling::run(args, global).await,
        LoadtestCommand::Trace(args) => trace::run(args, global).await,
        LoadtestCommand::SimulateFaults(args) => simulate_faults::run(args, global).await,
        LoadtestCommand::Faults(args) => faults::run(args, global).await,
        LoadtestCommand::Bench(args) => bench::run(args, global).await,
        LoadtestCommand::BenchServer => bench::server().await,
        LoadtestCommand::BenchAgents(args) => bench::agents(args).await,
        LoadtestCommand::BenchClient(args) => bench::client(args).await,
        LoadtestCommand::FaultAgents(args) => faults::agents(args, global).await,
    }
}

/// Shows what comes of a simulation, which has a thread of its own, unless it is interrupted.
async fn simulated<R: Show, E>(
    simulation: JoinHandle<Result<R, E>>,
    failed: fn(E) -> CliError,
    interrupted: &CancellationToken,
    global: &Global,
) -> Outcome {
    let report = tokio::select! {
        report = simulation => {
            report.map_err(|error| CliError::new(Exit::Error, "the simulation panicked").because(error))?
        }
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    global.output().one(&report.map_err(failed)?)?;
    Ok(Exit::Ok)
}
