//! What comes again in a series: its period, its shape and how much of the series it explains.
//!
//! The period is the lag of the highest peak of the autocorrelation of what is left after the slope, if the series covers it at
//! least twice and it explains enough (the strength of Hyndman and Athanasopoulos, "Forecasting: principles and practice", 4.3).
//! A lag of nearly an hour or a day is taken for one, because work has them.

use std::time::Duration;

use super::line::{Fit, median};

/// Shortest season in points: shorter ones are noise, or the sampling's own.
const SEASON_POINTS_MIN: usize = 4;
/// A season must have been seen so often.
const SEASONS_MIN: f64 = 2.0;
/// Autocorrelation that makes a lag a candidate.
const CORRELATION_MIN: f64 = 0.4;
/// A season counts if it takes away so much of the variance of what is left after the slope.
const STRENGTH_MIN: f64 = 0.5;
/// Spans at which work repeats itself.
const CALENDAR: [Duration; 2] = [Duration::from_secs(86_400), Duration::from_secs(3_600)];

/// Something that comes again.
#[derive(Clone, Debug, PartialEq)]
pub struct Season {
    /// After so long.
    pub period: Duration,
    /// Share of the variance that it explains, 0 to 1.
    pub strength: f64,
    /// What it adds, for each step of the period; sums up to 0.
    pub shape: Vec<f64>,
}

impl Season {
    /// From its deepest point to its highest.
    #[must_use]
    pub fn swing(&self) -> f64 {
        let ends = self.shape.iter().fold((0.0_f64, 0.0_f64), |(low, high), &value| (low.min(value), high.max(value)));
        ends.1 - ends.0
    }
}

/// The season of a series, if it has one.
pub(super) fn find_season(values: &[f64], step: Duration) -> Option<Season> {
    let fit = Fit::of(values);
    let last = values.len() as f64 - 1.0;
    let line = |at: usize| fit.level - fit.slope * (last - at as f64);
    let mean_off = values.iter().enumerate().map(|(at, value)| value - line(at)).sum::<f64>() / values.len() as f64;
    let off: Vec<f64> = values.iter().enumerate().map(|(at, value)| value - line(at) - mean_off).collect();
    let variance = off.iter().map(|value| value * value).sum::<f64>();
    if variance <= 1e-12 * (1.0 + fit.level * fit.level) * values.len() as f64 {
        return None;
    }
    let longest = (values.len() as f64 / SEASONS_MIN).floor() as usize;
    let correlation = |lag: usize| {
        let sum: f64 = off.iter().zip(&off[lag..]).map(|(a, b)| a * b).sum();
        sum / variance * values.len() as f64 / (values.len() - lag) as f64
    };
    let correlations: Vec<f64> =
        (0..=longest + 1).map(|lag| if lag < values.len() { correlation(lag) } else { 0.0 }).collect();
    let peaks = (SEASON_POINTS_MIN..=longest).filter(|&lag| {
        correlations[lag] >= CORRELATION_MIN
            && correlations[lag] > correlations[lag - 1]
            && correlations[lag] >= correlations[lag + 1]
    });
    let peaks: Vec<usize> = peaks.collect();
    // A multiple of a period correlates as well as the period: the shortest lag that is nearly as good as the best.
    let best = peaks.iter().map(|&lag| correlations[lag]).fold(0.0, f64::max);
    let lag = peaks.into_iter().find(|&lag| correlations[lag] >= 0.85 * best)?;
    season_of(&off, of_calendar(lag, step).filter(|lag| *lag <= longest).unwrap_or(lag), step)
}

/// The span of the calendar that this lag is within 5 % of, in steps.
fn of_calendar(lag: usize, step: Duration) -> Option<usize> {
    let near = |span: &&Duration| {
        let steps = span.as_secs_f64() / step.as_secs_f64();
        (steps / lag as f64 - 1.0).abs() <= 0.05 && (steps - steps.round()).abs() < 1e-6
    };
    CALENDAR.iter().find(near).map(|span| (span.as_secs_f64() / step.as_secs_f64()).round() as usize)
}

/// The season of this lag, if it explains enough.
fn season_of(off: &[f64], lag: usize, step: Duration) -> Option<Season> {
    let mut shape: Vec<f64> = (0..lag)
        .map(|phase| {
            let mut of_phase: Vec<f64> = off.iter().skip(phase).step_by(lag).copied().collect();
            median(&mut of_phase)
        })
        .collect();
    let mean = shape.iter().sum::<f64>() / lag as f64;
    shape.iter_mut().for_each(|value| *value -= mean);
    let variance = off.iter().map(|value| value * value).sum::<f64>();
    let left = off.iter().enumerate().map(|(at, value)| (value - shape[at % lag]).powi(2)).sum::<f64>();
    // Each phase was fitted to the points that it is judged by; with so many fewer degrees of freedom.
    let freedom = (off.len() as f64 - lag as f64).max(1.0) / off.len() as f64;
    let strength = (1.0 - left / freedom / variance).max(0.0);
    (strength >= STRENGTH_MIN).then(|| Season { period: step * lag as u32, strength, shape })
}

/// The values without their season, where each point's is made of the others of its place in the period: of a season that is
/// made of few points each has its own part in it, and what is left over would look smaller than what is to come (the jackknife+
/// of Barber and others 2021): a season made of five periods has a fifth of each error in it.
pub(super) fn without_own(plain: &[f64], season: &Season) -> Vec<f64> {
    let lag = season.shape.len();
    let off = Fit::of(plain).off(plain);
    let own = |at: usize| {
        let others = (at % lag..off.len()).step_by(lag).filter(|&other| other != at);
        let mut others: Vec<f64> = others.map(|other| off[other]).collect();
        plain[at] - median(&mut others)
    };
    (0..plain.len()).map(own).collect()
}
