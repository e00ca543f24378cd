//! Randomness: a generator for each purpose, so that one more draw for one of them changes none of the others.

use fastrand::Rng;

use crate::task_time::mix;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Arrivals = 1,
    Demands,
    Speeds,
    Engine,
}

/// The generator of a purpose.
pub(super) fn rng(seed: u64, purpose: Purpose) -> Rng {
    Rng::with_seed(seed_of(seed, purpose))
}

/// Its seed.
pub(super) fn seed_of(seed: u64, purpose: Purpose) -> u64 {
    mix(mix(seed) ^ mix(purpose as u64))
}

/// For each agent, how many times as long as at speed 1 it takes. Speeds lie evenly between two whose ratio is `spread`, by the
/// logarithm; their mean is 1, so that a utilisation means the same for each spread; which agent has which is drawn.
pub(super) fn slownesses(seed: u64, agents: u32, spread: f64) -> Vec<f64> {
    let place = |at: u32| (f64::from(at) + 0.5) / f64::from(agents) - 0.5;
    let mut speeds: Vec<f64> = (0..agents).map(|at| spread.powf(place(at))).collect();
    let mean = speeds.iter().sum::<f64>() / f64::from(agents);
    rng(seed, Purpose::Speeds).shuffle(&mut speeds);
    speeds.into_iter().map(|speed| mean / speed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_have_the_spread_asked_for_and_mean_one() {
        let speeds: Vec<f64> = slownesses(1, 1_000, 10.0).into_iter().map(|slowness| 1.0 / slowness).collect();
        let mean = speeds.iter().sum::<f64>() / 1_000.0;
        let (least, most) = speeds.iter().fold((f64::MAX, 0.0_f64), |(a, b), &s| (a.min(s), b.max(s)));
        assert!((mean - 1.0).abs() < 1e-9 && (most / least - 10.0).abs() < 0.1, "{mean} {least} {most}");
        assert_eq!(slownesses(1, 3, 1.0), [1.0; 3]);
    }
}
