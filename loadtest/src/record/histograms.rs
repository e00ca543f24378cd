//! Histograms of latencies, one for each slice of the tasks and phase of their life.

use std::collections::{BTreeMap, btree_map::Iter};

use hdrhistogram::Histogram;

use super::{Phase, Slice, SliceLatency};
use crate::report::Latency;

/// Significant decimal digits that a histogram keeps: an error below 0.1 %.
const DIGITS: u8 = 3;
/// What is recorded of anything longer, an hour: histograms are of bounded size.
const LONGEST_US: u64 = 3_600_000_000;

/// Histograms in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histograms(BTreeMap<(Slice, Phase), Histogram<u64>>);

impl Histograms {
    /// Records one task.
    pub fn record(&mut self, slice: &Slice, phase: Phase, us: u64) {
        let key = (slice.clone(), phase);
        self.0.entry(key).or_insert_with(empty).saturating_record(us.min(LONGEST_US));
    }

    /// The histogram of a phase of some tasks, if there were any.
    #[must_use]
    pub fn get(&self, slice: &Slice, phase: Phase) -> Option<&Histogram<u64>> {
        self.0.get(&(slice.clone(), phase))
    }

    /// Takes over what others recorded.
    pub fn add(&mut self, others: &Self) {
        for (key, other) in &others.0 {
            let own = self.0.entry(key.clone()).or_insert_with(empty);
            // Both are of the same form, so nothing can be out of range.
            let _ = own.add(other);
        }
    }

    /// All histograms in order.
    pub fn iter(&self) -> Iter<'_, (Slice, Phase), Histogram<u64>> {
        self.0.iter()
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
        self.0.iter().map(latency).collect()
    }
}

fn empty() -> Histogram<u64> {
    // Digits and bounds are constants that are in range; a histogram of the default form is the same but for its size.
    Histogram::new_with_max(LONGEST_US, DIGITS)
        .unwrap_or_else(|_| unreachable!("the bounds of histograms are constants"))
}
