//! Comparing runs, so that noise is not reported as a regression.
//!
//! Two runs are never equal. What is asked is whether the difference is more than the runs' own unrest explains, and whether
//! it is large enough to matter. So each metric gets an interval of confidence for its relative change, and it has become
//! worse only if that interval excludes zero *and* the change exceeds a threshold of the metric.
//!
//! **Where the interval comes from.** With several runs on both sides, from the differences between runs: they are the
//! unit, since whatever a process has in common for its whole life (placement of memory, the state of the disk) makes
//! seconds of one run more alike than seconds of two (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM
//! 2013). With one run each, from their seconds: these are not independent, so *blocks* of neighbouring seconds are
//! resampled (moving-block bootstrap: Künsch, Annals of Statistics 17, 1989), as long as the autocorrelation of the
//! metric asks for (Politis and White, Econometric Reviews 23, 2004). Both runs follow the same scenario, so the same
//! blocks are taken from both: what the scenario does over time cancels out. What differs between runs as a whole
//! cannot be seen then, and the result says so.
//!
//! **Why not the percentiles of the bootstrap.** With five runs they are too narrow (Hesterberg, "What Teachers Should Know
//! About the Bootstrap", American Statistician 69, 2015), and there are a dozen metrics: at 95 % each, every third
//! comparison of a program with itself would find something. So the bootstrap gives the standard error, Student's
//! distribution the factor, and all intervals hold *together* with 95 % (Bonferroni). Changes are of logarithms, so that twice and
//! half as much are equally far.
//!
//! Rejected: a comparison of percentiles without intervals, which calls every second run a regression, and tests such as
//! Mann and Whitney's on all latencies, which take ten thousand tasks of one bad second for ten thousand witnesses.

mod bootstrap;
mod differences;
mod estimate;
pub mod history;
mod metric;
mod series;
mod student;

use serde::Serialize;

pub use self::{differences::differences, metric::Metric};
use self::{estimate::Estimate, series::Series};
use crate::record::{KeptRun, RunRecord};

/// How sure all intervals together are.
const CONFIDENCE: f64 = 0.95;
/// Runs on one side at most: each is read whole.
const RUNS_MAX: usize = 50;

/// Why runs were not compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// One side has no runs, or too many.
    #[error("{side} has {count} runs; each side of a comparison has 1 to {RUNS_MAX}")]
    Runs {
        /// `A` or `B`.
        side: &'static str,
        /// How many it has.
        count: usize,
    },
    /// A run is on both sides.
    #[error("run {id} is on both sides, or twice on one; a run differs from itself in nothing")]
    Twice {
        /// The run.
        id: String,
    },
    /// What was done was not the same, so a difference would say nothing about the program.
    #[error("these runs cannot be compared: {}; compare them all the same with --force", what.join("; "))]
    Different {
        /// What differs.
        what: Vec<String>,
    },
}

/// Two sides, metric by metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The scenario of the runs of A.
    pub scenario: String,
    /// What it is compared with.
    pub a: Side,
    /// What is judged.
    pub b: Side,
    /// Where the intervals come from.
    pub method: Method,
    /// How sure all intervals together are, 0 to 1.
    pub confidence: f64,
    /// Each metric that both sides have.
    pub changes: Vec<Change>,
    /// Whether B became worse in one of them.
    pub regression: bool,
    /// What differs between the runs and was compared all the same.
    pub differences: Vec<String>,
}

/// The runs of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Their ids.
    pub runs: Vec<String>,
    /// Their commits, each once.
    pub commits: Vec<String>,
}

/// Where the intervals come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// From the seconds of one run each: what differs from run to run is not seen.
    WithinRuns,
    /// From several runs on both sides.
    BetweenRuns,
    /// From several runs on one side; the one run of the other is taken to be as restless as they are.
    OneAgainstMany,
}

/// How a metric changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which.
    pub metric: Metric,
    /// Its unit.
    pub unit: &'static str,
    /// Its value in A, the geometric mean of several runs.
    pub a: f64,
    /// Its value in B.
    pub b: f64,
    /// From A to B, in percent of A.
    pub change_percent: f64,
    /// The interval of confidence, low and high; none if there is too little to tell.
    pub interval_percent: Option<(f64, f64)>,
    /// A smaller change does not matter.
    pub threshold_percent: f64,
    /// What to think of it.
    pub verdict: Verdict,
}

/// What to think of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worse, beyond noise, and by more than the threshold.
    Regression,
    /// Better, beyond noise, and by more than the threshold.
    Improvement,
    /// Whatever the change is, it is below the threshold.
    Same,
    /// The interval is too wide to tell: longer runs or more of them would.
    Unsure,
    /// Too short, or too few tasks, for an interval.
    NotJudged,
}

