//! Measurements over time, trends and thresholds, as printed.

use std::time::Duration;

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    time,
};

/// A measurement at one time.
#[derive(Clone, Debug, Serialize)]
pub struct PointView {
    /// Which measurement.
    pub metric: String,
    /// Of what.
    pub subject: String,
    /// When.
    pub at_unix_ms: Option<i64>,
    /// Mean over the step.
    pub mean: f64,
    /// Least in it.
    pub min: f64,
    /// Most in it.
    pub max: f64,
}

impl PointView {
    /// All points of these series.
    pub fn all(series: Vec<v1::MetricSeries>) -> Vec<Self> {
        let of = |series: v1::MetricSeries| {
            let (metric, subject) = (series.metric, series.subject);
            series.points.into_iter().map(move |point| Self {
                metric: metric.clone(),
                subject: subject.clone(),
                at_unix_ms: time(point.at_unix_ms),
                mean: point.mean,
                min: point.min,
                max: point.max,
            })
        };
        series.into_iter().flat_map(of).collect()
    }
}

impl Row for PointView {
    const HEADERS: &'static [&'static str] = &["metric", "of", "at", "mean", "min", "max"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.metric),
            Cell::text(&self.subject),
            Cell::text(table::at(self.at_unix_ms)),
            Cell::number(table::measure(self.mean)),
            Cell::number(table::measure(self.min)),
            Cell::number(table::measure(self.max)),
        ]
    }
}

/// Where a measurement is going. The fields are those of `Trend` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct TrendView {
    pub metric: String,
    pub subject: String,
    pub level: f64,
    pub slope_per_hour: f64,
    pub season_ms: Option<u64>,
    pub forecast: Vec<ForecastView>,
    pub exhausted_unix_ms: Option<i64>,
    pub points: u32,
}

/// What is expected at a time.
#[derive(Clone, Debug, Serialize)]
pub struct ForecastView {
    pub at_unix_ms: Option<i64>,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl From<v1::Trend> for TrendView {
    fn from(wire: v1::Trend) -> Self {
        let forecast = |point: v1::ForecastPoint| ForecastView {
            at_unix_ms: time(point.at_unix_ms),
            value: point.value,
            low: point.low,
            high: point.high,
        };
        Self {
            metric: wire.metric,
            subject: wire.subject,
            level: wire.level,
            slope_per_hour: wire.slope_per_hour,
            season_ms: (wire.season_ms > 0).then_some(wire.season_ms),
            forecast: wire.forecast.into_iter().map(forecast).collect(),
            exhausted_unix_ms: time(wire.exhausted_unix_ms),
            points: wire.points,
        }
    }
}

impl Row for ForecastView {
    const HEADERS: &'static [&'static str] = &["at", "expected", "from", "to"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(table::at(self.at_unix_ms)),
            Cell::number(table::measure(self.value)),
            Cell::number(table::measure(self.low)),
            Cell::number(table::measure(self.high)),
        ]
    }
}

impl Show for TrendView {
    fn show(&self, style: &Style) -> String {
        let season = self.season_ms.map_or_else(
            || "none was found".to_owned(),
            |ms| format!("of {}", table::duration(Duration::from_millis(ms))),
        );
        let critical = match self.exhausted_unix_ms {
            Some(_) => Cell::text(format!("at {}", table::at(self.exhausted_unix_ms))).tone(Tone::Warn),
            None => Cell::text("not within the horizon").tone(Tone::Good),
        };
        let pairs = [
            ("metric", Cell::text(format!("{} of {}", self.metric, self.subject))),
            ("level", Cell::text(table::measure(self.level))),
            ("slope", Cell::text(format!("{:+.3} an hour", self.slope_per_hour))),
            ("season", Cell::text(season)),
            ("critical", critical),
            ("from", Cell::text(format!("{} points", self.points))),
        ];
        let trend = table::pairs(&pairs, style);
        if self.forecast.is_empty() { trend } else { format!("{trend}\n\n{}", table::grid(&self.forecast, style)) }
    }
}

/// From when on a measurement is worth a look, and bad. The fields are those of `Threshold` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct ThresholdView {
    pub metric: String,
    pub warning: f64,
    pub critical: f64,
    pub for_ms: u64,
    pub below: bool,
}

impl From<v1::Threshold> for ThresholdView {
    fn from(wire: v1::Threshold) -> Self {
        Self {
            metric: wire.metric,
            warning: wire.warning,
            critical: wire.critical,
            for_ms: wire.for_ms,
            below: wire.below,
        }
    }
}

impl Row for ThresholdView {
    const HEADERS: &'static [&'static str] = &["metric", "bad is", "warning", "critical", "for"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.metric),
            Cell::text(if self.below { "below" } else { "above" }),
            Cell::number(table::measure(self.warning)),
            Cell::number(table::measure(self.critical)),
            Cell::number(table::duration(Duration::from_millis(self.for_ms))),
        ]
    }
}
