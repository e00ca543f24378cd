//! Where a measurement is going: level, slope, season, a forecast with an interval, and when it reaches its bound.
//!
//! - **Slope**: the median of the slopes between all pairs of points (Theil 1950; Sen 1968, "Estimates of the regression coefficient
//!   based on Kendall's tau"). Up to 29 % of the points may be wild without moving it much. It counts only where Kendall's test
//!   says that it is none of chance; else it is 0. Least squares was rejected, because one spike bends it; Holt's smoothing, because
//!   a memory that fills up at a steady rate is a line, which it damps.
//! - **Season**: the lag of the highest peak of the autocorrelation of what is left after the slope, if the series covers it at
//!   least twice and it explains enough (the strength of Hyndman and Athanasopoulos, "Forecasting: principles and practice", 4.3).
//!   A lag of nearly an hour or a day is taken for one, because work has them.
//! - **How far back**: the whole series, its second half or its last quarter, whichever would have foretold the newest points
//!   best. A step thus stops counting as a slope once there are points enough after it.
//! - **Interval**: 80 % of outcomes. Its half width is the larger of two. One is that of the scatter around the fit, widened by what
//!   is not known of level and slope. The other is the error that 80 % of forecasts stayed within which the same method made on
//!   the series itself, as in split conformal prediction (Lei and others 2018, "Distribution-free predictive inference for
//!   regression"): it asks for no model of what scatters. Both assume points that tell something new each; where they hang
//!   together, a hundred tell as much as few. So both are widened by Student's distribution of as many degrees of freedom as
//!   there are independent points, n (1 - r) / (1 + r) of n with autocorrelation r (Bartlett 1946; r without its bias, Kendall
//!   1954), and the errors of series that have a memory are taken to grow with the distance to the power of it: as the
//!   root of it and more for a walk, not at all for noise. Scatter is judged by seasons that were made without the point in
//!   question (the jackknife+ of Barber and others 2021): a season made of five periods has a fifth of each error in it.
//!   Left out: intervals of a fitted ARIMA model, which are as narrow as the model is wrong.

use std::time::Duration;

use evenkeel_shared::Timestamp;

use super::ring::{Point, thin};

/// Points looked at, at most: pairs grow with the square of it, and 240 take about a millisecond.
pub const POINTS_MAX: usize = 240;
/// No trend is read from fewer.
pub const POINTS_MIN: usize = 8;
/// Shortest season in points: shorter ones are noise, or the sampling's own.
const SEASON_POINTS_MIN: usize = 4;
/// A season must have been seen so often.
const SEASONS_MIN: f64 = 2.0;
/// Autocorrelation that makes a lag a candidate.
const CORRELATION_MIN: f64 = 0.4;
/// A season counts if it takes away so much of the variance of what is left after the slope.
const STRENGTH_MIN: f64 = 0.5;
/// Kendall's statistic from which on a slope is more than chance: 1 % of flat series pass it.
const KENDALL_MIN: f64 = 2.58;
/// 80 % of a normal distribution lie within so many deviations.
const Z80: f64 = 1.2816;
/// Memory of less is what chance makes of a series that has none.
const MEMORY_MIN: f64 = 0.3;
/// And of more is not told apart from a walk.
const MEMORY_MAX: f64 = 0.99;
/// The median absolute deviation of a normal distribution is its deviation over this.
const MAD_TO_DEVIATION: f64 = 1.4826;
/// A shorter window must foretell so much better to be taken instead of a longer one.
const WINDOW_GAIN: f64 = 0.8;
/// Spans at which work repeats itself.
const CALENDAR: [Duration; 2] = [Duration::from_secs(86_400), Duration::from_secs(3_600)];

/// A value to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// When.
    pub at: Timestamp,
    /// The likeliest value.
    pub value: f64,
    /// 80 % of outcomes are expected between this
    pub low: f64,
    /// and this.
    pub high: f64,
}

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

