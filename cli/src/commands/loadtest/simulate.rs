//! `evenkeel loadtest simulate`: the real engine in simulated time, beside an ideal central queue.

use std::{num::NonZero, thread, time::Duration};

use clap::Args;
use evenkeel_loadtest::queueing::{QueueingError, QueueingPlan, QueueingReport, ServiceLaw, simulate};
use evenkeel_shared::StrategyConfig;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity, signals,
};

/// The name that stands for every strategy.
const ALL: &str = "all";
/// One task in so many is for warming up, where nothing else is said.
const WARM_UP_SHARE: u64 = 5;

/// Arguments of `loadtest simulate`. It needs no coordinator and touches none.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Agents
    #[arg(long, default_value_t = 1_000)]
    agents: u32,
    /// Slots of each
    #[arg(long, default_value_t = 1)]
    slots: u32,
    /// How long tasks take: exp, fixed, h2:C2 (hyperexponential with this squared coefficient of variation), or
    /// trace:FILE (as in a recorded history)
    #[arg(long, value_name = "LAW", default_value = "exp")]
    service: ServiceLaw,
    /// Utilisation of the fleet
    #[arg(long, default_value_t = 0.95)]
    rho: f64,
    /// Strategy to try, or `all` (may be repeated)
    #[arg(long, value_name = "NAME", default_value = "least_loaded")]
    strategy: Vec<String>,
    /// What heartbeats tell is so old when it arrives, in mean service times
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    heartbeat_age: f64,
    /// The fastest agent is so many times as fast as the slowest
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed_spread: f64,
    /// Tasks of each seed
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    tasks: u64,
    /// Tasks of each seed that are not measured [default: a fifth]
    #[arg(long, value_name = "N")]
    warm_up: Option<u64>,
    /// Seeds to run, from --seed on
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// First seed
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The mean service time, for what the engine measures in real time [default: 100ms, or that of the trace]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    mean_service: Option<Duration>,
    /// Runs at a time [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl SimulateArgs {
    fn plan(self) -> Result<QueueingPlan, CliError> {
        let named: Vec<&str> = match self.strategy.iter().any(|name| name == ALL) {
            true => StrategyConfig::NAMES.to_vec(),
            false => self.strategy.iter().map(String::as_str).collect(),
        };
        let strategies = named.into_iter().map(StrategyConfig::named).collect::<Result<_, _>>();
        Ok(QueueingPlan {
            agents: self.agents,
            slots: self.slots,
            service: self.service,
            rho: self.rho,
            strategies: strategies.map_err(|violation| CliError::usage(violation.to_string()))?,
            heartbeat_age: self.heartbeat_age,
            speed_spread: self.speed_spread,
            tasks: self.tasks,
            warm_up: self.warm_up.unwrap_or(self.tasks / WARM_UP_SHARE),
            seed: self.seed,
            seeds: self.seeds,
            mean_service_s: self.mean_service.map(|time| time.as_secs_f64()),
            threads: self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)),
        })
    }
}

impl Show for QueueingReport {
    fn show(&self, _style: &Style) -> String {
        self.to_string()
    }
}

/// Simulates.
///
/// # Errors
/// If the plan cannot be carried out.
pub async fn run(args: SimulateArgs, global: &Global) -> Outcome {
    let interrupted = signals::shutdown()?;
    let plan = args.plan()?;
    let runs = plan.seeds * (plan.strategies.len() as u64 + 1);
    let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
    let simulation = tokio::task::spawn_blocking(move || {
        let report = simulate(&plan, &|over| bar.set_position(over));
        bar.finish_and_clear();
        report
    });
    let report = tokio::select! {
        report = simulation => {
            report.map_err(|error| CliError::new(Exit::Error, "the simulation panicked").because(error))?
        }
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    global.output().one(&report.map_err(failed)?)?;
    Ok(Exit::Ok)
}

fn failed(error: QueueingError) -> CliError {
    let exit = match error {
        QueueingError::PiledUp { .. } | QueueingError::Refused { .. } | QueueingError::Lost => Exit::Error,
        _ => Exit::Usage,
    };
    CliError::new(exit, "the simulation came to no result").because(error)
}
