//! The commands, one file each: arguments, work, and what is printed.

pub mod agent;
pub mod agents;
pub mod completions;
pub mod coordinator;
pub mod dev;
pub mod events;
pub mod loadtest;
pub mod run;
pub mod service;
pub mod status;
pub mod strategy;
pub mod task;
pub mod top;

use crate::{
    args::{Command, Global},
    exit::Outcome,
};

impl Command {
    /// Whether it stays and serves, and its log is what it has to say.
    #[must_use]
    pub const fn is_service(&self) -> bool {
        matches!(self, Self::Agent(_) | Self::Coordinator(_))
    }
}

/// Carries out a command.
///
/// # Errors
/// Why it could not do its work.
pub async fn dispatch(command: Command, global: &Global) -> Outcome {
    match command {
        Command::Dev(args) => dev::run(args, global).await,
        Command::Coordinator(args) => coordinator::run(args, global).await,
        Command::Agent(args) => agent::run(*args, global).await,
        Command::Run(args) => run::run(args, global).await,
        Command::Task(command) => task::run(command, global).await,
        Command::Agents(command) => agents::run(command, global).await,
        Command::Strategy(command) => strategy::run(command, global).await,
        Command::Status => status::run(global).await,
        Command::Events(args) => events::run(args, global).await,
        Command::Top(args) => top::run(args, global).await,
        Command::Loadtest(command) => loadtest::run(command, global).await,
        Command::Completions(args) => completions::run(args),
    }
}
