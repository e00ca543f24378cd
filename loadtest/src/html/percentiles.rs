//! The percentile curve: latency over the share of tasks, drawn so that each further nine is as wide (Gil Tene).

use hdrhistogram::Histogram;

use super::{
    latency_of,
    page::Page,
    plot::{Axis, Line, Plot},
};
use crate::record::{KeptRun, Phase, Slice};

/// Points of a curve.
const POINTS: u32 = 200;

pub(super) fn curve(page: &mut Page, run: &KeptRun, baseline: Option<&KeptRun>) {
    let mut lines = vec![];
    if let Some(baseline) = baseline {
        lines.push(Line { name: "baseline", class: "line three", points: points(baseline) });
    }
    lines.push(Line { name: "this run", class: "line one", points: points(run) });
    let nines = lines.iter().flat_map(|line| line.points.last()).map(|(at, _)| *at).fold(1.0, f64::max);
    let ticks = [(0.301, "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "99.999 %")];
    let ticks = ticks.into_iter().filter(|(at, _)| *at <= nines).map(|(at, text)| (at, text.to_owned())).collect();
    let x = Axis { name: "share of the tasks", low: 0.0, high: nines, log: false, ticks };
    let y = Axis::log("milliseconds", lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value)));
    let about = "end to end: that share of the tasks took at most so long";
    Plot { title: "Percentiles", about, x, y, lines, moments: Vec::new(), bands: Vec::new() }.write(page);
}

fn points(run: &KeptRun) -> Vec<(f64, f64)> {
    let us = run.histograms.as_ref().and_then(|all| all.get(&Slice::All, Phase::EndToEnd));
    if let Some(us) = us.filter(|us| !us.is_empty()) {
        return of_histogram(us);
    }
    // A record alone knows some of them.
    let Some(latency) = latency_of(&run.record, Phase::EndToEnd) else { return Vec::new() };
    vec![(0.301, latency.p50), (1.0, latency.p90), (2.0, latency.p99), (3.0, latency.p999)]
}

fn of_histogram(us: &Histogram<u64>) -> Vec<(f64, f64)> {
    // Up to the one task that took longest.
    let nines = (us.len() as f64).log10().max(0.1);
    let point = |at: u32| {
        let nines = nines * f64::from(at) / f64::from(POINTS);
        (nines, us.value_at_quantile(1.0 - 10_f64.powf(-nines)).max(1) as f64 / 1e3)
    };
    (0..=POINTS).map(point).collect()
}