/// Where a series is going.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// Where it is, without its season.
    pub level: f64,
    /// How fast it grows.
    pub slope_per_hour: f64,
    /// What comes again, if anything does.
    pub season: Option<Season>,
    /// Points that it was read from.
    pub points: usize,
    /// When the newest of them began.
    pub at: Timestamp,
    step: Duration,
    /// Place of the newest point in the season.
    phase: usize,
    per_step: f64,
    deviation: f64,
    slope_deviation: f64,
    fitted: usize,
    /// What is off the line is like the point before by so much, 0 to 1.
    memory: f64,
    tested: Option<Tested>,
    /// Least and most that it can be.
    within: (f64, f64),
}

impl Trend {
    /// Reads a trend from points of one step, oldest first. `None` if there are too few. Gaps are filled with the line between their
    /// ends. A share (0 to 1) is foretold no other; what else is measured is never less than 0.
    #[must_use]
    pub fn of(points: &[Point], step: Duration, share: bool) -> Option<Self> {
        let (values, step) = even(points, step);
        if values.len() < POINTS_MIN {
            return None;
        }
        let season = find_season(&values, step);
        let plain: Vec<f64> = match &season {
            Some(season) => {
                values.iter().enumerate().map(|(at, v)| v - season.shape[at % season.shape.len()]).collect()
            }
            None => values.clone(),
        };
        let window = best_window(&plain);
        let fit = Fit::of(&plain[plain.len() - window..]);
        // Errors are judged by seasons that do not know the point that they foretell.
        let unseen = season.as_ref().map_or_else(|| plain.clone(), |season| without_own(&plain, season));
        let tested = backtest(&unseen, window);
        let off = fit.off(&unseen[unseen.len() - window..]);
        let per_hour = 3_600.0 / step.as_secs_f64();
        let phase = season.as_ref().map_or(0, |season| (values.len() - 1) % season.shape.len());
        Some(Self {
            level: fit.level,
            slope_per_hour: fit.slope * per_hour,
            season,
            points: values.len(),
            at: points.last()?.at,
            step,
            phase,
            per_step: fit.slope,
            deviation: deviation(off.iter().map(|off| off.abs()).collect()),
            slope_deviation: fit.slope_deviation,
            fitted: window,
            memory: memory(&off, fit.deviation),
            tested,
            within: if share { (0.0, 1.0) } else { (0.0, f64::MAX) },
        })
    }

    /// What is expected so long after the newest point.
    #[must_use]
    pub fn forecast(&self, ahead: Duration) -> Forecast {
        let steps = ahead.as_secs_f64() / self.step.as_secs_f64();
        let season = self
            .season
            .as_ref()
            .map_or(0.0, |season| season.shape[(self.phase + steps.round() as usize) % season.shape.len()]);
        let value = self.level + self.per_step * steps + season;
        let half = self.half_width(steps);
        let (least, most) = self.within;
        let kept = |value: f64| value.clamp(least, most);
        Forecast { at: self.at.plus(ahead), value: kept(value), low: kept(value - half), high: kept(value + half) }
    }

    fn half_width(&self, steps: f64) -> f64 {
        let count = self.fitted as f64;
        let from_middle = steps + count / 2.0;
        // Points that are like those before them tell less of the level and of the slope than as many that are not.
        let worth = independent(count, self.memory);
        let slope_variance = (self.slope_deviation * from_middle).powi(2) * count / worth;
        let variance = self.deviation.powi(2) * (1.0 + 1.0 / worth) + slope_variance;
        let expected = student80(worth) * variance.sqrt();
        // Errors of a series without memory do not grow with the distance.
        let seen = self.tested.map_or(0.0, |tested| {
            let sure = student80(independent(tested.span, self.memory)) / Z80;
            let grown = if self.memory > MEMORY_MIN { (steps / tested.after).max(1.0).powf(self.memory) } else { 1.0 };
            tested.error * sure * grown
        });
        expected.max(seen)
    }

    /// When the forecast first reaches this bound, if it does so within the horizon; `below`: from above. The newest point's time
    /// if it has been reached already.
    #[must_use]
    pub fn reaches(&self, bound: f64, below: bool, horizon: Duration) -> Option<Timestamp> {
        let past = |value: f64| if below { value <= bound } else { value >= bound };
        let steps = (horizon.as_secs_f64() / self.step.as_secs_f64()).floor() as u64;
        // Some hundred looks are enough: an answer within 1 % of the horizon.
        let stride = (steps / 200).max(1);
        (0..=steps).step_by(stride as usize).find_map(|ahead| {
            let forecast = self.forecast(self.step.mul_f64(ahead as f64));
            past(forecast.value).then_some(forecast.at)
        })
    }
}

