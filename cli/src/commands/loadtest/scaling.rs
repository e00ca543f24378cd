//! `evenkeel loadtest simulate-scaling`: scaling policies over a day, beside an oracle that knows it.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_core::capacity::{Policy, TEMPLATES, Template};
use evenkeel_loadtest::scaling::{DayShape, ScalingError, ScalingPlan, ScalingReport, simulate};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity, signals,
};

/// The name that stands for every template.
const ALL: &str = "all";

/// Arguments of `loadtest simulate-scaling`. It needs no coordinator and touches none.
#[derive(Clone, Debug, Args)]
pub struct SimulateScalingArgs {
    /// Template to try, or `all` (may be repeated) [default: all, or none if there is a --policy]
    #[arg(long, value_name = "NAME")]
    template: Vec<String>,
    /// A policy of one's own to try, as JSON: docs/scaling.md shows one (may be repeated)
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// The day: `smooth` (up in the morning, down in the evening) or `busy` (the same with noise and spikes)
    #[arg(long, value_name = "SHAPE", default_value = "busy")]
    day: DayShape,
    /// A recorded history instead (CSV, see `loadtest trace`)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["day", "tasks_per_s", "service"])]
    trace: Option<PathBuf>,
    /// Tasks a second, mean over the day
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    tasks_per_s: f64,
    /// How long they run, mean (exponentially distributed)
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "8s")]
    service: Duration,
    /// Slots of an agent
    #[arg(long, value_name = "N", default_value_t = 4)]
    slots: u32,
    /// Agents at most: bounds of policies are raised to it
    #[arg(long, value_name = "N", default_value_t = 100)]
    agents_max: u32,
    /// From which the day is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

impl SimulateScalingArgs {
    fn policies(&self) -> Result<Vec<Policy>, CliError> {
        let all = self.template.iter().any(|name| name == ALL) || (self.template.is_empty() && self.policy.is_empty());
        let named: Vec<Policy> = match all {
            true => TEMPLATES.iter().map(Template::policy).collect(),
            false => self.template.iter().map(|name| template(name)).collect::<Result<_, _>>()?,
        };
        let own = self.policy.iter().map(|path| {
            let text = fs::read_to_string(path).map_err(|error| {
                CliError::usage(format!("cannot read the policy {}", path.display())).because(error)
            })?;
            serde_json::from_str(&text)
                .map_err(|error| CliError::usage(format!("{} is no policy", path.display())).because(error))
        });
        named.into_iter().map(Ok).chain(own).collect()
    }

    fn plan(self) -> Result<ScalingPlan, CliError> {
        Ok(ScalingPlan {
            policies: self.policies()?,
            day: self.day,
            rate_per_s: self.tasks_per_s,
            service_s: self.service.as_secs_f64(),
            slots: self.slots,
            agents_max: self.agents_max,
            seed: self.seed,
            trace: self.trace,
        })
    }
}

fn template(name: &str) -> Result<Policy, CliError> {
    let names = || TEMPLATES.iter().map(|template| template.name).collect::<Vec<_>>().join(", ");
    let template = Template::named(name);
    template
        .map(Template::policy)
        .ok_or_else(|| CliError::usage(format!("there is no template `{name}`; there are {} and all", names())))
}

impl Show for ScalingReport {
    fn show(&self, _style: &Style) -> String {
        self.to_string()
    }
}

/// Simulates.
///
/// # Errors
/// If the plan cannot be carried out.
pub async fn run(args: SimulateScalingArgs, global: &Global) -> Outcome {
    let interrupted = signals::shutdown()?;
    let plan = args.plan()?;
    let simulation = tokio::task::spawn_blocking(move || {
        let bar = ProgressBar::with_draw_target(Some(plan.policies.len() as u64), ProgressDrawTarget::stderr());
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

fn failed(error: ScalingError) -> CliError {
    CliError::new(Exit::Usage, "the simulation came to no result").because(error)
}
