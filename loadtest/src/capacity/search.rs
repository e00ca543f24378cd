//! Which rate is tried next.

use std::str::FromStr;

use super::Step;

/// Rates tried at most: a sweep has an end.
pub const STEPS_MAX: usize = 14;
/// The gap between the largest rate that is sustained and the smallest that is not, when it is small enough.
const GAP_MAX: f64 = 1.08;
/// The share of what the fleet could do at most that an automatic sweep begins with.
const FIRST_SHARE: f64 = 0.1;
/// From a rate to the next while all are sustained.
const GROWTH: f64 = 2.0;

/// Which rates are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rates {
    /// From a tenth of what the fleet could do at most.
    #[default]
    Auto,
    /// From the first to the second at most.
    Range(f64, f64),
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let wrong = || format!("`{text}` is no range of rates; write auto, or LOW..HIGH such as 100..2000");
        let (low, high) = text.split_once("..").ok_or_else(wrong)?;
        let rate = |text: &str| text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
        match (rate(low), rate(high)) {
            (Some(low), Some(high)) if low < high => Ok(Self::Range(low, high)),
            _ => Err(wrong()),
        }
    }
}

/// The search for the knee.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    first: f64,
    last: f64,
}

impl Search {
    /// A search over these rates, of a fleet that could do so much if it were never idle.
    #[must_use]
    pub fn new(rates: Rates, fleet_per_s: f64) -> Self {
        match rates {
            // Beyond twice what the fleet can do nothing is left to be found.
            Rates::Auto => Self { first: (fleet_per_s * FIRST_SHARE).max(1.0), last: (fleet_per_s * 2.0).max(2.0) },
            Rates::Range(first, last) => Self { first, last },
        }
    }

    /// The rate to try after these steps; none when the knee is found or the range is at its end.
    #[must_use]
    pub fn next(&self, steps: &[Step]) -> Option<f64> {
        let Some(first) = steps.first() else { return Some(self.first) };
        if steps.len() >= STEPS_MAX {
            return None;
        }
        match bracket(steps, first.p99_ms) {
            // Nothing is carried, not even the first.
            (None, _) => None,
            (Some(sustained), Some(broken)) if broken <= sustained * GAP_MAX => None,
            (Some(sustained), Some(broken)) => Some((sustained * broken).sqrt()),
            (Some(sustained), None) if sustained >= self.last => None,
            (Some(sustained), None) => Some((sustained * GROWTH).min(self.last)),
        }
    }
}

/// The largest rate below which all are sustained, and the smallest that is not.
pub(super) fn bracket(steps: &[Step], p99_low_ms: f64) -> (Option<f64>, Option<f64>) {
    let rates = |sustained: bool| {
        steps.iter().filter(move |step| step.is_sustained(p99_low_ms) == sustained).map(|step| step.rate_per_s)
    };
    let broken = rates(false).reduce(f64::min);
    // A rate above one that is not sustained may pass by luck; it counts for nothing.
    let sustained = rates(true).filter(|rate| broken.is_none_or(|broken| *rate < broken)).reduce(f64::max);
    (sustained, broken)
}
