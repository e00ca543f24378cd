//! What runs are compared by.

use serde::{Serialize, Serializer};

use crate::record::Phase;

/// What runs are compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Tasks completed in a second.
    Throughput,
    /// A quantile of a phase, all tasks.
    Latency(Phase, Quantile),
    /// Processor time of the coordinator for each completed task.
    CpuPerTask,
    /// Resident memory of the coordinator, on average over the run.
    Memory,
}

/// A share of the tasks that took at most so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// Half.
    P50,
    /// 90 %.
    P90,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
}

impl Quantile {
    /// 0 to 1.
    #[must_use]
    pub const fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
        }
    }
}

/// The quantiles of each phase that are compared.
pub(super) const LATENCIES: [(Phase, &[Quantile]); 3] = [
    (Phase::EndToEnd, &[Quantile::P50, Quantile::P90, Quantile::P99, Quantile::P999]),
    (Phase::Queueing, &[Quantile::P50, Quantile::P99]),
    (Phase::Acceptance, &[Quantile::P50, Quantile::P99]),
];

impl Metric {
    /// All, in the order in which they are shown.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let of_phase =
            |(phase, quantiles): (Phase, &'static [Quantile])| quantiles.iter().map(move |q| Self::Latency(phase, *q));
        let latencies = LATENCIES.into_iter().flat_map(of_phase);
        [Self::Throughput].into_iter().chain(latencies).chain([Self::CpuPerTask, Self::Memory]).collect()
    }

    /// Its name in tables and in JSON.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Throughput => "throughput".to_owned(),
            Self::Latency(phase, quantile) => format!("{} {}", phase.name(), quantile.name()),
            Self::CpuPerTask => "cpu per task".to_owned(),
            Self::Memory => "memory".to_owned(),
        }
    }

    /// Of its values.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Throughput => "tasks/s",
            Self::Latency(..) => "ms",
            Self::CpuPerTask => "us",
            Self::Memory => "MiB",
        }
    }

    /// Whether a larger value is good news.
    #[must_use]
    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Throughput)
    }

    /// The relative change that matters. Tails get more: a user who would notice 5 % at the median does not at the 99.9th
    /// percentile; memory is taken in steps by the allocator.
    #[must_use]
    pub const fn threshold(self) -> f64 {
        match self {
            Self::Throughput | Self::CpuPerTask | Self::Latency(_, Quantile::P50 | Quantile::P90) => 0.05,
            Self::Latency(_, Quantile::P99) | Self::Memory => 0.10,
            Self::Latency(_, Quantile::P999) => 0.20,
        }
    }

    /// The absolute change that matters, in the unit of the metric: a tenth of a millisecond is within what a scheduler
    /// does to a process, whatever the share.
    #[must_use]
    pub const fn floor(self) -> f64 {
        match self {
            Self::Latency(..) => 0.1,
            Self::Throughput | Self::CpuPerTask | Self::Memory => 0.0,
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}
