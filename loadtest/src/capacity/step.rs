//! One rate, as it was measured.

use serde::Serialize;

use super::{COMPLETED_SHARE_MIN, ERROR_SHARE_MAX, P99_FACTOR_MAX};
use crate::record::{Histograms, Phase, RunRecord, Slice};

/// The start of a step that is not looked at: the fleet has gathered, queues and caches have not.
const WARM_UP_SHARE: f64 = 0.2;

/// One rate, as it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// Of the arrivals, as planned.
    pub rate_per_s: f64,
    /// Tasks that were due, follow-ups included.
    pub offered_per_s: f64,
    /// Tasks that succeeded.
    pub completed_per_s: f64,
    /// Refused or failed, as a share of those offered.
    pub error_share: f64,
    /// End to end.
    pub p50_ms: f64,
    /// End to end.
    pub p99_ms: f64,
    /// Mean time of an execution.
    pub execution_ms: f64,
    /// The fleet.
    pub agents: u32,
    /// Of the whole fleet.
    pub slots: u32,
    /// Share of the slots that work, from rate and execution time.
    pub utilisation: f64,
    /// Processor time of the coordinator, in cores, where it is known.
    pub cpu_cores: Option<f64>,
    /// Processor time of the harness, in cores.
    pub harness_cpu_cores: Option<f64>,
    /// Resident memory of the coordinator on average.
    pub memory_mib: Option<f64>,
    /// Processors of the machine.
    pub cpus: u32,
    /// Each service level of the scenario.
    pub levels: Vec<LevelKept>,
}

/// A service level in a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelKept {
    /// Its name.
    pub name: String,
    /// Whether it was kept.
    pub kept: bool,
}

impl Step {
    /// What a run at this rate found.
    #[must_use]
    pub fn of(rate_per_s: f64, record: &RunRecord, histograms: &Histograms) -> Self {
        let scenario = &record.scenario;
        let (from_s, to_s) = (scenario.duration_s * WARM_UP_SHARE, scenario.duration_s + 0.5);
        let windows: Vec<_> = record.windows.iter().filter(|one| one.at_s > from_s + 0.5 && one.at_s <= to_s).collect();
        let seconds = windows.iter().map(|one| one.length_s).sum::<f64>().max(f64::EPSILON);
        let count = |of: fn(&crate::record::Window) -> u64| windows.iter().map(|one| of(one)).sum::<u64>() as f64;
        let mean = |of: fn(&crate::record::Window) -> Option<f64>| {
            let values: Vec<f64> = windows.iter().filter_map(|one| of(one)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let execution = histograms.get(&Slice::All, Phase::Execution);
        let execution_ms = execution.map_or(0.0, |us| us.mean() / 1e3);
        let (offered, completed) = (count(|one| one.offered), count(|one| one.completed));
        let slots = scenario.fleet.agents.saturating_mul(scenario.fleet.slots);
        let (p50_ms, p99_ms) = end_to_end(histograms, from_s, to_s);
        Self {
            rate_per_s,
            offered_per_s: offered / seconds,
            completed_per_s: completed / seconds,
            error_share: count(|one| one.refused + one.failed) / offered.max(1.0),
            p50_ms,
            p99_ms,
            execution_ms,
            agents: scenario.fleet.agents,
            slots,
            utilisation: completed / seconds * execution_ms / 1e3 / f64::from(slots.max(1)),
            cpu_cores: mean(|one| one.coordinator_cpu_cores),
            harness_cpu_cores: mean(|one| one.harness_cpu_cores),
            memory_mib: mean(|one| one.coordinator_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20))),
            cpus: record.machine.cpus,
            levels: record
                .levels
                .iter()
                .map(|outcome| LevelKept { name: outcome.level.name.clone(), kept: outcome.kept })
                .collect(),
        }
    }

    /// Whether the rate is carried, compared with the p99 of the lowest rate.
    #[must_use]
    pub fn is_sustained(&self, p99_low_ms: f64) -> bool {
        self.completed_per_s >= COMPLETED_SHARE_MIN * self.offered_per_s
            && self.error_share <= ERROR_SHARE_MAX
            && self.p99_ms <= P99_FACTOR_MAX * p99_low_ms
    }
}

/// Median and p99 of the tasks that ended in that time; of all of the run, if it is not known when they did.
fn end_to_end(histograms: &Histograms, from_s: f64, to_s: f64) -> (f64, f64) {
    let within = histograms.intervals().iter().filter(|one| one.from_s >= from_s - 0.5 && one.from_s < to_s);
    let mut values: Vec<(u64, u64)> =
        within.filter_map(|one| one.values.get(&Phase::EndToEnd)).flatten().copied().collect();
    values.sort_unstable();
    let total: u64 = values.iter().map(|(_, count)| count).sum();
    let quantile = |share: f64| {
        let wanted = (share * total as f64).ceil() as u64;
        let mut seen = 0;
        let found = values.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0.0, |(us, _)| *us as f64 / 1e3)
    };
    if total > 0 {
        return (quantile(0.5), quantile(0.99));
    }
    let us = histograms.get(&Slice::All, Phase::EndToEnd);
    us.map_or((0.0, 0.0), |us| (us.value_at_quantile(0.5) as f64 / 1e3, us.value_at_quantile(0.99) as f64 / 1e3))
}
