//! How far off a forecast may be: what the interval around it is made of.
//!
//! It holds 80 % of outcomes. Its half width is the larger of two. One is that of the scatter around the fit, widened by what
//! is not known of level and slope. The other is the error that 80 % of forecasts stayed within which the same method made on
//! the series itself, as in split conformal prediction (Lei and others 2018, "Distribution-free predictive inference for
//! regression"): it asks for no model of what scatters. Both assume points that tell something new each; where they hang
//! together, a hundred tell as much as few. So both are widened by Student's distribution of as many degrees of freedom as
//! there are independent points, n (1 - r) / (1 + r) of n with autocorrelation r (Bartlett 1946; r without its bias, Kendall
//! 1954), and the errors of series that have a memory are taken to grow with the distance to the power of it: as the
//! root of it and more for a walk, not at all for noise. Left out: intervals of a fitted ARIMA model, which are as narrow as
//! the model is wrong.

use super::{POINTS_MIN, line::Fit};

/// 80 % of a normal distribution lie within so many deviations.
pub(super) const Z80: f64 = 1.2816;
/// Memory of less is what chance makes of a series that has none.
pub(super) const MEMORY_MIN: f64 = 0.3;
/// And of more is not told apart from a walk.
const MEMORY_MAX: f64 = 0.99;

/// How far off forecasts would have been that the same method makes on the series itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tested {
    /// Steps ahead, on average.
    pub(super) after: f64,
    /// The error that 80 % of them stayed within.
    pub(super) error: f64,
    /// Points over which they were made.
    pub(super) span: f64,
}

pub(super) fn backtest(values: &[f64], window: usize) -> Option<Tested> {
    /// Times at which a forecast is made; each costs a fit.
    const ORIGINS: usize = 12;
    let past = (window / 2).clamp(POINTS_MIN, 60);
    let ahead = (past / 2).max(2);
    let recent = &values[values.len() - window..];
    let room = recent.len().checked_sub(past + ahead).filter(|&room| room >= 3)?;
    let mut errors = Vec::with_capacity(ORIGINS * ahead);
    for origin in 0..ORIGINS.min(room + 1) {
        let begin = origin * room / (ORIGINS.min(room + 1) - 1).max(1);
        let fit = Fit::of(&recent[begin..begin + past]);
        let outcomes = (1..=ahead).zip(&recent[begin + past..]);
        // Those of the first steps are smaller than what is asked for.
        let later = outcomes.skip(ahead / 2);
        errors.extend(later.map(|(steps, value)| (value - fit.level - fit.slope * steps as f64).abs()));
    }
    errors.sort_by(f64::total_cmp);
    let error = errors[(errors.len() * 4 / 5).min(errors.len() - 1)];
    Some(Tested { after: ahead as f64 * 0.75, error, span: (room + ahead) as f64 })
}

/// How much what is off the line is like the point before: its autocorrelation at one step, without the bias that few points
/// and a fitted line bring (Kendall 1954); 0 at least.
pub(super) fn memory(off: &[f64], deviation: f64) -> f64 {
    // Wild points say nothing of how the others hang together.
    let most = 4.0 * deviation;
    let off: Vec<f64> = off.iter().map(|off| off.clamp(-most, most)).collect();
    let variance: f64 = off.iter().map(|off| off * off).sum();
    let together: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if variance <= 0.0 {
        return 0.0;
    }
    let seen = together / variance;
    (seen + (1.0 + 4.0 * seen) / off.len() as f64).clamp(0.0, MEMORY_MAX)
}

/// As many independent points as these tell as much as.
pub(super) fn independent(count: f64, memory: f64) -> f64 {
    (count * (1.0 - memory) / (1.0 + memory)).max(1.0)
}

/// 80 % of Student's distribution of so many degrees of freedom lie within this (Abramowitz and Stegun, 26.7.5).
pub(super) fn student80(freedom: f64) -> f64 {
    let z = Z80;
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    z + terms[0] / freedom + terms[1] / freedom.powi(2) + terms[2] / freedom.powi(3)
}
