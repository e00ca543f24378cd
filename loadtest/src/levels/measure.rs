//! What a measure is in one window, and over a whole run.

use std::{collections::VecDeque, fmt};

use hdrhistogram::Histogram;

use super::{Measure, ServiceLevel};
use crate::record::{Histograms, Phase, Slice, Window};

/// Windows over which the completed share is taken. Shorter, and the length of the tasks would show in it.
const SHARE_SPAN_S: f64 = 10.0;
/// A throughput is not read off a window shorter than this: a handful of tasks more or less would decide.
const THROUGHPUT_WINDOW_MIN_S: f64 = 0.5;
const MIB: f64 = 1_048_576.0;

impl Measure {
    /// Whether it goes from 0 to 1.
    pub(super) const fn is_share(&self) -> bool {
        matches!(self, Self::Compliance { .. } | Self::Availability | Self::ErrorRate)
    }

    /// Whether it is taken from histograms of latencies.
    pub(super) const fn is_latency(&self) -> bool {
        matches!(self, Self::Compliance { .. } | Self::Percentile { .. })
    }

    /// A value of it, with its unit.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        match self {
            // Three decimals of a per cent tell five nines from four.
            Self::Compliance { .. } | Self::Availability | Self::ErrorRate | Self::CompletedShare => {
                format!("{} %", short(value * 100.0, 3))
            }
            Self::Percentile { .. } => format!("{} ms", short(value, 1)),
            Self::Throughput => format!("{}/s", short(value, 1)),
            Self::CoordinatorCpuCores => format!("{} cores", short(value, 2)),
            Self::CoordinatorMemoryMib => format!("{} MiB", short(value, 1)),
            Self::QueueDepth => format!("{} tasks", short(value, 0)),
        }
    }
}

/// A number with so many decimals at most, and no zeros at the end.
fn short(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compliance { phase, within_ms } => write!(f, "share with {} within {within_ms} ms", name(*phase)),
            Self::Percentile { phase, percent } => write!(f, "p{percent} of {}", name(*phase)),
            Self::Availability => f.write_str("availability"),
            Self::ErrorRate => f.write_str("error rate"),
            Self::Throughput => f.write_str("throughput"),
            Self::CompletedShare => f.write_str("completed share"),
            Self::CoordinatorCpuCores => f.write_str("coordinator's processor time"),
            Self::CoordinatorMemoryMib => f.write_str("coordinator's memory"),
            Self::QueueDepth => f.write_str("queue depth"),
        }
    }
}

const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Acceptance => "acceptance",
        Phase::Queueing => "queueing",
        Phase::Execution => "execution",
        Phase::EndToEnd => "end to end",
    }
}

impl ServiceLevel {
    /// Its limits, with their unit: "at most 100 ms".
    #[must_use]
    pub fn limits(&self) -> String {
        let part = |word, limit: Option<f64>| limit.map(|limit| format!("{word} {}", self.measure.show(limit)));
        [part("at least", self.at_least), part("at most", self.at_most)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" and ")
    }

    /// Which tasks it is about.
    pub(super) fn slice(&self) -> Slice {
        match (&self.work, self.priority) {
            (Some(work), _) => Slice::Work(work.clone()),
            (None, Some(priority)) => Slice::Priority(priority),
            (None, None) => Slice::All,
        }
    }

    /// How far a value is outside; 0 or less is within.
    pub(super) fn outside_by(&self, value: f64) -> f64 {
        let above = self.at_most.map_or(f64::NEG_INFINITY, |limit| value - limit);
        let below = self.at_least.map_or(f64::NEG_INFINITY, |limit| limit - value);
        above.max(below)
    }
}

/// What windows tell together that one alone does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Length, offered and completed of the last windows.
    recent: VecDeque<(f64, u64, u64)>,
    acceptance: Stall,
    end: Stall,
}

/// A stretch in which tasks were out, and of none it was heard.
#[derive(Clone, Copy, Debug, Default)]
struct Stall {
    out: u64,
    length_s: f64,
}

impl Stall {
    /// Tasks that were out when the window began and of which none was heard in it have waited at least so long.
    fn add(&mut self, window: &Window, heard: u64) {
        self.length_s = if self.out > 0 && heard == 0 { self.length_s + window.length_s } else { 0.0 };
        self.out = (self.out + window.offered).saturating_sub(heard);
    }
}

impl Past {
    /// Takes a window into account; once, before it is judged.
    pub(super) fn add(&mut self, window: &Window) {
        self.acceptance.add(window, window.accepted + window.refused);
        self.end.add(window, window.completed + window.failed + window.refused);
        self.recent.push_back((window.length_s, window.offered, window.completed));
        let span = |recent: &VecDeque<(f64, u64, u64)>| recent.iter().map(|(length, ..)| length).sum::<f64>();
        // The oldest goes as long as the others are a full span without it.
        while self.recent.front().is_some_and(|(length, ..)| span(&self.recent) - length >= SHARE_SPAN_S * 0.99) {
            self.recent.pop_front();
        }
    }

