//! How large a change is, and how sure that is.

use super::{
    Method,
    bootstrap::{self, Draw},
    metric::{LATENCIES, Metric, Quantile},
    series::{Counts, Series},
};
use crate::record::{Phase, Sparse};

/// Fewer stretches than this say nothing about their own unrest.
const STRETCHES_MIN: usize = 10;
/// Tasks beyond a quantile: with fewer, it is the fate of single tasks.
const TASKS_BEYOND_MIN: f64 = 20.0;

/// A metric on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub metric: Metric,
    pub a: f64,
    pub b: f64,
    /// Of the logarithm of their ratio.
    pub error: Option<Error>,
}

/// A standard error, and the degrees of freedom that it was found with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Error {
    pub standard: f64,
    pub freedom: u32,
}

/// Estimates of all metrics that both sides have. Runs that are `alike` went through the same at the same time.
pub(super) fn all(method: Method, a: &[Series], b: &[Series], alike: bool) -> Vec<Estimate> {
    match method {
        Method::WithinRuns => within_runs(&a[0], &b[0], alike),
        Method::BetweenRuns | Method::OneAgainstMany => {
            Metric::all().into_iter().filter_map(|metric| between_runs(metric, a, b)).collect()
        }
    }
}

fn within_runs(a: &Series, b: &Series, alike: bool) -> Vec<Estimate> {
    let mut estimates = vec![];
    for metric in [Metric::Throughput, Metric::CpuPerTask, Metric::Memory] {
        estimates.extend(of_counts(metric, a, b, alike));
    }
    for (phase, quantiles) in LATENCIES {
        estimates.extend(of_latencies(phase, quantiles, a, b, alike));
    }
    let order = Metric::all();
    estimates.sort_by_key(|estimate| order.iter().position(|metric| *metric == estimate.metric));
    estimates
}

/// Blocks, the same of both runs where they went through the same.
fn draw(a: usize, b: usize, alike: bool, series: impl Fn(usize) -> (f64, f64)) -> Option<Draw> {
    // A run may have a stretch more than another, by a moment.
    let paired = alike && a.abs_diff(b) <= 1;
    let counts = if paired { (a.min(b), a.min(b)) } else { (a, b) };
    if counts.0.min(counts.1) < STRETCHES_MIN {
        return None;
    }
    let usable = |logs: Vec<f64>| logs.into_iter().filter(|log| log.is_finite()).collect::<Vec<_>>();
    let at = |count: usize| (0..count).map(&series).collect::<Vec<_>>();
    let block = if paired {
        bootstrap::block_length(&usable(at(counts.0).iter().map(|(a, b)| (b / a).ln()).collect()))
    } else {
        let first = bootstrap::block_length(&usable(at(counts.0).iter().map(|(a, _)| a.ln()).collect()));
        first.max(bootstrap::block_length(&usable(at(counts.1).iter().map(|(_, b)| b.ln()).collect())))
    };
    Some(Draw { counts, block: block.max(1), paired })
}

fn freedom(draw: Draw) -> u32 {
    let blocks = draw.counts.0.min(draw.counts.1) / draw.block;
    u32::try_from(blocks.saturating_sub(1).max(1)).unwrap_or(u32::MAX)
}

fn of_counts(metric: Metric, a: &Series, b: &Series, alike: bool) -> Option<Estimate> {
    let (a_value, b_value) = (a.whole(metric)?, b.whole(metric)?);
    let at = |windows: &[Counts], at: usize| windows.get(at).map_or(f64::NAN, |counts| counts.value(metric));
    let draw = draw(a.windows.len(), b.windows.len(), alike, |i| (at(&a.windows, i), at(&b.windows, i)));
    let total = |windows: &[Counts], drawn: &[usize]| {
        let mut all = Counts::default();
        drawn.iter().for_each(|&at| all.add(&windows[at]));
        all.value(metric)
    };
    let error = draw.and_then(|draw| {
        let errors = bootstrap::standard_errors(draw, 1, |first, second, into| {
            into[0] = (total(&b.windows, second) / total(&a.windows, first)).ln();
        });
        Some(Error { standard: errors[0]?, freedom: freedom(draw) })
    });
    Some(Estimate { metric, a: a_value, b: b_value, error })
}

fn of_latencies(phase: Phase, quantiles: &[Quantile], a: &Series, b: &Series, alike: bool) -> Vec<Estimate> {
    let none = Vec::new();
    let (first, second) = (a.latencies.get(&phase).unwrap_or(&none), b.latencies.get(&phase).unwrap_or(&none));
    let errors = errors_of_latencies(quantiles, first, second, alike);
    let tasks = |stretches: &[Sparse]| stretches.iter().flatten().map(|(_, count)| *count).sum::<u64>() as f64;
    let fewest = tasks(first).min(tasks(second));
    let estimate = |(at, quantile): (usize, &Quantile)| {
        let metric = Metric::Latency(phase, *quantile);
        let enough = fewest * (1.0 - quantile.share()) >= TASKS_BEYOND_MIN;
        let error = errors.get(at).copied().flatten().filter(|_| enough);
        Some(Estimate { metric, a: a.whole(metric)?, b: b.whole(metric)?, error })
    };
    quantiles.iter().enumerate().filter_map(estimate).collect()
}

