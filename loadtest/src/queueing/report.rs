//! What the simulation came to.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    figures::{Estimate, Figures},
    plan::QueueingPlan,
    run::Outcome,
};

/// The strategies beside the central queue, on the same tasks. Times are in mean service times.
#[derive(Clone, Debug, Serialize)]
pub struct QueueingReport {
    /// What was simulated.
    pub plan: QueueingPlan,
    /// One queue before all slots.
    pub central: Contender,
    /// The engine with each strategy, in the plan's order.
    pub strategies: Vec<Contender>,
    /// What it took this machine. All else is the same for the same plan, to the byte.
    pub host: HostTime,
}

/// How the tasks fared with one contender. Percentiles are means over seeds, the maximum is that of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    /// Mean response time.
    pub mean: Estimate,
    /// Half of the tasks are answered within this time.
    pub p50: f64,
    /// 99 % are: estimated from batches, so it may differ a little from that of all tasks taken together, in `p99_all`.
    pub p99: Estimate,
    /// 99 % of all measured tasks of a seed are.
    pub p99_all: f64,
    /// 99.9 % are.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// Mean time before the start.
    pub wait: f64,
    /// Mean response over that of the central queue, batch by batch.
    pub mean_ratio: Option<Estimate>,
    /// The same of the p99.
    pub p99_ratio: Option<Estimate>,
    /// Work done over work that could have been, while tasks arrived.
    pub utilisation: f64,
    /// Share of slot time in use: lower than the utilisation where fast agents get more than their part.
    pub busy: f64,
    /// The engine handled so many events.
    pub events: u64,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HostTime {
    /// From begin to end.
    pub wall_s: f64,
    /// Tasks of all seeds and contenders, the central queue included.
    pub tasks: u64,
    /// Of those, a second.
    pub tasks_per_s: f64,
}

impl HostTime {
    pub(super) fn new(wall: Duration, tasks: u64) -> Self {
        let wall_s = wall.as_secs_f64();
        Self { wall_s, tasks, tasks_per_s: tasks as f64 / wall_s.max(1e-9) }
    }
}

impl QueueingReport {
    pub(super) fn new(plan: QueueingPlan, central: &[Outcome], engine: Vec<Vec<Outcome>>, host: HostTime) -> Self {
        let named = plan.strategies.iter().map(|strategy| strategy.name()).zip(&engine);
        let strategies = named.map(|(name, outcomes)| Contender::of(name, outcomes, Some(central))).collect();
        Self { central: Contender::of("central queue", central, None), strategies, host, plan }
    }
}

impl Contender {
    /// Of one outcome for each seed.
    fn of(name: &'static str, outcomes: &[Outcome], central: Option<&[Outcome]>) -> Self {
        let over = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64;
        let batches = |value: fn(&(f64, f64)) -> f64| {
            Estimate::of(&outcomes.iter().flat_map(|it| it.figures.batches.iter().map(value)).collect::<Vec<_>>())
        };
        let ratio = |value: fn(&(f64, f64)) -> f64| {
            let pairs = central?.iter().zip(outcomes).flat_map(|(central, outcome)| {
                let (below, above) = (&central.figures.batches, &outcome.figures.batches);
                above.iter().zip(below).map(move |(above, below)| value(above) / value(below))
            });
            Some(Estimate::of(&pairs.collect::<Vec<_>>()))
        };
        let figure = |value: fn(&Figures) -> f64| over(&|outcome| value(&outcome.figures));
        Self {
            name,
            mean: batches(|batch| batch.0),
            p50: figure(|it| it.p50),
            p99: batches(|batch| batch.1),
            p99_all: figure(|it| it.p99),
            p999: figure(|it| it.p999),
            max: outcomes.iter().map(|outcome| outcome.figures.max).fold(0.0, f64::max),
            wait: figure(|it| it.wait),
            mean_ratio: ratio(|batch| batch.0),
            p99_ratio: ratio(|batch| batch.1),
            utilisation: over(&|outcome| outcome.utilisation),
            busy: over(&|outcome| outcome.busy),
            events: outcomes.iter().map(|outcome| outcome.events).sum(),
        }
    }
}

impl fmt::Display for QueueingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueueingPlan {
            agents, slots, service, rho, heartbeat_age, speed_spread, tasks, warm_up, seed, seeds, ..
        } = &self.plan;
        writeln!(
            f,
            "{agents} agents of {slots} slots, service {service}, utilisation {rho}, speeds 1 to {speed_spread}, heartbeats {heartbeat_age} old;"
        )?;
        writeln!(f, "{tasks} tasks a seed, {warm_up} of them to warm up, seeds {seed} to {}.", seed + seeds - 1)?;
        writeln!(f, "Response times in mean service times; +- is half of a 95 % interval, from batches.\n")?;
        writeln!(
            f,
            "{:<16} {:>15} {:>7} {:>15} {:>8} {:>9} {:>7} {:>6} {:>17} {:>17}",
            "", "mean", "p50", "p99", "p99.9", "max", "wait", "busy", "mean : central", "p99 : central"
        )?;
        for contender in std::iter::once(&self.central).chain(&self.strategies) {
            writeln!(f, "{contender}")?;
        }
        let HostTime { wall_s, tasks, tasks_per_s } = self.host;
        write!(f, "\n{tasks} tasks in {wall_s:.1} s, {tasks_per_s:.0} a second.")
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let estimate = |it: Estimate| format!("{:.3} +- {:.3}", it.value, it.plus_minus);
        let ratio = |it: Option<Estimate>| it.map(|it| format!("{:.4} +- {:.4}", it.value, it.plus_minus));
        write!(
            f,
            "{:<16} {:>15} {:>7.3} {:>15} {:>8.2} {:>9.1} {:>7.3} {:>6.3} {:>17} {:>17}",
            self.name,
            estimate(self.mean),
            self.p50,
            estimate(self.p99),
            self.p999,
            self.max,
            self.wait,
            self.busy,
            ratio(self.mean_ratio).unwrap_or_default(),
            ratio(self.p99_ratio).unwrap_or_default(),
        )
    }
}
