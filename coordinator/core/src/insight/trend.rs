//! Where a measurement is going: level, slope, season, a forecast with an interval, and when it reaches its bound.
//!
//! The season is found first (`season`) and taken away; through what is left a line is drawn that wild points do not move, as far
//! back as foretells best (`line`); the interval around the forecast is judged by the errors that the same method makes on the
//! series itself (`error`). Each of them says where it is from, and what was rejected.

use std::time::Duration;

use evenkeel_shared::Timestamp;

use super::ring::{Point, thin};

mod error;
mod line;
mod season;

pub use self::season::Season;
use self::{
    error::{MEMORY_MIN, Tested, Z80, backtest, independent, memory, student80},
    line::{Fit, best_window, deviation},
    season::{find_season, without_own},
};

/// Points looked at, at most: pairs grow with the square of it, and 240 take about a millisecond.
pub const POINTS_MAX: usize = 240;
/// No trend is read from fewer.
pub const POINTS_MIN: usize = 8;

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

#[cfg(test)]
#[path = "trend_tests.rs"]
mod tests;