fn errors_of_latencies(quantiles: &[Quantile], a: &[Sparse], b: &[Sparse], alike: bool) -> Vec<Option<Error>> {
    let (first, second) = (Ranked::of(a), Ranked::of(b));
    // The tail has the shortest memory and the median the longest, which decides.
    let median =
        |ranked: &Ranked, at: usize| ranked.stretches.get(at).map_or(f64::NAN, |_| ranked.quantile(&[at], 0.5));
    let series: Vec<(f64, f64)> =
        (0..a.len().max(b.len())).map(|at| (median(&first, at), median(&second, at))).collect();
    let Some(draw) = draw(a.len(), b.len(), alike, |at| series[at]) else { return Vec::new() };
    let shares: Vec<f64> = quantiles.iter().map(|quantile| quantile.share()).collect();
    let (mut of_a, mut of_b) = (vec![0.0; shares.len()], vec![0.0; shares.len()]);
    let errors = bootstrap::standard_errors(draw, quantiles.len(), |drawn_a, drawn_b, into| {
        first.quantiles(drawn_a, &shares, &mut of_a);
        second.quantiles(drawn_b, &shares, &mut of_b);
        into.iter_mut().zip(of_a.iter().zip(&of_b)).for_each(|(into, (a, b))| *into = (b / a).ln());
    });
    errors.into_iter().map(|error| Some(Error { standard: error?, freedom: freedom(draw) })).collect()
}

/// Latencies with values replaced by their rank, so that a sample is added up in an array.
struct Ranked {
    values: Vec<u64>,
    stretches: Vec<Vec<(u32, u64)>>,
}

impl Ranked {
    fn of(stretches: &[Sparse]) -> Self {
        let mut values: Vec<u64> = stretches.iter().flatten().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values.dedup();
        let rank = |value: u64| u32::try_from(values.partition_point(|other| *other < value)).unwrap_or(u32::MAX);
        let ranked = |stretch: &Sparse| stretch.iter().map(|(value, count)| (rank(*value), *count)).collect();
        Self { stretches: stretches.iter().map(ranked).collect(), values }
    }

    fn quantile(&self, drawn: &[usize], share: f64) -> f64 {
        let mut into = [0.0];
        self.quantiles(drawn, &[share], &mut into);
        into[0]
    }

    /// Quantiles of the tasks of these stretches, for rising shares; not numbers if there were no tasks.
    fn quantiles(&self, drawn: &[usize], shares: &[f64], into: &mut [f64]) {
        let mut counts = vec![0_u64; self.values.len()];
        for (rank, count) in drawn.iter().flat_map(|&at| &self.stretches[at]) {
            counts[*rank as usize] += count;
        }
        let total: u64 = counts.iter().sum();
        into.fill(f64::NAN);
        let mut wanted = shares.iter().zip(into).peekable();
        let mut seen = 0;
        for (rank, count) in counts.iter().enumerate() {
            seen += count;
            while let Some((_, into)) =
                wanted.next_if(|(share, _)| seen > 0 && seen as f64 >= (**share * total as f64).ceil())
            {
                // A task below the resolution took some time too.
                *into = (self.values[rank] as f64).max(0.5);
            }
        }
    }
}

/// Of several runs, each of which is one observation.
fn between_runs(metric: Metric, a: &[Series], b: &[Series]) -> Option<Estimate> {
    let logs = |runs: &[Series]| runs.iter().map(|run| run.whole(metric).map(f64::ln)).collect::<Option<Vec<f64>>>();
    let (a, b) = (logs(a)?, logs(b)?);
    let error = match (a.len(), b.len()) {
        (1, 1) => None,
        (1, _) => one_against(&b),
        (_, 1) => one_against(&a),
        _ => many_against_many(&a, &b),
    };
    Some(Estimate { metric, a: mean(&a).exp(), b: mean(&b).exp(), error })
}

/// The error of the difference between a further run and the mean of these.
fn one_against(many: &[f64]) -> Option<Error> {
    let count = many.len() as f64;
    let variance = square_of_error(many)? * count;
    Some(Error { standard: (variance * (1.0 + 1.0 / count)).sqrt(), freedom: many.len() as u32 - 1 })
}

fn many_against_many(a: &[f64], b: &[f64]) -> Option<Error> {
    let (a_error, b_error) = (square_of_error(a)?, square_of_error(b)?);
    let sum = a_error + b_error;
    let share = |error: f64, count: usize| error * error / (count as f64 - 1.0);
    // Welch and Satterthwaite. Runs without any difference leave nothing to divide by.
    let freedom = sum * sum / (share(a_error, a.len()) + share(b_error, b.len()));
    let freedom = if freedom.is_finite() { freedom } else { (a.len() + b.len() - 2) as f64 };
    Some(Error { standard: sum.sqrt(), freedom: (freedom as u32).max(1) })
}

/// The square of the standard error of the mean, by bootstrap over the runs.
fn square_of_error(logs: &[f64]) -> Option<f64> {
    let count = logs.len();
    let draw = Draw { counts: (count, count), block: 1, paired: true };
    let errors = bootstrap::standard_errors(draw, 1, |drawn, _, into| {
        into[0] = drawn.iter().map(|&at| logs[at]).sum::<f64>() / count as f64;
    });
    Some(errors[0]?.powi(2))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
