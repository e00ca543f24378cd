//! Runs the steps of a sweep, one after another.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{CapacityPlan, Rates, Search, Step, analyse};
use crate::{
    drive::{self, ScenarioPlan},
    error::LoadtestError,
    plan::Target,
    progress::Progress,
    scenario::{Churn, Curve, Process, Scenario},
    task_time::TaskTime,
};

/// A step has to be long enough for a p99.
const STEP_MIN: Duration = Duration::from_secs(3);
/// Fleets beside the whole one that show what an agent costs, as shares of it.
const OTHER_FLEETS: [f64; 1] = [0.25];

/// A sweep over rates.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Its fleet, work and service levels; its rate, curve, faults and change are not used.
    pub scenario: Scenario,
    /// Where the coordinator is; one of its own is started for each step.
    pub target: Target,
    /// Which rates.
    pub rates: Rates,
    /// How long tasks arrive in each step.
    pub step_duration: Duration,
    /// What agents are asked for.
    pub target_rate_per_s: Option<f64>,
    /// Of each step.
    pub seed: u64,
    /// Cancelled to end the sweep after what it has.
    pub interrupted: CancellationToken,
}

/// Runs a sweep; `progress` is asked for what shows each step, and `told` hears of each that is over.
///
/// # Errors
/// The scenario cannot be swept, or a run came to no verdict.
pub async fn sweep(
    plan: &Sweep,
    progress: impl Fn() -> Arc<dyn Progress>,
    told: impl Fn(&Step),
) -> Result<CapacityPlan, LoadtestError> {
    check(plan)?;
    let search = Search::new(plan.rates, fleet_per_s(&plan.scenario));
    let mut steps = Vec::new();
    while let Some(rate) = search.next(&steps) {
        let Some(step) = one(plan, rate, plan.scenario.fleet.agents, progress()).await? else { break };
        told(&step);
        steps.push(step);
    }
    let mut others = Vec::new();
    for share in OTHER_FLEETS {
        let agents = (f64::from(plan.scenario.fleet.agents) * share).round() as u32;
        // A rate that the smaller fleet is not busy with.
        let rate = steps.first().map(|step: &Step| step.rate_per_s * share);
        let (Some(rate), 1..) = (rate, agents) else { continue };
        if let Some(step) = one(plan, rate, agents, progress()).await? {
            told(&step);
            others.push(step);
        }
    }
    Ok(analyse(&plan.scenario.name, &steps, &others, plan.target_rate_per_s))
}

fn check(plan: &Sweep) -> Result<(), LoadtestError> {
    let wrong = |what: String| Err(LoadtestError::Plan { what });
    if let Process::Trace { .. } | Process::Sessions { .. } = plan.scenario.arrivals.process {
        let name = &plan.scenario.name;
        return wrong(format!("scenario {name} has no rate to vary; a sweep needs arrivals of kind poisson or bursts"));
    }
    if plan.step_duration < STEP_MIN {
        return wrong(format!(
            "a step of {} s is too short; at least {} s",
            plan.step_duration.as_secs_f64(),
            STEP_MIN.as_secs()
        ));
    }
    if plan.target_rate_per_s.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return wrong("the target rate has to be above 0".to_owned());
    }
    Ok(())
}

/// A run with constant arrivals; none if it was interrupted.
async fn one(plan: &Sweep, rate: f64, agents: u32, progress: Arc<dyn Progress>) -> Result<Option<Step>, LoadtestError> {
    let run = ScenarioPlan {
        seed: plan.seed,
        interrupted: plan.interrupted.clone(),
        ..ScenarioPlan::new(constant(&plan.scenario, rate, agents, plan.step_duration), plan.target.clone())
    };
    let ran = drive::run(&run, progress).await?;
    Ok((!ran.interrupted).then(|| Step::of(rate, &ran.record, &ran.histograms)))
}

/// The scenario without everything that changes over time.
fn constant(scenario: &Scenario, rate: f64, agents: u32, duration: Duration) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.arrivals.rate_per_s = rate;
    scenario.arrivals.curve = Curve::default();
    scenario.arrivals.spikes.clear();
    scenario.fleet.agents = agents;
    scenario.fleet.curve = Curve::default();
    scenario.fleet.churn = Churn::default();
    scenario.network.agent_breaks_per_minute = 0.0;
    scenario.network.client_breaks_per_minute = 0.0;
    scenario.faults.clear();
    scenario.change = None;
    scenario.webhook = None;
    for level in &mut scenario.levels {
        (level.stops_run, level.rolls_back) = (false, false);
        // A level that would only be judged after the end of a short step is judged in its second half.
        level.from_s = level.from_s.min(duration.as_secs_f64() / 2.0);
        level.grace_s = level.grace_s.min(duration.as_secs_f64() / 4.0);
    }
    scenario.duration_s = duration.as_secs_f64();
    scenario
}

/// What the fleet could do if it were never idle, roughly: follow-up tasks count, and specialists as all others.
fn fleet_per_s(scenario: &Scenario) -> f64 {
    let mean = |time: TaskTime| match time {
        TaskTime::Fixed(time) | TaskTime::Exponential(time) => time.as_secs_f64(),
        TaskTime::Uniform(low, high) => f64::midpoint(low.as_secs_f64(), high.as_secs_f64()),
    };
    let weights: f64 = scenario.work.iter().map(|work| work.weight).sum();
    let of_work = |work: &crate::scenario::Work| {
        let follow_up = work.escalation.as_ref().map_or(0.0, |next| next.share * mean(next.time));
        work.weight * (mean(work.time) + follow_up)
    };
    let seconds = scenario.work.iter().map(of_work).sum::<f64>() / weights.max(f64::EPSILON);
    let slots = f64::from(scenario.fleet.agents) * f64::from(scenario.fleet.slots);
    slots / seconds.max(1e-4)
}
