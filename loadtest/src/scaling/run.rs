//! One policy after the other over the same day.

use std::time::Duration;

use evenkeel_core::capacity::{Action, Hold, Meter, Policy, Scaler};
use evenkeel_shared::Timestamp;

use super::{
    day::Day,
    fleet::{Fleet, FleetShape},
    oracle,
    plan::{LENGTH_S_MAX, ScalingError, ScalingPlan},
    report::{ScalingReport, ScalingRow},
};
use crate::trace::Trace;

/// The simulated day begins here.
const BEGIN: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

/// Carries the plan out. `over` is told how many policies are done.
///
/// # Errors
/// If the plan cannot be carried out.
pub fn simulate(plan: &ScalingPlan, over: &dyn Fn(u64)) -> Result<ScalingReport, ScalingError> {
    plan.check()?;
    let day = day(plan)?;
    let mut rows = Vec::with_capacity(plan.policies.len());
    for (done, policy) in (1..).zip(&plan.policies) {
        rows.push(row(&day, plan.slots, plan.bounded(policy)));
        over(done);
    }
    Ok(ScalingReport::new(plan.clone(), &day, rows))
}

fn day(plan: &ScalingPlan) -> Result<Day, ScalingError> {
    let Some(path) = &plan.trace else {
        return Ok(Day::generate(plan.day, plan.rate_per_s, plan.service(), plan.seed));
    };
    let day = Day::recorded(&Trace::read(path)?);
    match day.length_s {
        0 => Err(ScalingError::TraceEmpty),
        length if length > LENGTH_S_MAX => Err(ScalingError::TraceLong { days: length / 86_400 }),
        _ => Ok(day),
    }
}

/// One policy over the day.
#[must_use]
pub fn row(day: &Day, slots: u32, policy: Policy) -> ScalingRow {
    let shape = FleetShape {
        slots,
        start_up_s: policy.start_up_ms as f64 / 1_000.0,
        wait_max_s: policy.wait_target_ms as f64 / 1_000.0,
    };
    let begun = begin_with(day, slots, &policy);
    let (mut fleet, mut meter, mut scaler) = (Fleet::new(shape, begun), Meter::default(), Scaler::new(policy));
    let (mut next, mut second) = (0, 0);
    let mut directions = Vec::new();
    while second < day.length_s || !fleet.is_idle() {
        let end = next + day.tasks[next..].partition_point(|task| task.at_s < (second + 1) as f64);
        fleet.pass(second, &day.tasks[next..end]);
        next = end;
        let action = turn(second, &mut fleet, &mut meter, &mut scaler);
        if action != Action::None {
            directions.push(action);
        }
        second += 1;
    }
    let policy = scaler.policy();
    let oracle_hours = oracle::agent_hours(day, slots, shape.wait_max_s, shape.start_up_s, policy.agents_min);
    ScalingRow::new(policy, &shape, day, fleet.sums(), &directions, scaler.effect(), oracle_hours)
}

/// As many agents as the first minutes want, so that no policy is judged by the beginning.
fn begin_with(day: &Day, slots: u32, policy: &Policy) -> u32 {
    const FIRST_S: f64 = 600.0;
    let first = day.tasks.iter().take_while(|task| task.at_s < FIRST_S);
    let work_s: f64 = first.map(|task| task.service_s).sum();
    let length_s = FIRST_S.min(day.length_s as f64).max(1.0);
    let agents = work_s / length_s / f64::from(slots) / policy.target();
    policy.bounded(agents.ceil() as u32).max(u32::from(work_s > 0.0))
}

/// One look at the fleet, as the coordinator's manager has one each second: one change at a time, and a scale-down is called off if
/// more are wanted.
fn turn(second: u64, fleet: &mut Fleet, meter: &mut Meter, scaler: &mut Scaler) -> Action {
    let now = BEGIN.plus(Duration::from_secs(second + 1));
    let load = meter.observe(now, fleet.observe(second), fleet.starting(), None);
    let hold = (load.starting > 0).then_some(Hold::InFlight);
    let verdict = scaler.decide(now, &load, hold);
    match verdict.action {
        Action::Up => fleet.grow(second, verdict.wanted - verdict.agents),
        Action::Down if load.draining == 0 => fleet.shrink(verdict.agents - verdict.wanted),
        _ => return Action::None,
    }
    scaler.changed(now, verdict.agents, verdict.wanted);
    verdict.action
}
