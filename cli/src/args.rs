//! The command line as a whole; each command's own arguments are beside its code.

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, builder::styling};
use evenkeel_shared::{dial::Security, telemetry};

use crate::{
    arguments,
    client::Address,
    commands::{
        advice, agent, agents, allocation, audit, backup, breakers, budgets, certs, completions, config, coordinator,
        costs, credentials, dev, doctor, events, health, healthcheck, limits, loadtest, log, metrics, profile, quotas,
        run, scaling, sizes, strategy, task, tokens, top,
    },
    exit::{CliError, EXIT_CODES},
    output::{Format, Output},
    overview,
    security::SecurityArgs,
};

/// Colours of `--help`; clap leaves them out without a terminal and under `NO_COLOR`.
const STYLES: styling::Styles = styling::Styles::styled()
    .header(styling::AnsiColor::Green.on_default().bold())
    .usage(styling::AnsiColor::Green.on_default().bold())
    .literal(styling::AnsiColor::Cyan.on_default());

/// `--version` says of a build for tests that it is one.
const VERSION: &str = if evenkeel_coordinator::failpoint::COMPILED_IN {
    concat!(env!("CARGO_PKG_VERSION"), "\nfailpoints")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Where a coordinator listens unless told otherwise.
const COORDINATOR_DEFAULT: &str = "http://127.0.0.1:7400";

/// Load balancer and task queue for fleets of agents
///
/// To begin, start everything on this machine with `evenkeel dev`, and in another terminal run a first task: `evenkeel task submit
/// --kind echo --payload hello --wait`. Each command explains its options with --help.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, long_version = VERSION, after_help = EXIT_CODES, styles = STYLES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line, and the words of its command, such as `task submit`. One that is wrong, or asks for help, ends the
    /// program.
    #[must_use]
    pub fn read() -> (Self, String) {
        let mut matches = overview::grouped(Self::command()).get_matches();
        let words = arguments::command_of(&matches);
        match Self::from_arg_matches_mut(&mut matches) {
            Ok(cli) => (cli, words),
            Err(error) => error.format(&mut Self::command()).exit(),
        }
    }
}

/// Arguments that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The coordinator's address [default: http://127.0.0.1:7400]
    #[arg(long, global = true, value_name = "URL", env = "EVENKEEL_COORDINATOR", hide_env_values = true)]
    pub coordinator: Option<String>,
    /// How to print data
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// What to log to stderr: a level, or directives such as evenkeel_agent=debug
    #[arg(long, global = true, value_name = "FILTER", env = "EVENKEEL_LOG", hide_env_values = true)]
    pub log: Option<String>,
    /// What is trusted and shown
    #[command(flatten)]
    pub security: SecurityArgs,
    /// How to log [default: text]
    #[arg(long, global = true, value_enum, env = "EVENKEEL_LOG_FORMAT", hide_env_values = true)]
    pub log_format: Option<LogFormat>,
}

/// How a line of log looks.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// A JSON object per line
    Json,
}

impl From<LogFormat> for telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

impl Global {
    /// The coordinator's address.
    ///
    /// # Errors
    /// If it is none.
    pub fn address(&self) -> Result<Address, CliError> {
        let text = self.coordinator.as_deref().unwrap_or(COORDINATOR_DEFAULT);
        Address::secured(text, self.security.over(Security::default())?)
    }

    /// The way to stdout.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::new(self.output)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a coordinator and agents in one process, to try things out
    Dev(dev::DevArgs),
    /// Start a coordinator
    Coordinator(coordinator::CoordinatorArgs),
    /// Start an agent
    Agent(Box<agent::AgentArgs>),
    /// Run a command for each file or line, on the fleet
    ///
    /// Every input becomes a task of the kind `command`. Standard output is, byte for byte and in the order of the inputs,
    /// what the commands print there; a command that fails adds nothing, and is listed at the end on stderr.
    ///
    /// A run that was interrupted, or in which tasks failed, is taken up again by the same command in the same directory
    /// for a day: what succeeded is not run again, what failed is. Changed inputs and changed scripts are run again.
    Run(run::RunArgs),
    /// Submit tasks, and follow what becomes of them
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Look at agents, take them out of service and back
    #[command(subcommand)]
    Agents(agents::AgentsCommand),
    /// See or change the strategy that picks agents
    #[command(subcommand)]
    Strategy(strategy::StrategyCommand),
    /// Show the cluster at a glance
    Status,
    /// Show what happened in the fleet
    Events(events::EventsArgs),
    /// Watch the fleet live
    Top(top::TopArgs),
    /// Show how the fleet is: a score and what it is made of, pools, bottlenecks, caches
    Health(health::HealthArgs),
    /// See measurements over time, where they are going, and when they are bad
    #[command(subcommand)]
    Metrics(metrics::MetricsCommand),
    /// See what to change, and do it
    #[command(subcommand)]
    Advice(advice::AdviceCommand),
    /// See who asked for how much and got it, and what was throttled
    #[command(subcommand)]
    Allocation(allocation::AllocationCommand),
    /// Limit who may use how much at a time, and how fast
    #[command(subcommand)]
    Limits(limits::LimitsCommand),
    /// See and report upstream quotas that are used up
    #[command(subcommand)]
    Quotas(quotas::QuotasCommand),
    /// See circuit breakers, open and close them
    #[command(subcommand)]
    Breakers(breakers::BreakersCommand),
    /// Say what tasks of a kind reserve, whatever they ask for
    #[command(subcommand)]
    Sizes(sizes::SizesCommand),
    /// Limit what may be spent
    #[command(subcommand)]
    Budgets(budgets::BudgetsCommand),
    /// See and set what resources cost
    #[command(subcommand)]
    Prices(costs::PricesCommand),
    /// Show what was spent, on what, and what it comes to
    Costs(costs::CostsArgs),
    /// See and steer how large the fleet is
    #[command(subcommand)]
    Scaling(scaling::ScalingCommand),
    /// Measure: many simulated agents, many tasks
    ///
    /// Without --coordinator or EVENKEEL_COORDINATOR it starts a coordinator of its own.
    #[command(subcommand)]
    Loadtest(loadtest::LoadtestCommand),
    /// Make certificates to try TLS with
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Show who the coordinator takes this client for, and what that may do
    Whoami,
    /// Make and revoke tokens in a file of credentials
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// See which credentials are accepted, and revoke them while the coordinator runs
    #[command(subcommand)]
    Credentials(credentials::CredentialsCommand),
    /// See who changed what, and check that nothing of that was changed
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// See, check and change the settings of a coordinator
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Ask whether a coordinator takes work, and end with the answer: for probes
    Healthcheck(healthcheck::HealthcheckArgs),
    /// See and change what a running coordinator logs
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Record where a running coordinator's processor time goes
    Profile(profile::ProfileArgs),
    /// Check settings, ports, disk, clock and limits, and the coordinator that runs
    Doctor(doctor::DoctorArgs),
    /// Write a copy of what a coordinator has stored, while it runs or not
    Backup(backup::BackupArgs),
    /// Make a data directory of a copy
    Restore(backup::RestoreArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }
}