    /// Completed as a share of offered, once a full span was seen.
    fn completed_share(&self) -> Option<f64> {
        let sum = self.recent.iter().fold((0.0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
        let (span_s, offered, completed) = sum;
        (span_s >= SHARE_SPAN_S * 0.99 && offered > 0).then(|| completed as f64 / offered as f64)
    }

    /// What is known of a latency of which nothing was recorded: a lower bound.
    fn stalled_ms(&self, phase: Phase) -> f64 {
        let stall = match phase {
            Phase::Acceptance => self.acceptance,
            Phase::EndToEnd => self.end,
            // That none ended does not say that none started, nor that one runs.
            Phase::Queueing | Phase::Execution => Stall::default(),
        };
        stall.length_s * 1e3
    }
}

/// The value of a level in one window; none if nothing can be said.
pub(super) fn of_window(
    level: &ServiceLevel,
    window: &Window,
    seen: &Histograms,
    past: &Past,
    drain: bool,
) -> Option<f64> {
    let slice = level.slice();
    let tasks = |phase| seen.get(&slice, phase).filter(|us| !us.is_empty());
    let stalled_ms = |phase| if slice == Slice::All { past.stalled_ms(phase) } else { 0.0 };
    match level.measure {
        Measure::Compliance { phase, within_ms } => match tasks(phase) {
            Some(us) => Some(within(us, within_ms) as f64 / us.len() as f64),
            None => (stalled_ms(phase) > within_ms).then_some(0.0),
        },
        Measure::Percentile { phase, percent } => match tasks(phase) {
            Some(us) => Some(percentile_ms(us, percent)),
            None => Some(stalled_ms(phase)).filter(|&ms| level.at_most.is_some_and(|limit| ms > limit)),
        },
        Measure::Availability => Some(if window.available { 1.0 } else { 0.0 }),
        Measure::ErrorRate => {
            let errors = window.refused + window.failed;
            // Tasks may fail in a second that offers none.
            let of = window.offered.max(errors);
            (of > 0).then(|| errors as f64 / of as f64)
        }
        Measure::Throughput => {
            let long_enough = window.length_s >= THROUGHPUT_WINDOW_MIN_S;
            (long_enough && !drain).then(|| window.completed as f64 / window.length_s)
        }
        Measure::CompletedShare => past.completed_share().filter(|_| !drain),
        Measure::CoordinatorCpuCores => window.coordinator_cpu_cores,
        Measure::CoordinatorMemoryMib => window.coordinator_memory_bytes.map(|bytes| bytes as f64 / MIB),
        Measure::QueueDepth => window.available.then_some(window.queue_depth as f64),
    }
}

fn within(us: &Histogram<u64>, limit_ms: f64) -> u64 {
    us.count_between(0, (limit_ms * 1e3) as u64)
}

fn percentile_ms(us: &Histogram<u64>, percent: f64) -> f64 {
    us.value_at_quantile(percent / 100.0) as f64 / 1e3
}

/// The value of a level over the windows that were judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    part: f64,
    of: f64,
    /// Of a percentile.
    us: Option<Histogram<u64>>,
}

impl Whole {
    /// Adds a window that is judged.
    pub(super) fn add(&mut self, level: &ServiceLevel, window: &Window, seen: &Histograms, drain: bool) {
        let tasks = |phase| seen.get(&level.slice(), phase);
        let length_s = window.length_s;
        match level.measure {
            Measure::Compliance { phase, within_ms } => {
                if let Some(us) = tasks(phase) {
                    self.ratio(within(us, within_ms) as f64, us.len() as f64);
                }
            }
            Measure::Percentile { phase, .. } => match (tasks(phase), &mut self.us) {
                (Some(us), Some(sum)) => {
                    // All are of the same form, so nothing can be out of range.
                    let _ = sum.add(us);
                }
                (Some(us), none) => *none = Some(us.clone()),
                (None, _) => {}
            },
            Measure::Availability => self.ratio(if window.available { length_s } else { 0.0 }, length_s),
            Measure::ErrorRate => self.ratio((window.refused + window.failed) as f64, window.offered as f64),
            Measure::Throughput if drain => {}
            Measure::Throughput => self.ratio(window.completed as f64, length_s),
            Measure::CompletedShare => self.ratio(window.completed as f64, window.offered as f64),
            Measure::CoordinatorCpuCores => self.mean(window.coordinator_cpu_cores, length_s),
            Measure::CoordinatorMemoryMib => {
                self.mean(window.coordinator_memory_bytes.map(|bytes| bytes as f64 / MIB), length_s);
            }
            Measure::QueueDepth => self.mean(window.available.then_some(window.queue_depth as f64), length_s),
        }
    }

    /// Adds tasks of which no window tells: without an end, or an unknown one.
    pub(super) fn add_endless(&mut self, level: &ServiceLevel, tasks: u64) {
        if level.measure == Measure::ErrorRate {
            self.part += tasks as f64;
        }
    }

    /// The value, if there was anything to measure.
    pub(super) fn value(&self, level: &ServiceLevel) -> Option<f64> {
        match level.measure {
            Measure::Percentile { percent, .. } => self.us.as_ref().map(|us| percentile_ms(us, percent)),
            Measure::ErrorRate => (self.part + self.of > 0.0).then(|| self.part / self.of.max(self.part)),
            _ => (self.of > 0.0).then(|| self.part / self.of),
        }
    }

    fn ratio(&mut self, part: f64, of: f64) {
        self.part += part;
        self.of += of;
    }

    fn mean(&mut self, value: Option<f64>, length_s: f64) {
        if let Some(value) = value {
            self.ratio(value * length_s, length_s);
        }
    }
}
