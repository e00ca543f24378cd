//! `evenkeel loadtest simulate`: the real engine in simulated time, beside an ideal central queue.

use std::{num::NonZero, path::PathBuf, thread, time::Duration};

use clap::Args;
use evenkeel_loadtest::queueing::{
    QueueingError, QueueingPlan, QueueingReport, ReplayError, ServiceLaw,
    shadow::{ShadowPlan, ShadowReport, shadow},
    simulate,
};
use evenkeel_shared::StrategyConfig;
use indicatif::{ProgressBar, ProgressDrawTarget};

use super::simulated;
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity, signals,
};

/// The name that stands for every strategy.
const ALL: &str = "all";
/// What a recorded history decides.
const SIMULATED: [&str; 10] = [
    "agents",
    "service",
    "rho",
    "heartbeat_age",
    "speed_spread",
    "tasks",
    "warm_up",
    "seeds",
    "mean_service",
    "threads",
];
/// One task in so many is for warming up, where nothing else is said.
const WARM_UP_SHARE: u64 = 5;

/// Arguments of `loadtest simulate`. It needs no coordinator and touches none.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Agents
    #[arg(long, default_value_t = 1_000)]
    agents: u32,
    /// Slots of each [default: 1; of a shadow as many as were seen in use at once]
    #[arg(long)]
    slots: Option<u32>,
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
    /// Replay this recorded history (CSV, see `loadtest trace`) through the strategies instead, and show what would have
    /// changed
    #[arg(long, value_name = "FILE", conflicts_with_all = SIMULATED)]
    shadow: Option<PathBuf>,
    /// In a shadow, take all agents for equally fast whatever their run times say
    #[arg(long, requires = "shadow")]
    equal_speeds: bool,
    /// Runs at a time [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl SimulateArgs {
    fn strategies(&self) -> Result<Vec<StrategyConfig>, CliError> {
        let named: Vec<&str> = match self.strategy.iter().any(|name| name == ALL) {
            true => StrategyConfig::NAMES.to_vec(),
            false => self.strategy.iter().map(String::as_str).collect(),
        };
        let strategies = named.into_iter().map(StrategyConfig::named).collect::<Result<_, _>>();
        strategies.map_err(|violation| CliError::usage(violation.to_string()))
    }

    fn plan(self) -> Result<QueueingPlan, CliError> {
        let strategies = self.strategies()?;
        Ok(QueueingPlan {
            agents: self.agents,
            slots: self.slots.unwrap_or(1),
            service: self.service,
            rho: self.rho,
            strategies,
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

impl Show for ShadowReport {
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
    if let Some(path) = args.shadow.clone() {
        let (slots, equal_speeds, seed) = (args.slots, args.equal_speeds, args.seed);
        let plan = ShadowPlan { path, strategies: args.strategies()?, slots, equal_speeds, seed };
        let replay = tokio::task::spawn_blocking(move || shadow(&plan));
        return simulated(replay, failed, &interrupted, global).await;
    }
    let plan = args.plan()?;
    let runs = plan.seeds * (plan.strategies.len() as u64 + 1);
    let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
    let simulation = tokio::task::spawn_blocking(move || {
        let report = simulate(&plan, &|over| bar.set_position(over));
        bar.finish_and_clear();
        report
    });
    simulated(simulation, failed, &interrupted, global).await
}

fn failed(error: QueueingError) -> CliError {
    let exit = match error {
        QueueingError::Replay(ReplayError::PiledUp { .. } | ReplayError::Refused { .. })
        | QueueingError::Refused { .. }
        | QueueingError::Lost => Exit::Error,
        _ => Exit::Usage,
    };
    CliError::new(exit, "the simulation came to no result").because(error)
}
