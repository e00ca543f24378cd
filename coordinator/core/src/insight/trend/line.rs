//! A line through points that some wild ones do not move, and how far back it is drawn.
//!
//! - **Slope**: the median of the slopes between all pairs of points (Theil 1950; Sen 1968, "Estimates of the regression coefficient
//!   based on Kendall's tau"). Up to 29 % of the points may be wild without moving it much. It counts only where Kendall's test
//!   says that it is none of chance; else it is 0. Least squares was rejected, because one spike bends it; Holt's smoothing, because
//!   a memory that fills up at a steady rate is a line, which it damps.
//! - **How far back**: the whole series, its second half or its last quarter, whichever would have foretold the newest points
//!   best. A step thus stops counting as a slope once there are points enough after it.

use super::POINTS_MIN;

/// Kendall's statistic from which on a slope is more than chance: 1 % of flat series pass it.
const KENDALL_MIN: f64 = 2.58;
/// The median absolute deviation of a normal distribution is its deviation over this.
const MAD_TO_DEVIATION: f64 = 1.4826;
/// A shorter window must foretell so much better to be taken instead of a longer one.
const WINDOW_GAIN: f64 = 0.8;

/// A line through points, robustly.
pub(super) struct Fit {
    /// At the last point.
    pub(super) level: f64,
    pub(super) slope: f64,
    pub(super) deviation: f64,
    pub(super) slope_deviation: f64,
}

impl Fit {
    pub(super) fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mut slopes = Vec::with_capacity(count * (count - 1) / 2);
        let mut order = 0_i64;
        for (at, a) in values.iter().enumerate() {
            for (apart, b) in (1..).zip(&values[at + 1..]) {
                slopes.push((b - a) / f64::from(apart));
                order += if b > a {
                    1
                } else if b < a {
                    -1
                } else {
                    0
                };
            }
        }
        let n = count as f64;
        let order_deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        let sure = order.unsigned_abs() as f64 > KENDALL_MIN * order_deviation;
        let slope = if sure { median(&mut slopes) } else { 0.0 };
        let last = n - 1.0;
        let at_end = |(at, value): (usize, &f64)| value + slope * (last - at as f64);
        let mut levels: Vec<f64> = values.iter().enumerate().map(at_end).collect();
        let level = median(&mut levels);
        let deviation = deviation(levels.iter().map(|value| (value - level).abs()).collect());
        // Of the least-squares slope; Sen's is 5 % worse where errors are normal.
        let slope_deviation = if sure { 1.05 * deviation * (12.0 / (n * (n * n - 1.0))).sqrt() } else { 0.0 };
        Self { level, slope, deviation, slope_deviation }
    }

    /// How far each of as many points is off the line.
    pub(super) fn off(&self, values: &[f64]) -> Vec<f64> {
        let last = values.len() as f64 - 1.0;
        let line = |at: usize| self.level - self.slope * (last - at as f64);
        values.iter().enumerate().map(|(at, value)| value - line(at)).collect()
    }
}

/// The deviation of what is so far off, robustly.
pub(super) fn deviation(mut off: Vec<f64>) -> f64 {
    // The mean absolute deviation beside the median one: of a series with few distinct values the latter is 0.
    let mean_off = off.iter().sum::<f64>() / off.len().max(1) as f64;
    (MAD_TO_DEVIATION * median(&mut off)).max(1.2533 * mean_off * 0.8)
}

/// How far back to look: all, half, or a quarter.
pub(super) fn best_window(values: &[f64]) -> usize {
    let all = values.len();
    let held_out = (all / 8).max(2);
    let mut best = (all, f64::MAX);
    for window in [all, all / 2, all / 4] {
        if window < held_out + POINTS_MIN {
            break;
        }
        let (past, newest) = values[all - window..].split_at(window - held_out);
        let fit = Fit::of(past);
        let error = (1..).zip(newest).map(|(ahead, value)| (value - fit.level - fit.slope * f64::from(ahead)).abs());
        let error = error.sum::<f64>();
        if error < best.1 * WINDOW_GAIN {
            best = (window, error);
        }
    }
    best.0
}

/// The median. Changes the order. 0 of nothing.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd { upper } else { below.iter().copied().fold(f64::MIN, f64::max).midpoint(upper) }
}
