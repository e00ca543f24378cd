//! Histograms of latencies, one for each slice of the tasks and phase of their life.

use std::collections::{BTreeMap, btree_map::Iter};

use hdrhistogram::Histogram;

use super::{Interval, Intervals, Phase, Slice, SliceLatency};
use crate::report::Latency;

/// Significant decimal digits that a histogram keeps: an error below 0.1 %.
const DIGITS: u8 = 3;
/// What is recorded of anything longer, an hour: histograms are of bounded size.
const LONGEST_US: u64 = 3_600_000_000;

/// Histograms in microseconds, of a stretch or of a whole run; that of a run knows its stretches.
#[derive(Clone, Debug, Default)]
pub struct Histograms {
    whole: BTreeMap<(Slice, Phase), Histogram<u64>>,
    intervals: Intervals,
}

impl Histograms {
    /// Records one task.
    pub fn record(&mut self, slice: &Slice, phase: Phase, us: u64) {
        let key = (slice.clone(), phase);
        self.whole.entry(key).or_insert_with(empty).saturating_record(us.min(LONGEST_US));
    }

    /// The histogram of a phase of some tasks, if there were any.
    #[must_use]
    pub fn get(&self, slice: &Slice, phase: Phase) -> Option<&Histogram<u64>> {
        self.whole.get(&(slice.clone(), phase))
    }

    /// Takes over what others recorded, without a place in time.
    pub fn add(&mut self, others: &Self) {
        for (key, other) in &others.whole {
            self.insert(key.clone(), other);
        }
    }

    /// Takes over what was recorded in a stretch of the run, and remembers the stretch: comparisons need latencies by
    /// second. Stretches come in the order of time.
    pub fn add_interval(&mut self, from_s: f64, length_s: f64, stretch: &Self) {
        self.add(stretch);
        self.intervals.push(from_s, length_s, stretch);
    }

    /// All histograms in order.
    pub fn iter(&self) -> Iter<'_, (Slice, Phase), Histogram<u64>> {
        self.whole.iter()
    }

    /// What all tasks took by stretch, in the order of time; empty unless they were added by
    /// [`add_interval`](Self::add_interval).
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        self.intervals.all()
    }

    /// Percentiles of each histogram, in order.
    #[must_use]
    pub fn latencies(&self) -> Vec<SliceLatency> {
        let latency = |((slice, phase), us): (&(Slice, Phase), &Histogram<u64>)| SliceLatency {
            slice: slice.clone(),
            phase: *phase,
            count: us.len(),
            latency: Latency::of(us),
        };
        self.whole.iter().map(latency).collect()
    }

    /// Histograms as they were read.
    pub(super) fn of(whole: Vec<((Slice, Phase), Histogram<u64>)>, intervals: Vec<Interval>) -> Self {
        let mut histograms = Self { intervals: Intervals::of(intervals), ..Self::default() };
        for (key, us) in whole {
            histograms.insert(key, &us);
        }
        histograms
    }

    fn insert(&mut self, key: (Slice, Phase), us: &Histogram<u64>) {
        let own = self.whole.entry(key).or_insert_with(empty);
        // All are recorded with the same bounds, and a file's values are within them or are cut to them.
        if own.add(us).is_err() {
            for value in us.iter_recorded() {
                own.saturating_record_n(value.value_iterated_to().min(LONGEST_US), value.count_at_value());
            }
        }
    }
}

/// A histogram without values.
pub(super) fn empty() -> Histogram<u64> {
    // Digits and bounds are constants that are in range; a histogram of the default form is the same but for its size.
    Histogram::new_with_max(LONGEST_US, DIGITS)
        .unwrap_or_else(|_| unreachable!("the bounds of histograms are constants"))
}
