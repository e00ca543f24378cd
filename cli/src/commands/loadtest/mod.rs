//! `evenkeel loadtest`: the load harness, one file for each of its commands.

mod run;

use clap::Subcommand;

use crate::{args::Global, exit::Outcome};

/// What to do with the load harness.
#[derive(Debug, Subcommand)]
pub enum LoadtestCommand {
    /// Run many tasks on many simulated agents; fails if one is lost or recorded twice
    Run(run::RunArgs),
}

/// Carries out a command of the load harness.
///
/// # Errors
/// If it came to no verdict.
pub async fn run(command: LoadtestCommand, global: &Global) -> Outcome {
    match command {
        LoadtestCommand::Run(args) => run::run(args, global).await,
    }
}
