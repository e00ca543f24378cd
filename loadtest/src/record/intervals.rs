//! Latencies by second: what makes an interval of confidence within one run possible.
//!
//! A whole run's histogram cannot tell whether its p99 was always like that or is the work of one bad second, so the
//! histograms of all tasks are kept by second too. They are kept as lists of the values that occurred, since a second has
//! few and a histogram has room for all. The number of intervals is bounded: a run that has more joins them in pairs, so a
//! long soak has intervals of minutes.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{Histograms, Phase, Slice};

/// Intervals of a run at most; beyond, they are joined in pairs. Ten minutes of seconds, and enough to draw.
pub const INTERVALS_MAX: usize = 600;

/// The values that occurred, in microseconds, with how often; in order.
pub type Sparse = Vec<(u64, u64)>;

/// A stretch of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// Its start, in seconds since the start of the run.
    pub from_s: f64,
    /// Its length, in seconds.
    pub length_s: f64,
    /// What all tasks took that were recorded in it.
    pub values: BTreeMap<Phase, Sparse>,
}

impl Interval {
    fn join(&mut self, later: &Self) {
        self.length_s += later.length_s;
        for (phase, values) in &later.values {
            let own = self.values.entry(*phase).or_default();
            *own = merged(own, values);
        }
    }
}

/// The intervals of a run, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intervals {
    done: Vec<Interval>,
    /// Stretches that go into one interval; 0 as 1.
    stride: u32,
    /// Stretches that the last interval has.
    in_last: u32,
}

impl Intervals {
    /// Adds a stretch, in the order of time.
    pub fn push(&mut self, from_s: f64, length_s: f64, histograms: &Histograms) {
        let phases = Phase::ALL.into_iter();
        let values = phases.filter_map(|phase| Some((phase, sparse(histograms.get(&Slice::All, phase)?)))).collect();
        self.add(Interval { from_s, length_s, values });
    }

    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> &[Interval] {
        &self.done
    }

    fn add(&mut self, interval: Interval) {
        let stride = self.stride.max(1);
        match self.done.last_mut() {
            Some(last) if self.in_last < stride => {
                last.join(&interval);
                self.in_last += 1;
            }
            _ => {
                if self.done.len() >= INTERVALS_MAX {
                    self.join_pairs();
                    self.stride = stride * 2;
                }
                self.done.push(interval);
                self.in_last = 1;
            }
        }
    }

    fn join_pairs(&mut self) {
        let done = std::mem::take(&mut self.done);
        for pair in done.chunks(2) {
            let mut joined = pair[0].clone();
            pair[1..].iter().for_each(|later| joined.join(later));
            self.done.push(joined);
        }
    }

    /// Intervals as they were read.
    pub(super) fn of(done: Vec<Interval>) -> Self {
        Self { done, stride: 1, in_last: 1 }
    }
}

/// What a histogram holds.
pub(super) fn sparse(us: &Histogram<u64>) -> Sparse {
    us.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
}

/// Two lists as one.
fn merged(left: &Sparse, right: &Sparse) -> Sparse {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) if l.0 <= r.0 => left.next(),
            (_, Some(_)) => right.next(),
            (_, None) => left.next(),
        };
        match (next, all.last_mut()) {
            (None, _) => return all,
            (Some((value, count)), Some((last, sum))) if *last == value => *sum += count,
            (Some(pair), _) => all.push(pair),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(ms: &[u64]) -> Histograms {
        let mut histograms = Histograms::default();
        ms.iter().for_each(|ms| histograms.record(&Slice::All, Phase::EndToEnd, ms * 1_000));
        histograms
    }

    fn count(intervals: &Intervals) -> u64 {
        let values = intervals.all().iter().filter_map(|interval| interval.values.get(&Phase::EndToEnd));
        values.flatten().map(|(_, count)| count).sum()
    }

    #[test]
    fn lists_are_joined_in_order_and_equal_values_are_added() {
        assert_eq!(merged(&vec![(1, 1), (5, 2)], &vec![(0, 1), (5, 3), (9, 1)]), [(0, 1), (1, 1), (5, 5), (9, 1)]);
        assert_eq!(merged(&vec![], &vec![(3, 1)]), [(3, 1)]);
        assert_eq!(merged(&vec![(3, 1)], &vec![]), [(3, 1)]);
    }

    #[test]
    fn a_long_run_has_longer_intervals_and_loses_nothing() {
        let mut intervals = Intervals::default();
        let seconds = INTERVALS_MAX * 3 + 1;
        for at in 0..seconds {
            intervals.push(at as f64, 1.0, &second(&[1, at as u64 % 7]));
        }
        assert!(intervals.all().len() <= INTERVALS_MAX, "{}", intervals.all().len());
        assert_eq!(count(&intervals), 2 * seconds as u64);
        let mut at_s = 0.0;
        for interval in intervals.all() {
            assert!((interval.from_s - at_s).abs() < 1e-9, "a gap before {} s", interval.from_s);
            at_s += interval.length_s;
        }
        assert!((at_s - seconds as f64).abs() < 1e-9);
    }
}
