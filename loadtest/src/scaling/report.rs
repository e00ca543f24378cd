//! What the policies came to.

use std::fmt;

use evenkeel_core::capacity::{Action, Effect, Policy};
use serde::Serialize;

use super::{
    day::Day,
    fleet::{FleetShape, Sums},
    plan::ScalingPlan,
};

/// Policies over the same day.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingReport {
    /// What was simulated.
    pub plan: ScalingPlan,
    /// Tasks of the day.
    pub tasks: u64,
    /// Its length.
    pub length_s: u64,
    /// Its work, in hours of a slot.
    pub work_hours: f64,
    /// One policy each, in the plan's order.
    pub rows: Vec<ScalingRow>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingRow {
    /// Its name.
    pub policy: String,
    /// Its thresholds.
    pub scale_up_percent: u32,
    /// Below this it shrinks.
    pub scale_down_percent: u32,
    /// What its agents are like.
    pub fleet: FleetShape,
    /// Changes of the fleet's size.
    pub changes: u64,
    /// How often one went against the one before, per hour.
    pub turns_per_hour: f64,
    /// The same, within half an hour of the one before: what the day itself does not ask for.
    pub reversals_per_hour: f64,
    /// Share of tasks that waited for too long.
    pub missed_share: f64,
    /// Mean wait, in seconds.
    pub wait_mean_s: f64,
    /// Agents times hours.
    pub agent_hours: f64,
    /// Of the oracle.
    pub oracle_agent_hours: f64,
    /// The one over the other.
    pub over_oracle: f64,
    /// Work over what the agents' slots could have done.
    pub utilisation: f64,
    /// The most agents at a time.
    pub agents_max: u32,
    /// The mark that the policy gives itself, 0 to 100.
    pub effectiveness: f64,
}

impl ScalingReport {
    pub(super) fn new(plan: ScalingPlan, day: &Day, rows: Vec<ScalingRow>) -> Self {
        let (tasks, length_s) = (day.tasks.len() as u64, day.length_s);
        Self { plan, tasks, length_s, work_hours: day.work_s() / 3_600.0, rows }
    }
}

impl ScalingRow {
    pub(super) fn new(
        policy: &Policy,
        fleet: &FleetShape,
        day: &Day,
        sums: Sums,
        directions: &[Action],
        effect: &Effect,
        oracle_agent_hours: f64,
    ) -> Self {
        let hours = (day.length_s as f64 / 3_600.0).max(1e-9);
        let turns = directions.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let tasks = sums.tasks.max(1) as f64;
        let agent_hours = sums.agent_s / 3_600.0;
        let over = |whole: f64| if whole > 0.0 { agent_hours / whole } else { 0.0 };
        Self {
            policy: policy.name.clone(),
            scale_up_percent: policy.scale_up_percent,
            scale_down_percent: policy.scale_down_percent,
            fleet: *fleet,
            changes: directions.len() as u64,
            turns_per_hour: turns as f64 / hours,
            reversals_per_hour: f64::from(effect.reversals) / hours,
            missed_share: sums.missed as f64 / tasks,
            wait_mean_s: sums.waited_s / tasks,
            agent_hours,
            oracle_agent_hours,
            over_oracle: over(oracle_agent_hours),
            utilisation: day.work_s() / (sums.agent_s * f64::from(fleet.slots)).max(1e-9),
            agents_max: sums.agents_max,
            effectiveness: effect.percent().unwrap_or_default(),
        }
    }
}

impl fmt::Display for ScalingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScalingPlan { day, slots, seed, trace, .. } = &self.plan;
        let source = match trace {
            Some(path) => format!("recorded in {}", path.display()),
            None => format!("a {day} day, seed {seed}"),
        };
        let hours = self.length_s as f64 / 3_600.0;
        writeln!(
            f,
            "{} tasks in {hours:.1} h ({source}), {:.1} h of work, agents of {slots} slots.",
            self.tasks, self.work_hours
        )?;
        writeln!(f, "A miss: a task that waited for longer than the policy's wait target.\n")?;
        write!(
            f,
            "{:<21} {:>6} {:>8} {:>7} {:>7} {:>7} {:>9} {:>7} {:>7} {:>7} {:>7} {:>5} {:>4} {:>5}",
            "policy",
            "up/dn",
            "start-up",
            "wait",
            "changes",
            "turns/h",
            "rev/h",
            "misses",
            "waited",
            "agent-h",
            "oracle",
            "ratio",
            "busy",
            "mark"
        )?;
        for row in &self.rows {
            write!(f, "\n{row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ScalingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<21} {:>6} {:>6} s {:>5} s {:>7} {:>7.2} {:>9.2} {:>5.2} % {:>5.2} s {:>7.1} {:>7.1} {:>5.2} {:>4.2} {:>5.0}",
            self.policy,
            format!("{}/{}", self.scale_up_percent, self.scale_down_percent),
            self.fleet.start_up_s,
            self.fleet.wait_max_s,
            self.changes,
            self.turns_per_hour,
            self.reversals_per_hour,
            self.missed_share * 100.0,
            self.wait_mean_s,
            self.agent_hours,
            self.oracle_agent_hours,
            self.over_oracle,
            self.utilisation,
            self.effectiveness,
        )
    }
}