/// The values at even steps, gaps filled, thinned so that there are no more than [`POINTS_MAX`].
fn even(points: &[Point], step: Duration) -> (Vec<f64>, Duration) {
    let span = match (points.first(), points.last()) {
        (Some(first), Some(last)) => last.at.since(first.at),
        _ => return (Vec::new(), step),
    };
    let steps = (span.as_secs_f64() / step.as_secs_f64()).round() as usize + 1;
    let fold = steps.div_ceil(POINTS_MAX).max(1) as u32;
    let step = step * fold;
    let thinned = if fold == 1 { points.to_vec() } else { thin(points.iter().copied(), step) };
    let mut values: Vec<f64> = Vec::with_capacity(POINTS_MAX + 1);
    for pair in thinned.windows(2) {
        let gap = (pair[1].at.since(pair[0].at).as_secs_f64() / step.as_secs_f64()).round().max(1.0);
        let rise = (pair[1].mean - pair[0].mean) / gap;
        values.extend((0..gap as usize).map(|at| pair[0].mean + rise * at as f64));
    }
    values.extend(thinned.last().map(|point| point.mean));
    (values, step)
}

/// A line through points, robustly.
struct Fit {
    /// At the last point.
    level: f64,
    slope: f64,
    deviation: f64,
    slope_deviation: f64,
}

impl Fit {
    fn of(values: &[f64]) -> Self {
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
    fn off(&self, values: &[f64]) -> Vec<f64> {
        let last = values.len() as f64 - 1.0;
        let line = |at: usize| self.level - self.slope * (last - at as f64);
        values.iter().enumerate().map(|(at, value)| value - line(at)).collect()
    }
}

/// The deviation of what is so far off, robustly.
fn deviation(mut off: Vec<f64>) -> f64 {
    // The mean absolute deviation beside the median one: of a series with few distinct values the latter is 0.
    let mean_off = off.iter().sum::<f64>() / off.len().max(1) as f64;
    (MAD_TO_DEVIATION * median(&mut off)).max(1.2533 * mean_off * 0.8)
}

/// The values without their season, where each point's is made of the others of its place in the period: of a season that is
/// made of few points each has its own part in it, and what is left over would look smaller than what is to come.
fn without_own(plain: &[f64], season: &Season) -> Vec<f64> {
    let lag = season.shape.len();
    let off = Fit::of(plain).off(plain);
    let own = |at: usize| {
        let others = (at % lag..off.len()).step_by(lag).filter(|&other| other != at);
        let mut others: Vec<f64> = others.map(|other| off[other]).collect();
        plain[at] - median(&mut others)
    };
    (0..plain.len()).map(own).collect()
}

/// How far back to look: all, half, or a quarter.
fn best_window(values: &[f64]) -> usize {
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

/// How far off forecasts would have been that the same method makes on the series itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tested {
    /// Steps ahead, on average.
    after: f64,
    /// The error that 80 % of them stayed within.
    error: f64,
    /// Points over which they were made.
    span: f64,
}

fn backtest(values: &[f64], window: usize) -> Option<Tested> {
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
fn memory(off: &[f64], deviation: f64) -> f64 {
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
fn independent(count: f64, memory: f64) -> f64 {
    (count * (1.0 - memory) / (1.0 + memory)).max(1.0)
}

/// 80 % of Student's distribution of so many degrees of freedom lie within this (Abramowitz and Stegun, 26.7.5).
fn student80(freedom: f64) -> f64 {
    let z = Z80;
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    z + terms[0] / freedom + terms[1] / freedom.powi(2) + terms[2] / freedom.powi(3)
}

fn find_season(values: &[f64], step: Duration) -> Option<Season> {
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

/// The median. Changes the order. 0 of nothing.
fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd { upper } else { below.iter().copied().fold(f64::MIN, f64::max).midpoint(upper) }
}

#[cfg(test)]
#[path = "trend_tests.rs"]
mod tests;
