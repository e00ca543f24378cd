//! `evenkeel loadtest simulate-scaling`: scaling policies over a day, beside an oracle that knows it.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use evenkeel_coordinator::services::resource::read_policy;
use evenkeel_core::capacity::{Policy, TEMPLATES, Template};
use evenkeel_loadtest::scaling::{DayShape, ScalingError, ScalingPlan, ScalingReport, simulate};
use indicatif::{ProgressBar, ProgressDrawTarget};

use super::simulated;
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, scaling::PolicyView, table::Style},
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
    /// A policy of one's own to try, as `scaling policy get -o json` prints it (may be repeated)
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
            read(&text).map_err(|why| {
                let hint = "write it as `evenkeel scaling policy get -o json` prints it";
                CliError::usage(format!("{} is no policy", path.display())).because(why).hint(hint)
            })
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

/// A policy as it is printed, or as settings and the store have it.
fn read(text: &str) -> Result<Policy, String> {
    if let Ok(policy) = serde_json::from_str(text) {
        return Ok(policy);
    }
    let printed: PolicyView = serde_json::from_str(text).map_err(|error| error.to_string())?;
    read_policy(printed.try_into()?).map_err(|violation| violation.to_string())
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
    simulated(simulation, failed, &interrupted, global).await
}

fn failed(error: ScalingError) -> CliError {
    CliError::new(Exit::Usage, "the simulation came to no result").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_can_be_tried_as_it_is_printed_and_as_it_is_stored() {
        let stored = Template::named("web-balanced").unwrap().policy();
        assert_eq!(read(&serde_json::to_string(&stored).unwrap()), Ok(stored.clone()));
        let printed = r#"{"name":"mine","template":"web-balanced","version":7,"agents_min":2,"agents_max":9,
            "up":{"stabilisation_ms":0,"step_agents_max":0,"step_percent_max":50,"period_ms":1000,"cooldown_ms":0},
            "stored_unix_ms":1795276400000,"effectiveness":81.5}"#;
        let read_back = read(printed).unwrap();
        assert_eq!((read_back.name.as_str(), read_back.agents_min, read_back.agents_max), ("mine", 2, 9));
        assert_eq!((read_back.up.step_agents_max, read_back.up.step_percent_max), (None, Some(50)));
        assert_eq!((read_back.down, read_back.metrics), (stored.down, stored.metrics), "the rest is its template's");
    }

    #[test]
    fn what_is_no_policy_is_named() {
        let unknown = read("{\"agent_max\":9}").unwrap_err();
        assert!(unknown.contains("agent_max"), "{unknown}");
        let nowhere = read("{\"template\":\"web-balance\"}").unwrap_err();
        assert!(nowhere.contains("web-balanced"), "{nowhere}");
    }
}
