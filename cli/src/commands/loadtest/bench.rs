//! `evenkeel loadtest bench`: Evenkeel and bare routers side by side, and the processes that this takes.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_loadtest::bench::{
    self, BenchError, BenchPlan, BenchReport, CONTENDERS, ClientPlan, Contender, Heard, Load, Protocol,
    agents::AgentsPlan,
};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    signals,
};

/// Arguments of `loadtest bench`. Every measure has processes of its own; a cluster in use is not touched.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Measure only this contender (may be repeated)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Name the contenders, and measure none
    #[arg(long)]
    list: bool,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Agents, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    agents: u32,
    /// Slots of each
    #[arg(long, value_name = "N", default_value_t = 16)]
    slots: u32,
    /// Tasks that count on a stream; a fifth of them as calls, one in two hundred with one in flight
    #[arg(long, value_name = "N", default_value_t = 400_000)]
    tasks: u64,
    /// Tasks in flight on a stream
    #[arg(long, value_name = "N", default_value_t = 16_000)]
    in_flight: u64,
    /// Tasks in one message of a stream
    #[arg(long, value_name = "N", default_value_t = 250)]
    batch: u64,
    /// Where durable tasks are kept; say which disk is to be measured [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
}

/// Arguments of `loadtest bench-agents`, which `loadtest bench` starts.
#[derive(Debug, Args)]
pub struct BenchAgentsArgs {
    #[arg(long)]
    protocol: Protocol,
    #[arg(long)]
    url: String,
    #[arg(long)]
    agents: u32,
    #[arg(long, default_value_t = 1)]
    agents_per_connection: u32,
    #[arg(long, default_value_t = 1)]
    slots: u32,
    #[arg(long, default_value_t = 0)]
    task_time_us: u64,
}

/// Arguments of `loadtest bench-client`, which `loadtest bench` starts.
#[derive(Debug, Args)]
pub struct BenchClientArgs {
    #[arg(long)]
    protocol: Protocol,
    #[arg(long)]
    url: String,
    #[arg(long)]
    load: Load,
    #[arg(long, default_value_t = 0)]
    tasks: u64,
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
    #[arg(long, default_value_t = 1)]
    in_flight: u64,
    #[arg(long, default_value_t = 1)]
    batch: u64,
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    #[arg(long, default_value_t = 0.0)]
    urgent_rate: f64,
    #[arg(long, default_value_t = 0.0)]
    seconds: f64,
}

/// Says on stderr how far the bench is: stdout is for the report.
struct Stderr;

impl Heard for Stderr {
    fn measured(&self, round: u32, contender: &Contender, figure: &str) {
        eprintln!("{round} {:<20} {figure}", contender.name);
    }
}

impl Show for BenchReport {
    fn show(&self, _style: &Style) -> String {
        self.to_string()
    }
}

/// Measures.
///
/// # Errors
/// If a name is none, or nothing can be measured.
pub async fn run(args: BenchArgs, global: &Global) -> Outcome {
    if args.list {
        for contender in CONTENDERS {
            println!("{:<20} {}", contender.name, contender.what);
        }
        return Ok(Exit::Ok);
    }
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Error, "could not find this program's file").because(error))?;
    let command = std::env::args().skip(1).fold("evenkeel".to_owned(), |command, arg| command + " " + &arg);
    let BenchArgs { only, rounds, agents, slots, tasks, in_flight, batch, data_dir, check, .. } = args;
    let plan = BenchPlan { program, only, rounds, agents, slots, tasks, in_flight, batch, data_dir, command };
    let interrupted = signals::shutdown()?;
    let report = tokio::select! {
        report = bench::run(&plan, &Stderr) => report.map_err(failed)?,
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    global.output().one(&report)?;
    Ok(if report.is_broken() || (check && !report.is_met()) { Exit::Error } else { Exit::Ok })
}

fn failed(error: BenchError) -> CliError {
    let exit = match error {
        BenchError::Unknown { .. } | BenchError::Plan { .. } => Exit::Usage,
        _ => Exit::Error,
    };
    CliError::new(exit, "the bench came to no figures").because(error)
}

/// Serves the yardstick until told to stop.
///
/// # Errors
/// If it cannot.
pub async fn server() -> Outcome {
    ended("the yardstick", bench::run_server(signals::shutdown()?).await)
}

/// Runs agents until told to stop.
///
/// # Errors
/// If one of them cannot go on.
pub async fn agents(args: BenchAgentsArgs) -> Outcome {
    let plan = AgentsPlan {
        url: args.url,
        agents: args.agents,
        agents_per_connection: args.agents_per_connection.max(1),
        slots: args.slots.max(1),
        task_time: Duration::from_micros(args.task_time_us),
    };
    ended("the agents", bench::run_agents(args.protocol, plan, signals::shutdown()?).await)
}

/// Runs a client to its end.
///
/// # Errors
/// If it cannot begin.
pub async fn client(args: BenchClientArgs) -> Outcome {
    let plan = ClientPlan {
        protocol: args.protocol,
        load: args.load,
        tasks: args.tasks,
        warm_up: args.warm_up,
        in_flight: args.in_flight.max(1),
        batch: args.batch.max(1),
        rate: args.rate,
        urgent_rate: args.urgent_rate,
        seconds: args.seconds.clamp(0.0, 86_400.0),
    };
    ended("the client", bench::run_client(&args.url, plan).await)
}

fn ended(who: &str, ended: Result<(), BenchError>) -> Outcome {
    ended.map_err(|error| CliError::new(Exit::Error, format!("{who} stopped")).because(error))?;
    Ok(Exit::Ok)
}
