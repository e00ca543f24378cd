//! The commands, one file each: arguments, work, and what is printed.

pub mod advice;
pub mod agent;
pub mod agents;
pub mod allocation;
pub mod audit;
pub mod backup;
pub mod breakers;
pub mod budgets;
pub mod certs;
pub mod completions;
pub mod config;
pub mod coordinator;
pub mod costs;
pub mod credentials;
pub mod declared;
pub mod dev;
pub mod doctor;
pub mod events;
pub mod health;
pub mod healthcheck;
pub mod limits;
pub mod loadtest;
pub mod log;
pub mod metrics;
mod pages;
pub mod profile;
pub mod quotas;
pub mod run;
pub mod scaling;
pub mod service;
pub mod sizes;
pub mod status;
pub mod strategy;
pub mod task;
pub mod tokens;
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
        Command::Backup(args) => backup::backup(args, global).await,
        Command::Restore(args) => backup::restore(args, global).await,
        Command::Task(command) => task::run(command, global).await,
        Command::Agents(command) => agents::run(command, global).await,
        Command::Strategy(command) => strategy::run(command, global).await,
        Command::Status => status::run(global).await,
        Command::Events(args) => events::run(args, global).await,
        Command::Top(args) => top::run(args, global).await,
        Command::Health(args) => health::run(args, global).await,
        Command::Metrics(command) => metrics::run(command, global).await,
        Command::Advice(command) => advice::run(command, global).await,
        Command::Allocation(command) => allocation::run(command, global).await,
        Command::Limits(command) => limits::run(command, global).await,
        Command::Quotas(command) => quotas::run(command, global).await,
        Command::Breakers(command) => breakers::run(command, global).await,
        Command::Sizes(command) => sizes::run(command, global).await,
        Command::Budgets(command) => budgets::run(command, global).await,
        Command::Prices(command) => costs::prices(command, global).await,
        Command::Costs(args) => costs::run(args, global).await,
        Command::Scaling(command) => scaling::run(command, global).await,
        Command::Loadtest(command) => loadtest::run(command, global).await,
        Command::Certs(command) => certs::run(command, global),
        Command::Whoami => credentials::whoami(global).await,
        Command::Tokens(command) => tokens::run(command, global),
        Command::Credentials(command) => credentials::run(command, global).await,
        Command::Audit(command) => audit::run(command, global).await,
        Command::Config(command) => config::run(command, global).await,
        Command::Healthcheck(args) => healthcheck::run(args, global).await,
        Command::Log(command) => log::run(command, global).await,
        Command::Profile(args) => profile::run(args, global).await,
        Command::Doctor(args) => doctor::run(args, global).await,
        Command::Completions(args) => completions::run(args),
    }
}
