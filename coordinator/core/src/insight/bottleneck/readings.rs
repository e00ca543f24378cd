//! What can hold the fleet up at one moment, and whether anything suffers from it.
//!
//! A threshold that is passed is not enough: slots that are all in use while nobody waits are a fleet well used.

use evenkeel_shared::Kind;

use crate::insight::{
    metric::{Metric, Subject},
    pools::Pool,
    sample::{GroupSample, LimitSample},
    thresholds::{FOR_DEFAULT, Threshold, Thresholds},
};

/// Something that can hold up, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What is measured.
    pub metric: Metric,
    /// Of what.
    pub subject: Subject,
    /// How much.
    pub value: f64,
    /// What it is held against.
    pub threshold: Threshold,
    /// Something suffers from it, if it is past the threshold.
    pub suffered: bool,
}

/// What the fleet can be held up by, besides what is read off its series.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Thresholds in force.
    pub thresholds: &'a Thresholds,
    /// The newest values of the fleet, in the order of [`Metric::ALL`].
    pub fleet: &'a [Option<f64>],
    /// Pools by label.
    pub pools: &'a [Pool],
    /// Kinds that are waited for and that no connected agent takes.
    pub untaken: &'a [&'a GroupSample],
    /// Declared limits.
    pub limits: &'a [LimitSample],
}

/// What can hold the fleet up, and whether it does.
#[must_use]
pub fn readings(of: &Surroundings<'_>) -> Vec<Reading> {
    let value = |metric: Metric| of.fleet.get(metric as usize).copied().flatten();
    let waits = value(Metric::Queued).is_some_and(|queued| queued > 0.0);
    let mut readings = Vec::new();
    // Waiting times and lengths of queues are what is suffered, not what it is suffered from.
    let fleet = [
        (Metric::Utilisation, waits),
        (Metric::Cpu, true),
        (Metric::Memory, true),
        (Metric::AgentsDown, true),
        (Metric::ErrorRate, true),
        (Metric::CommitMs, true),
        (Metric::EngineBusy, true),
    ];
    for (metric, suffered) in fleet {
        if let (Some(value), Some(threshold)) = (value(metric), of.thresholds.get(metric)) {
            readings.push(Reading { metric, subject: Subject::Fleet, value, threshold: *threshold, suffered });
        }
    }
    if let Some(threshold) = of.thresholds.get(Metric::Utilisation).filter(|_| of.pools.len() > 1) {
        readings.extend(of.pools.iter().map(|pool| Reading {
            metric: Metric::Utilisation,
            subject: Subject::Pool(pool.name.clone()),
            value: pool.utilisation(),
            threshold: *threshold,
            suffered: pool.queued >= 1.0,
        }));
    }
    readings.extend(of.untaken.iter().filter_map(|kind| {
        let subject = Subject::Kind(Kind::new(&kind.name).ok()?);
        Some(Reading { metric: Metric::Agents, subject, value: 0.0, threshold: NO_AGENT, suffered: true })
    }));
    let busy = of.thresholds.get(Metric::Utilisation).map_or(1.0, |threshold| threshold.warning);
    let room = value(Metric::Utilisation).is_some_and(|used| used < busy);
    readings.extend(of.limits.iter().filter(|limit| limit.waiting > 0 || limit.closed).map(|limit| Reading {
        metric: Metric::Queued,
        subject: Subject::Limit(limit.name.clone()),
        value: limit.waiting as f64,
        threshold: waiting_under(limit),
        suffered: room && limit.closed && limit.waiting > 0,
    }));
    readings
}

/// A kind that is waited for has an agent, or all of it is held up.
const NO_AGENT: Threshold = Threshold {
    metric: Metric::Agents,
    warning: 1.0,
    critical: 0.0,
    for_ms: FOR_DEFAULT.as_millis() as u64,
    below: true,
};

/// A limit throttles; that is what it is for. It holds up once as many wait as may run, and badly at ten times that.
fn waiting_under(limit: &LimitSample) -> Threshold {
    let usual = f64::from(limit.concurrency_max.max(1));
    Threshold {
        metric: Metric::Queued,
        warning: usual,
        critical: 10.0 * usual,
        for_ms: FOR_DEFAULT.as_millis() as u64,
        below: false,
    }
}
