//! `evenkeel loadtest capacity`: how much a fleet and its coordinator carry, and what more would need.

use std::{sync::Arc, time::Duration};

use clap::Args;
use evenkeel_loadtest::{
    Bar,
    capacity::{AgentsNeeded, CapacityPlan, PerThousand, Rates, Step, Sweep, sweep},
    scenario::Scenario,
};

use super::run::{failed, target};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{
        Show,
        table::{self, Cell, Style, Tone},
    },
    quantity, signals,
};

/// Arguments of `loadtest capacity`. Without --coordinator it starts one of its own for each rate.
#[derive(Debug, Args)]
pub struct CapacityArgs {
    /// The fleet, the work and the service levels are those of this scenario
    #[arg(long, value_name = "NAME|FILE")]
    scenario: String,
    /// Rates to try, tasks a second: LOW..HIGH, or auto for a tenth of what the fleet could do, and up
    #[arg(long, value_name = "RATES", default_value = "auto")]
    rates: Rates,
    /// How long tasks arrive at each rate
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = quantity::duration)]
    step_duration: Duration,
    /// Say what this rate would need
    #[arg(long, value_name = "R")]
    target_rate: Option<f64>,
    /// Agents [default: as the scenario says]
    #[arg(long, value_name = "N")]
    agents: Option<u32>,
    /// Agents that share a connection [default: as the scenario says]
    #[arg(long, value_name = "K")]
    agents_per_connection: Option<u32>,
    /// Everything random is drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the sweep.
///
/// # Errors
/// If a run came to no verdict.
pub async fn run(args: CapacityArgs, global: &Global) -> Outcome {
    let scenario = Scenario::find(&args.scenario);
    let mut scenario = scenario.map_err(|error| CliError::usage("the scenario cannot be used").because(error))?;
    scenario.fleet.agents = args.agents.unwrap_or(scenario.fleet.agents);
    scenario.fleet.agents_per_connection = args.agents_per_connection.unwrap_or(scenario.fleet.agents_per_connection);
    let plan = Sweep {
        scenario,
        target: target(global, None)?,
        rates: args.rates,
        step_duration: args.step_duration,
        target_rate_per_s: args.target_rate,
        seed: args.seed,
        interrupted: signals::shutdown()?,
    };
    let told = |step: &Step| {
        eprintln!(
            "{:.0} tasks/s on {} agents: {:.0} completed, p99 {:.1} ms",
            step.rate_per_s, step.agents, step.completed_per_s, step.p99_ms
        );
    };
    let found = sweep(&plan, || Arc::new(Bar::new()), told).await.map_err(failed)?;
    if plan.interrupted.is_cancelled() {
        return Ok(Exit::Interrupted);
    }
    global.output().one(&found)?;
    Ok(Exit::Ok)
}

impl Show for CapacityPlan {
    fn show(&self, style: &Style) -> String {
        let mut parts = vec![steps(self, style), summary(self, style)];
        if !self.levels.is_empty() {
            parts.push(levels(self, style));
        }
        parts.join("\n\n")
    }
}

fn number(value: Option<f64>, digits: usize) -> Cell {
    Cell::number(value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}")))
}

fn steps(plan: &CapacityPlan, style: &Style) -> String {
    let rows = plan.steps.iter().map(|step| {
        let carried = plan.knee_per_s.is_some_and(|knee| step.rate_per_s <= knee);
        vec![
            number(Some(step.rate_per_s), 0),
            number(Some(step.offered_per_s), 0),
            number(Some(step.completed_per_s), 0),
            number(Some(step.error_share * 100.0), 2),
            number(Some(step.p50_ms), 1),
            number(Some(step.p99_ms), 1),
            number(Some(step.utilisation * 100.0), 0),
            number(step.cpu_cores, 2),
            number(step.harness_cpu_cores, 2),
            number(step.memory_mib, 0),
            match carried {
                true => Cell::text("yes").tone(Tone::Good),
                false => Cell::text("no").tone(Tone::Bad),
            },
        ]
    });
    let headers = [
        "rate/s",
        "offered/s",
        "completed/s",
        "errors %",
        "p50 ms",
        "p99 ms",
        "slots busy %",
        "cores",
        "harness",
        "MiB",
        "sustained",
    ];
    table::cells(&headers, rows, style)
}

fn summary(plan: &CapacityPlan, style: &Style) -> String {
    let rate =
        |rate: Option<f64>, none: &str| rate.map_or_else(|| none.to_owned(), |rate| format!("{rate:.0} tasks/s"));
    let mut pairs = vec![
        ("scenario", Cell::text(&plan.scenario)),
        ("knee", Cell::text(rate(plan.knee_per_s, "none: not even the lowest rate was sustained"))),
        ("not sustained at", Cell::text(rate(plan.broken_at_per_s, "no rate that was tried"))),
        ("bounded by", Cell::text(plan.bound.words())),
    ];
    if let Some(needed) = &plan.needed {
        pairs.push(("for the target", Cell::text(target_text(needed))));
    }
    let PerThousand {
        cpu_cores_per_1000_agents: cpu_agents,
        cpu_cores_per_1000_tasks_per_s: cpu_tasks,
        memory_mib_per_1000_agents: memory_agents,
        memory_mib_per_1000_tasks_per_s: memory_tasks,
    } = plan.cost;
    let amount =
        |value: Option<f64>, unit: &str| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.2} {unit}"));
    let both = |cores, mib| Cell::text(format!("{}, {}", amount(cores, "cores"), amount(mib, "MiB")));
    pairs.push(("1,000 agents take", both(cpu_agents, memory_agents)));
    pairs.push(("1,000 tasks/s take", both(cpu_tasks, memory_tasks)));
    table::pairs(&pairs, style)
}

fn target_text(needed: &AgentsNeeded) -> String {
    let coordinator = match (needed.coordinator_cores, needed.coordinator_fits) {
        (Some(cores), Some(true)) => format!("the coordinator would take {cores:.1} cores, which this machine has"),
        (Some(cores), _) => format!("the coordinator would take {cores:.1} cores, which is too much for this machine"),
        (None, _) => "what the coordinator would take is not known".to_owned(),
    };
    format!(
        "{:.0} tasks/s need {} agents that are busy to {:.0} %; {coordinator}",
        needed.target_per_s,
        needed.agents,
        needed.utilisation * 100.0
    )
}

fn levels(plan: &CapacityPlan, style: &Style) -> String {
    let rows = plan
        .levels
        .iter()
        .map(|level| vec![Cell::text(&level.name), number(level.kept_to_per_s, 0), number(level.broken_at_per_s, 0)]);
    table::cells(&["service level", "kept to, tasks/s", "broken at"], rows, style)
}
