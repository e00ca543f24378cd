//! `evenkeel loadtest run`: many tasks on a simulated fleet, over real gRPC; a number of them, or those of a scenario.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_loadtest::{Bar, LoadtestError, Report, RunPlan, Target, TaskTime, Verdict};
use evenkeel_shared::{StrategyConfig, dial::Security, limits::PAYLOAD_BYTES_MAX, task::Delivery};

use super::scenario::{self, Common, ScenarioArgs};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity, signals,
};

/// Arguments of `loadtest run`. Without --coordinator (or EVENKEEL_COORDINATOR) it starts one of its own.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Simulated agents [default: 1000, or as the scenario says]
    #[arg(long, value_name = "N")]
    agents: Option<u32>,
    /// Tasks to submit
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    tasks: u32,
    /// Slots of each agent
    #[arg(long, value_name = "N", default_value_t = 1)]
    slots: u32,
    /// Tasks in flight at most [default: twice the slots of the fleet]
    #[arg(long, value_name = "N", visible_alias = "concurrency")]
    in_flight: Option<u32>,
    /// Tasks per message
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: u32,
    /// How long tasks take: fixed:0, exp:5ms or uniform:1ms..20ms
    #[arg(long, value_name = "TIME", default_value = "exp:5ms")]
    task_time: TaskTime,
    /// Bytes of each payload
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=PAYLOAD_BYTES_MAX as i64))]
    payload_bytes: u32,
    /// Keep tasks in the coordinator's memory only
    #[arg(long)]
    ephemeral: bool,
    /// Strategy of the run; the one before it is put back afterwards
    #[arg(long, value_name = "NAME", value_parser = StrategyConfig::NAMES)]
    strategy: Option<String>,
    /// Agents that share a connection [default: 1, or as the scenario says]
    #[arg(long, value_name = "K")]
    agents_per_connection: Option<u32>,
    /// Everything random is drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give up when nothing was accepted and nothing ended for this long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = quantity::duration)]
    stall_timeout: Duration,
    /// Where a coordinator of its own keeps its store; it has to be empty and stays [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

/// Agents of a run without a scenario.
const AGENTS_DEFAULT: u32 = 1_000;

/// The coordinator of a run: the one that is named, or one of its own.
pub(super) fn target(global: &Global, data_dir: Option<PathBuf>) -> Result<Target, CliError> {
    if global.coordinator.is_some() {
        return Ok(Target::Running {
            url: global.address()?.url().to_owned(),
            security: global.security.over(Security::default())?,
        });
    }
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Error, "could not find this program's file").because(error))?;
    Ok(Target::Own { program, data_dir })
}

impl RunArgs {
    fn plan(self, global: &Global) -> Result<RunPlan, CliError> {
        let target = target(global, self.data_dir)?;
        let strategy = self.strategy.map(|name| StrategyConfig::named(&name)).transpose();
        Ok(RunPlan {
            slots: self.slots,
            in_flight: self.in_flight,
            batch: self.batch,
            task_time: self.task_time,
            payload_bytes: self.payload_bytes,
            delivery: if self.ephemeral { Delivery::Ephemeral } else { Delivery::Durable },
            strategy: strategy.map_err(|violation| CliError::usage(violation.to_string()))?,
            agents_per_connection: self.agents_per_connection.unwrap_or(1),
            seed: self.seed,
            stall_timeout: self.stall_timeout,
            ..RunPlan::new(target, self.agents.unwrap_or(AGENTS_DEFAULT), self.tasks)
        })
    }
}

impl Show for Report {
    fn show(&self, _style: &Style) -> String {
        self.to_string()
    }
}

/// Runs the load test.
///
/// # Errors
/// If the run came to no verdict.
pub async fn run(args: RunArgs, global: &Global) -> Outcome {
    if let Some(name) = args.scenario.scenario.clone() {
        let common = Common {
            agents: args.agents,
            agents_per_connection: args.agents_per_connection,
            strategy: args.strategy,
            seed: args.seed,
            stall_timeout: args.stall_timeout,
            target: target(global, args.data_dir)?,
        };
        return scenario::run(&name, args.scenario, common, global).await;
    }
    let plan = args.plan(global)?;
    let interrupted = signals::shutdown()?;
    let bar = Bar::new();
    let report = tokio::select! {
        report = evenkeel_loadtest::run(plan, &bar) => report.map_err(failed)?,
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    global.output().one(&report)?;
    Ok(match report.verdict() {
        Verdict::Passed => Exit::Ok,
        Verdict::Incomplete => Exit::TaskFailed,
        Verdict::Unverified => Exit::Unreachable,
        Verdict::Broken => Exit::Error,
    })
}

pub(super) fn failed(error: LoadtestError) -> CliError {
    let exit = match error {
        LoadtestError::Plan { .. } | LoadtestError::Address { .. } => Exit::Usage,
        LoadtestError::Unreachable { .. } => Exit::Unreachable,
        _ => Exit::Error,
    };
    CliError::new(exit, "the load test came to no verdict").because(error)
}
