//! How strained the fleet is: one number over all metrics that a policy weighs.
//!
//! Each metric is put into per cent of its normaliser, at most [`METRIC_PERCENT_MAX`], and the score is their mean by weight;
//! weights need not add up to anything. Without a normaliser of its own a metric is measured by what the fleet itself can
//! do, because a fixed number would be right for one kind of work alone:
//!
//! | metric | 100 per cent |
//! |---|---|
//! | `cpu`, `memory` | all of it |
//! | `utilisation` | as many slots are asked for as there are |
//! | `request_rate` | as many tasks come as the agents' slots can run in the time that tasks take |
//! | `response_time` | tasks take twice as long as they run; 0 per cent: they do not wait at all |
//! | `error_rate` | one attempt in five fails |
//!
//! The score is of the agents that work. For [`projected`] numbers of agents it is taken to go down as they go up, which is
//! true of shared load and too hopeful of errors; so it can make the fleet grow by no more than the excess of the score.

use serde::{Deserialize, Serialize};

use super::{
    demand::{Demand, Load},
    policy::{MetricWeight, Policy, ScalingMetric},
};

/// A metric counts for at most so much: one that has gone astray may be heard, but not alone.
const METRIC_PERCENT_MAX: f64 = 200.0;
/// Share of failed attempts that counts as 100 per cent.
const ERROR_SHARE_FULL: f64 = 0.2;

/// One metric of a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredMetric {
    /// Which.
    pub metric: ScalingMetric,
    /// As measured, in the metric's unit.
    pub value: f64,
    /// In per cent of its normaliser.
    pub percent: f64,
    /// Its weight.
    pub weight: f64,
}

/// How strained the fleet is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Per cent; 0 without agents or weights.
    pub percent: f64,
    /// What it is made of.
    pub metrics: Vec<ScoredMetric>,
}

impl Score {
    /// The score of `load`, whose demand is `demand`.
    #[must_use]
    pub fn of(policy: &Policy, load: &Load, demand: &Demand) -> Self {
        if load.agents == 0 {
            // There is nobody who could be strained; demand alone decides.
            return Self::default();
        }
        let metrics: Vec<_> = policy.metrics.iter().map(|weight| scored(weight, load, demand)).collect();
        let weights: f64 = metrics.iter().map(|metric| metric.weight).sum();
        let sum: f64 = metrics.iter().map(|metric| metric.percent * metric.weight).sum();
        Self { percent: if weights > 0.0 { sum / weights } else { 0.0 }, metrics }
    }

    /// The metric that adds most to it.
    #[must_use]
    pub fn foremost(&self) -> Option<ScoredMetric> {
        let part = |metric: &ScoredMetric| metric.percent * metric.weight;
        self.metrics.iter().copied().max_by(|a, b| part(a).total_cmp(&part(b)))
    }
}

fn scored(weight: &MetricWeight, load: &Load, demand: &Demand) -> ScoredMetric {
    let (value, measured) = measure(weight.metric, load, demand);
    let share = weight.normaliser.map_or(measured, |normaliser| value / normaliser);
    let percent = (share * 100.0).clamp(0.0, METRIC_PERCENT_MAX);
    ScoredMetric { metric: weight.metric, value, percent, weight: weight.weight }
}

/// The value, and what share it is of what the fleet can do.
fn measure(metric: ScalingMetric, load: &Load, demand: &Demand) -> (f64, f64) {
    let agents = f64::from(load.agents.max(1));
    let service_s = load.service_mean.unwrap_or_default().as_secs_f64();
    match metric {
        ScalingMetric::Cpu => (load.cpu_share, load.cpu_share),
        ScalingMetric::Memory => (load.memory_share, load.memory_share),
        ScalingMetric::Utilisation => (demand.utilisation, demand.utilisation),
        ScalingMetric::RequestRate => {
            let rate = load.arrivals_per_s / agents;
            (rate, rate * service_s / load.slots_each())
        }
        ScalingMetric::ResponseTime => {
            let response_s = load.response_mean.as_secs_f64();
            let share = if service_s > 0.0 { (response_s / service_s - 1.0).max(0.0) } else { 0.0 };
            (response_s * 1_000.0, share)
        }
        ScalingMetric::ErrorRate => (load.error_share, load.error_share / ERROR_SHARE_FULL),
    }
}

/// The score that `agents` would have instead of those that have it now.
#[must_use]
pub fn projected(percent: f64, load: &Load, agents: u32) -> f64 {
    percent * f64::from(load.agents) / f64::from(agents.max(1))
}
