//! How the runs of a scenario went over time: a trend for each metric, and whether it can be told from noise.
//!
//! The trend is the slope of a straight line through the logarithms, in percent from run to run, by the median of the slopes
//! of all pairs (Theil and Sen): one bad run among ten does not bend it. Its interval is Sen's, from the distribution of
//! Kendall's rank correlation without a trend (Sen, Journal of the American Statistical Association 63, 1968).

use serde::Serialize;

use super::metric::{Metric, Quantile};
use crate::record::{Decision, Phase, RunRecord};

/// With fewer runs any order is likely.
const RUNS_MIN: usize = 5;
/// Of the normal distribution: 95 % are within.
const NORMAL_95: f64 = 1.959_964;
/// The metrics of the table; the others are in the comparison of two runs.
const METRICS: [Metric; 5] = [
    Metric::Throughput,
    Metric::Latency(Phase::EndToEnd, Quantile::P50),
    Metric::Latency(Phase::EndToEnd, Quantile::P99),
    Metric::CpuPerTask,
    Metric::Memory,
];

/// The runs of a scenario, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// Its name.
    pub scenario: String,
    /// Each run.
    pub runs: Vec<Entry>,
    /// Each metric over all runs.
    pub trends: Vec<Trend>,
}

/// A run in a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// When it started, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Of the program.
    pub commit: Option<String>,
    /// Go or no-go.
    pub verdict: Decision,
    /// Values in the order of [`History::trends`].
    pub values: Vec<Option<f64>>,
    /// What differs from the latest run, so that their values are not comparable; not part of the trends.
    pub differs: Vec<String>,
}

/// How a metric went over the runs that are comparable with the latest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// Which.
    pub metric: Metric,
    /// Its unit.
    pub unit: &'static str,
    /// From run to run, in percent; none with fewer than two runs.
    pub slope_percent: Option<f64>,
    /// The 95 % interval of the slope; none with fewer than five runs.
    pub interval_percent: Option<(f64, f64)>,
    /// Where it goes, if the interval excludes zero.
    pub direction: Direction,
    /// The values, oldest first.
    pub values: Vec<f64>,
}

/// Where a metric goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Better from run to run.
    Better,
    /// Worse from run to run.
    Worse,
    /// Nothing beyond noise.
    None,
}

/// The histories of the scenarios of these runs, which are in the order of time.
#[must_use]
pub fn histories(runs: &[RunRecord]) -> Vec<History> {
    let mut names: Vec<&str> = runs.iter().map(|run| run.scenario.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| history(runs, name)).collect()
}

fn history(runs: &[RunRecord], scenario: &str) -> History {
    let runs: Vec<&RunRecord> = runs.iter().filter(|run| run.scenario.name == scenario).collect();
    let entry = |run: &&RunRecord| Entry {
        id: run.id.clone(),
        started_at_ms: run.started_at_ms,
        commit: run.build.commit.clone(),
        verdict: run.verdict,
        values: METRICS.iter().map(|metric| super::value(run, *metric)).collect(),
        differs: runs.last().map(|latest| super::differences(run, latest)).unwrap_or_default(),
    };
    let entries: Vec<Entry> = runs.iter().map(entry).collect();
    let trend = |(at, metric): (usize, &Metric)| {
        let alike = entries.iter().filter(|entry| entry.differs.is_empty());
        trend(*metric, alike.filter_map(|entry| entry.values[at]).collect())
    };
    let trends = METRICS.iter().enumerate().map(trend).collect();
    History { scenario: scenario.to_owned(), runs: entries, trends }
}

