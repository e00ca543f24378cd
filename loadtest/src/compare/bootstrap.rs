//! The standard error of a statistic by resampling.

use fastrand::Rng;

/// Replicates: the error of a standard error from so many is 2 %.
#[cfg(not(test))]
pub(super) const REPLICATES: u32 = 1_000;
/// Tests compare hundreds of pairs.
#[cfg(test)]
pub(super) const REPLICATES: u32 = 150;
/// Every comparison draws from the same seed, so it can be repeated.
const SEED: u64 = 0x6576_656e_6b65_656c;

/// How a sample is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    /// Observations of A and of B.
    pub counts: (usize, usize),
    /// Neighbours that are drawn together.
    pub block: usize,
    /// The same observations of both: they have been made under the same conditions.
    pub paired: bool,
}

/// Standard errors of the statistics of resampled observations, corrected for the size of the sample; none for one that
/// cannot be computed of every sample.
pub(super) fn standard_errors(
    draw: Draw,
    statistics: usize,
    mut of: impl FnMut(&[usize], &[usize], &mut [f64]),
) -> Vec<Option<f64>> {
    let mut rng = Rng::with_seed(SEED);
    let mut moments = vec![(0.0, 0.0); statistics];
    let mut values = vec![0.0; statistics];
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for replicate in 1..=REPLICATES {
        sample(&mut rng, draw.counts.0, draw.block, &mut a);
        if !draw.paired {
            sample(&mut rng, draw.counts.1, draw.block, &mut b);
        }
        of(&a, if draw.paired { &a } else { &b }, &mut values);
        for ((mean, squares), value) in moments.iter_mut().zip(&values) {
            // Welford's recurrence.
            let before = value - *mean;
            *mean += before / f64::from(replicate);
            *squares += before * (value - *mean);
        }
    }
    // Blocks vary around the mean of the sample instead of the true one, which takes their share from the variance.
    let seen = 1.0 - draw.block as f64 / draw.counts.0.min(draw.counts.1) as f64;
    let error = |(_, squares): (f64, f64)| {
        let error = (squares / f64::from(REPLICATES - 1) / seen).sqrt();
        error.is_finite().then_some(error)
    };
    moments.into_iter().map(error).collect()
}

/// Draws as many as there are, in blocks that may begin anywhere and go on at the start after the end: each observation
/// is as likely as any other (Politis and Romano's circular blocks).
fn sample(rng: &mut Rng, count: usize, block: usize, into: &mut Vec<usize>) {
    into.clear();
    while into.len() < count {
        let start = rng.usize(0..count);
        let length = block.min(count - into.len());
        into.extend((start..start + length).map(|at| at % count));
    }
}

/// The length of a block for a series: the optimum for one in which each value keeps a share of the one before
/// (Politis and White, with the autocorrelation of an AR(1)), at least the cube root of its length, at most a quarter.
pub(super) fn block_length(series: &[f64]) -> usize {
    let count = series.len() as f64;
    let least = count.cbrt();
    let memory = memory(series).min(0.99);
    let best = (6.0_f64.sqrt() * memory / (1.0 - memory * memory)).powf(2.0 / 3.0) * count.cbrt();
    let most = (count / 4.0).max(1.0);
    best.max(least).min(most).round() as usize
}

/// The share of a value that the next one keeps. The noise of each value hides it from neighbours, and less so from
/// those that are further apart, so the longest memory that any of the first three shows counts.
fn memory(series: &[f64]) -> f64 {
    let mean = series.iter().sum::<f64>() / series.len() as f64;
    let variance: f64 = series.iter().map(|value| (value - mean).powi(2)).sum();
    let at = |distance: usize| {
        let pairs = series.iter().zip(series.iter().skip(distance));
        let shared: f64 = pairs.map(|(value, later)| (value - mean) * (later - mean)).sum();
        (shared / variance).max(0.0).powf(1.0 / distance as f64)
    };
    // `max` passes over what is not a number: the memory of a series that does not change is 0.
    (1..=3).map(at).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::example::normal;

    /// Each value keeps `memory` of the one before; the variance is 1.
    fn series(rng: &mut Rng, count: usize, memory: f64) -> Vec<f64> {
        let mut value = normal(rng);
        let fresh = (1.0 - memory * memory).sqrt();
        let mut next = || {
            value = memory * value + fresh * normal(rng);
            value
        };
        (0..count).map(|_| next()).collect()
    }

    fn error_of_mean(series: &[f64], block: usize) -> f64 {
        let draw = Draw { counts: (series.len(), series.len()), block, paired: true };
        let errors = standard_errors(draw, 1, |a, _, into| {
            into[0] = a.iter().map(|&at| series[at]).sum::<f64>() / a.len() as f64;
        });
        errors[0].unwrap()
    }

    #[test]
    fn the_error_of_a_mean_is_that_of_the_textbook_and_blocks_see_memory() {
        let mut rng = Rng::with_seed(7);
        let count = 400;
        let check = |memory: f64, block: Option<usize>, rng: &mut Rng| {
            let found: f64 = (0..20)
                .map(|_| {
                    let series = series(rng, count, memory);
                    error_of_mean(&series, block.unwrap_or_else(|| block_length(&series)))
                })
                .sum::<f64>()
                / 20.0;
            let true_error = ((1.0 + memory) / (1.0 - memory) / count as f64).sqrt();
            found / true_error
        };
        let independent = check(0.0, None, &mut rng);
        assert!((0.9..1.1).contains(&independent), "{independent}");
        let with_memory = check(0.7, None, &mut rng);
        assert!((0.75..1.1).contains(&with_memory), "{with_memory}");
        let without_blocks = check(0.7, Some(1), &mut rng);
        assert!(without_blocks < 0.55, "single seconds would pass for independent ones: {without_blocks}");
    }

    #[test]
    fn blocks_are_neighbours_and_every_observation_is_as_likely() {
        let mut rng = Rng::with_seed(3);
        let mut seen = [0_u32; 10];
        let mut drawn = Vec::new();
        for _ in 0..2_000 {
            sample(&mut rng, 10, 3, &mut drawn);
            assert_eq!(drawn.len(), 10);
            assert_eq!((drawn[0] + 1) % 10, drawn[1]);
            drawn.iter().for_each(|&at| seen[at] += 1);
        }
        assert!(seen.iter().all(|count| (1_800..2_200).contains(count)), "{seen:?}");
    }
}
