//! Response times and what can be said of them.
//!
//! Successive response times hang together, so their number says little about how sure a mean is. The tasks of each seed are
//! cut into batches that are long against the memory of the queue; means and percentiles of batches are nearly independent, and
//! their scatter gives the interval. A ratio to the central queue is taken batch by batch: both see the same tasks, and what
//! made a batch hard for one made it hard for the other.

use evenkeel_core::replay::quantile;
use serde::Serialize;

/// Batches of a seed: as many as can be, with a hundred thousand tasks or so to each of the usual two million.
pub(super) const BATCHES: usize = 20;

/// An estimate and half the width of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// It is this sure, either way.
    pub plus_minus: f64,
}

impl Estimate {
    /// The mean of nearly independent values.
    pub(super) fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let value = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        // Student's t at 97.5 % for 19 degrees of freedom and more, to 1 %.
        let t = 1.96 + 2.5 / (count - 1.0).max(1.0);
        Self { value, plus_minus: t * (variance / count).sqrt() }
    }
}

/// Response times of the measured tasks of a seed, in mean service times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// Mean waiting time before the start.
    pub wait: f64,
    /// Mean and p99 of each batch.
    pub batches: Vec<(f64, f64)>,
}

impl Figures {
    /// Of these, in the order of submission. At least one for each batch.
    pub fn of(mut responses: Vec<f32>, wait: f64) -> Self {
        let batch_len = (responses.len() / BATCHES).max(1);
        let batches = responses.chunks_mut(batch_len).take(BATCHES).map(|batch| (mean(batch), quantile(batch, 0.99)));
        let batches = batches.collect();
        Self {
            mean: mean(&responses),
            p50: quantile(&mut responses, 0.5),
            p99: quantile(&mut responses, 0.99),
            p999: quantile(&mut responses, 0.999),
            max: quantile(&mut responses, 1.0),
            wait,
            batches,
        }
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let mut values: Vec<f32> = (1..=1_000).rev().map(|n| n as f32).collect();
        let taken = [0.5, 0.99, 0.999, 1.0, 0.0].map(|share| quantile(&mut values, share));
        assert_eq!(taken, [500.0, 990.0, 999.0, 1_000.0, 1.0]);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }

    #[test]
    fn the_interval_is_that_of_the_mean_of_independent_values() {
        let estimate = Estimate::of(&[1.0, 3.0].repeat(50));
        // The deviation is 1.005, of the mean a tenth of that.
        assert!((estimate.value - 2.0).abs() < 1e-9 && (estimate.plus_minus - 0.2).abs() < 0.01, "{estimate:?}");
    }
}