fn trend(metric: Metric, values: Vec<f64>) -> Trend {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let mut slopes = Vec::new();
    for (later, log) in logs.iter().enumerate() {
        slopes.extend(logs[..later].iter().enumerate().map(|(at, before)| (log - before) / (later - at) as f64));
    }
    slopes.sort_by(f64::total_cmp);
    let percent = |log: f64| (log.exp() - 1.0) * 100.0;
    let interval = interval(&slopes, logs.len());
    let direction = match interval {
        Some((low, high)) if low > 0.0 || high < 0.0 => {
            if (low > 0.0) == metric.more_is_better() {
                Direction::Better
            } else {
                Direction::Worse
            }
        }
        _ => Direction::None,
    };
    let slope_percent = (!slopes.is_empty()).then(|| percent(median(&slopes)));
    let interval_percent = interval.map(|(low, high)| (percent(low), percent(high)));
    Trend { metric, unit: metric.unit(), slope_percent, interval_percent, direction, values }
}

/// The slopes that are as far from both ends as Kendall's statistic reaches by chance.
fn interval(slopes: &[f64], runs: usize) -> Option<(f64, f64)> {
    if runs < RUNS_MIN {
        return None;
    }
    let count = runs as f64;
    let reach = NORMAL_95 * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    // With five runs the reach is nearly that of all pairs, and the interval from the first to the last.
    let first = ((pairs - reach) / 2.0).floor().max(0.0) as usize;
    let last = slopes.len() - 1 - first;
    Some((slopes[first], slopes[last]))
}

fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// The values as a line of blocks, lowest to highest.
#[must_use]
pub fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |value: &f64| {
        // Values that are equal but for a percent are drawn as a flat line: it is what they are.
        let share = if high > low * 1.01 { (value - low) / (high - low) } else { 0.5 };
        BLOCKS[((share * 7.0).round() as usize).min(7)]
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::example::{Example, normal};

    fn of(values: &[f64]) -> Trend {
        trend(Metric::Throughput, values.to_vec())
    }

    #[test]
    fn a_steady_change_is_a_trend_and_one_bad_run_is_not() {
        let growing: Vec<f64> = (0..10).map(|at| 100.0 * 1.02_f64.powi(at)).collect();
        let trend = of(&growing);
        assert_eq!(trend.direction, Direction::Better);
        assert!((trend.slope_percent.unwrap() - 2.0).abs() < 1e-6, "{trend:?}");
        let mut flat = vec![100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0];
        flat.push(50.0);
        let trend = of(&flat);
        assert_eq!(trend.direction, Direction::None, "{trend:?}");
        assert!(trend.slope_percent.unwrap().abs() < 1.0, "{trend:?}");
        assert_eq!(of(&growing[..4]).direction, Direction::None, "four runs say nothing");
        assert_eq!(of(&[]).slope_percent, None);
    }

    #[test]
    fn noise_is_seldom_a_trend() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut found = 0;
        for _ in 0..1_000 {
            let values: Vec<f64> = (0..12).map(|_| (0.1 * normal(&mut rng)).exp()).collect();
            found += u32::from(of(&values).direction != Direction::None);
        }
        assert!((20..=70).contains(&found), "{found} of 1000");
    }

    #[test]
    fn runs_are_grouped_by_scenario_and_others_machines_are_shown_and_not_counted() {
        let run = |scenario: &str, seed| {
            Example { scenario: scenario.to_owned(), seconds: 3, seed, ..Example::default() }.run().0
        };
        let mut runs = vec![run("b", 1), run("a", 2), run("b", 3)];
        runs[0].machine.cpus = 64;
        let all = histories(&runs);
        assert_eq!(
            all.iter().map(|history| (history.scenario.as_str(), history.runs.len())).collect::<Vec<_>>(),
            [("a", 1), ("b", 2)]
        );
        assert_eq!(all[1].runs[0].differs, ["processors: 64 and 2"]);
        assert_eq!(all[1].trends[0].values.len(), 1);
        assert_eq!(all[1].runs[0].values.len(), all[1].trends.len());
    }

    #[test]
    fn a_sparkline_shows_low_and_high() {
        assert_eq!(sparkline(&[1.0, 2.0, 3.0]), "▁▅█");
        assert_eq!(sparkline(&[100.0, 100.1]), "▅▅");
        assert_eq!(sparkline(&[]), "");
    }
}
