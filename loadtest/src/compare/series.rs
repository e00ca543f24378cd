//! A run as a series of stretches, metric by metric.

use std::collections::BTreeMap;

use super::metric::{LATENCIES, Metric, Quantile};
use crate::record::{Interval, KeptRun, Phase, RunRecord, Slice, Sparse, Window};

/// Stretches of a run at most: longer runs are cut into longer stretches, which carry less memory of each other anyway.
const STRETCHES_MAX: usize = 120;

/// What is compared of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Counts by stretch.
    pub windows: Vec<Counts>,
    /// Latencies by stretch, of each phase; empty if they were not kept.
    pub latencies: BTreeMap<Phase, Vec<Sparse>>,
    /// Values of the whole run.
    pub whole: Vec<(Metric, f64)>,
}

/// What happened in a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub length_s: f64,
    pub completed: f64,
    /// Processor time, and the tasks completed while it was known.
    pub cpu_s: f64,
    pub cpu_tasks: f64,
    /// Resident memory times time, and the time.
    pub memory_mib_s: f64,
    pub memory_s: f64,
}

impl Counts {
    fn of(window: &Window) -> Self {
        let cpu_s = window.coordinator_cpu_cores.map(|cores| cores * window.length_s);
        let memory = window.coordinator_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
        Self {
            length_s: window.length_s,
            completed: window.completed as f64,
            cpu_s: cpu_s.unwrap_or(0.0),
            cpu_tasks: if cpu_s.is_some() { window.completed as f64 } else { 0.0 },
            memory_mib_s: memory.unwrap_or(0.0) * window.length_s,
            memory_s: if memory.is_some() { window.length_s } else { 0.0 },
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.length_s += other.length_s;
        self.completed += other.completed;
        self.cpu_s += other.cpu_s;
        self.cpu_tasks += other.cpu_tasks;
        self.memory_mib_s += other.memory_mib_s;
        self.memory_s += other.memory_s;
    }

    /// The value of a metric that is a ratio of counts; not a number if it was not measured.
    pub(super) fn value(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Throughput => self.completed / self.length_s,
            Metric::CpuPerTask => self.cpu_s / self.cpu_tasks * 1e6,
            Metric::Memory => self.memory_mib_s / self.memory_s,
            Metric::Latency(..) => f64::NAN,
        }
    }
}

impl Series {
    pub(super) fn of(run: &KeptRun) -> Self {
        let record = &run.record;
        let windows: Vec<Counts> = under_load(record).map(Counts::of).collect();
        let windows = joined(&windows, |into, other| into.add(other));
        let intervals = run.histograms.as_ref().map_or(&[][..], |histograms| histograms.intervals());
        let within = |interval: &&Interval| interval.from_s < record.scenario.duration_s;
        let of_phase = |phase: Phase| {
            let values = intervals.iter().filter(within).map(|at| at.values.get(&phase).cloned().unwrap_or_default());
            (phase, joined(&values.collect::<Vec<_>>(), |into: &mut Sparse, other| into.extend(other)))
        };
        let latencies = LATENCIES.into_iter().map(|(phase, _)| of_phase(phase)).filter(|(_, all)| !all.is_empty());
        let whole = Metric::all().into_iter().filter_map(|metric| Some((metric, value(record, metric)?)));
        Self { windows, latencies: latencies.collect(), whole: whole.collect() }
    }

    pub(super) fn whole(&self, metric: Metric) -> Option<f64> {
        self.whole.iter().find(|(found, _)| *found == metric).map(|(_, value)| *value)
    }
}

/// The stretches in which tasks were due: the drain at the end has a length of its own in each run.
fn under_load(record: &RunRecord) -> impl Iterator<Item = &Window> {
    let end_s = record.scenario.duration_s + 0.5;
    record.windows.iter().filter(move |window| window.at_s <= end_s && window.length_s > 0.0)
}

/// The value of a metric of a whole run; only those that are above zero can be compared by ratios.
pub(super) fn value(record: &RunRecord, metric: Metric) -> Option<f64> {
    let value = if let Metric::Latency(phase, quantile) = metric {
        let of_phase = |latency: &&crate::record::SliceLatency| latency.slice == Slice::All && latency.phase == phase;
        let latency = record.latency_ms.iter().find(of_phase)?.latency;
        match quantile {
            Quantile::P50 => latency.p50,
            Quantile::P90 => latency.p90,
            Quantile::P99 => latency.p99,
            Quantile::P999 => latency.p999,
        }
    } else {
        let mut all = Counts::default();
        under_load(record).for_each(|window| all.add(&Counts::of(window)));
        all.value(metric)
    };
    (value.is_finite() && value > 0.0).then_some(value)
}

fn joined<T: Clone>(stretches: &[T], join: impl Fn(&mut T, &T)) -> Vec<T> {
    let size = stretches.len().div_ceil(STRETCHES_MAX).max(1);
    let one = |chunk: &[T]| {
        let mut whole = chunk[0].clone();
        chunk[1..].iter().for_each(|other| join(&mut whole, other));
        whole
    };
    stretches.chunks(size).map(one).collect()
}