impl Change {
    /// The interval as it is read; an end that says nothing more than "very much" is cut short.
    #[must_use]
    pub fn interval_text(&self) -> String {
        let end = |percent: f64| {
            if percent > 999.0 { "> +999 %".to_owned() } else { format!("{percent:+.1} %") }
        };
        self.interval_percent.map_or_else(|| "-".to_owned(), |(low, high)| format!("{} .. {}", end(low), end(high)))
    }
}

impl Verdict {
    /// In one or two words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Regression => "worse",
            Self::Improvement => "better",
            Self::Same => "same",
            Self::Unsure => "unsure",
            Self::NotJudged => "too little data",
        }
    }
}

/// Compares runs B with runs A. The same runs give the same result.
///
/// # Errors
/// There are none or too many of one side, or they did different things and `force` is not set.
pub fn compare(a: &[KeptRun], b: &[KeptRun], force: bool) -> Result<Comparison, CompareError> {
    let differences = check(a, b, force)?;
    let series = |runs: &[KeptRun]| runs.iter().map(Series::of).collect::<Vec<_>>();
    let (first, second) = (series(a), series(b));
    let method = match (a.len(), b.len()) {
        (1, 1) => Method::WithinRuns,
        (1, _) | (_, 1) => Method::OneAgainstMany,
        _ => Method::BetweenRuns,
    };
    let estimates = estimate::all(method, &first, &second, differences.is_empty());
    let changes = judge_all(&estimates);
    Ok(Comparison {
        scenario: a[0].record.scenario.name.clone(),
        a: Side::of(a),
        b: Side::of(b),
        method,
        confidence: CONFIDENCE,
        regression: changes.iter().any(|change| change.verdict == Verdict::Regression),
        changes,
        differences,
    })
}

fn check(a: &[KeptRun], b: &[KeptRun], force: bool) -> Result<Vec<String>, CompareError> {
    for (side, runs) in [("A", a), ("B", b)] {
        if runs.is_empty() || runs.len() > RUNS_MAX {
            return Err(CompareError::Runs { side, count: runs.len() });
        }
    }
    let mut ids: Vec<&str> = a.iter().chain(b).map(|run| run.record.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(CompareError::Twice { id: twice[0].to_owned() });
    }
    let mut what: Vec<String> = Vec::new();
    for run in a[1..].iter().chain(b) {
        for difference in differences(&a[0].record, &run.record) {
            if !what.contains(&difference) {
                what.push(difference);
            }
        }
    }
    if what.is_empty() || force { Ok(what) } else { Err(CompareError::Different { what }) }
}

/// The intervals of all metrics hold together, so each has to be surer than all are.
fn judge_all(estimates: &[Estimate]) -> Vec<Change> {
    let judged = estimates.iter().filter(|estimate| estimate.error.is_some()).count().max(1);
    let tail = (1.0 - CONFIDENCE) / 2.0 / judged as f64;
    estimates.iter().map(|estimate| judge(estimate, tail)).collect()
}

fn judge(estimate: &Estimate, tail: f64) -> Change {
    let metric = estimate.metric;
    let change = (estimate.b / estimate.a).ln();
    let interval = estimate.error.map(|error| {
        let reach = student::quantile(1.0 - tail, error.freedom) * error.standard;
        (change - reach, change + reach)
    });
    let threshold = metric.threshold();
    let matters = change.abs() > (1.0 + threshold).ln() && (estimate.b - estimate.a).abs() > metric.floor();
    let verdict = match interval {
        None => Verdict::NotJudged,
        Some((low, high)) if (low > 0.0 || high < 0.0) && matters => {
            if (change > 0.0) == metric.more_is_better() {
                Verdict::Improvement
            } else {
                Verdict::Regression
            }
        }
        Some((low, high)) if low.abs().max(high.abs()) <= (1.0 + threshold).ln() => Verdict::Same,
        // Beyond noise, and too small to matter.
        Some((low, high)) if low > 0.0 || high < 0.0 => Verdict::Same,
        Some(_) => Verdict::Unsure,
    };
    let percent = |log: f64| (log.exp() - 1.0) * 100.0;
    Change {
        metric,
        unit: metric.unit(),
        a: estimate.a,
        b: estimate.b,
        change_percent: percent(change),
        interval_percent: interval.map(|(low, high)| (percent(low), percent(high))),
        threshold_percent: threshold * 100.0,
        verdict,
    }
}

impl Side {
    fn of(runs: &[KeptRun]) -> Self {
        let mut commits: Vec<String> = runs.iter().filter_map(|run| run.record.build.commit.clone()).collect();
        commits.sort_unstable();
        commits.dedup();
        Self { runs: runs.iter().map(|run| run.record.id.clone()).collect(), commits }
    }
}

/// The value of a metric of a whole run, if it was measured.
#[must_use]
pub fn value(record: &RunRecord, metric: Metric) -> Option<f64> {
    series::value(record, metric)
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
