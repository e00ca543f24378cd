//! Pictures over the time of a run.

use super::{
    page::Page,
    plot::{Axis, Line, Moment, Plot, average, largest, thinned},
};
use crate::{
    record::{MarkKind, Phase, RunRecord, Window},
    report::Latency,
};

/// How points of a stretch become one.
type Pick = fn(&[(f64, f64)]) -> f64;

/// A run ends with a stretch of some milliseconds, of which a rate says nothing.
const LENGTH_MIN_S: f64 = 0.25;

fn line(
    record: &RunRecord,
    name: &'static str,
    class: &'static str,
    pick: Pick,
    value: impl Fn(&Window) -> Option<f64>,
) -> Line {
    let point = |window: &Window| (window.at_s - window.length_s / 2.0, value(window).unwrap_or(f64::NAN));
    let windows = record.windows.iter().filter(|window| window.length_s >= LENGTH_MIN_S);
    Line { name, class, points: thinned(windows.map(point).collect(), pick) }
}

/// The class of a mark.
pub(super) const fn class(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Stage => "moment stage",
        MarkKind::Fault => "moment fault",
        MarkKind::Level => "moment level",
        MarkKind::Change => "moment change",
        MarkKind::Rollback => "moment rollback",
    }
}

pub(super) fn moments(record: &RunRecord) -> Vec<Moment> {
    let moment =
        |mark: &crate::record::Mark| Moment { at: mark.at_s, class: class(mark.kind), text: mark.text.clone() };
    record.marks.iter().map(moment).collect()
}

pub(super) fn time(record: &RunRecord) -> Axis {
    Axis::time(record.windows.last().map_or(record.duration_s, |window| window.at_s))
}

fn plot(page: &mut Page, record: &RunRecord, title: &'static str, about: &'static str, y: Axis, lines: Vec<Line>) {
    // A violation is shaded in every picture, so that its cause can be looked for in all of them.
    let bands = record.levels.iter().flat_map(|outcome| outcome.violations.iter().copied()).collect();
    Plot { title, about, x: time(record), y, lines, moments: moments(record), bands }.write(page);
}

fn highest(lines: &[Line]) -> f64 {
    lines.iter().map(|line| largest(&line.points)).fold(0.0, f64::max)
}

pub(super) fn latency(page: &mut Page, record: &RunRecord) {
    let of = |window: &Window, value: fn(&Latency) -> f64| window.latency_ms.get(&Phase::EndToEnd).map(value);
    let lines = vec![
        line(record, "p50", "line one", average, |window| of(window, |latency| latency.p50)),
        line(record, "p99", "line two", largest, |window| of(window, |latency| latency.p99)),
        line(record, "max", "line three", largest, |window| of(window, |latency| latency.max)),
    ];
    let values = lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let y = Axis::log("milliseconds", values);
    plot(page, record, "Latency", "end to end, of the tasks that ended in each second", y, lines);
}

pub(super) fn rates(page: &mut Page, record: &RunRecord) {
    let rate = |window: &Window, count: u64| (window.length_s > 0.0).then(|| count as f64 / window.length_s);
    let lines = vec![
        line(record, "offered", "line three", average, |window| rate(window, window.offered)),
        line(record, "completed", "line one", average, |window| rate(window, window.completed)),
        line(record, "failed or refused", "line two", largest, |window| rate(window, window.failed + window.refused)),
    ];
    let y = Axis::linear("tasks a second", highest(&lines));
    plot(page, record, "Offered and completed", "tasks that were due, and that succeeded", y, lines);
}

pub(super) fn queue(page: &mut Page, record: &RunRecord) {
    let lines = vec![
        line(record, "waiting", "line two", largest, |window| Some(window.queue_depth as f64)),
        line(record, "on agents", "line one", average, |window| Some(window.running as f64)),
    ];
    let y = Axis::linear("tasks", highest(&lines));
    plot(page, record, "Queue", "tasks that wait for an agent, and that agents hold", y, lines);
}

pub(super) fn agents(page: &mut Page, record: &RunRecord) {
    let lines = vec![line(record, "agents", "line one", average, |window| Some(f64::from(window.agents)))];
    let y = Axis::linear("agents", highest(&lines));
    plot(page, record, "Agents", "with a session", y, lines);
}

pub(super) fn processor(page: &mut Page, record: &RunRecord) {
    let lines = vec![
        line(record, "coordinator", "line one", average, |window| window.coordinator_cpu_cores),
        line(record, "harness", "line three", average, |window| window.harness_cpu_cores),
    ];
    if lines.iter().all(|line| !largest(&line.points).is_finite()) {
        return;
    }
    let y = Axis::linear("cores", highest(&lines));
    plot(page, record, "Processor", "a harness at its limit measures itself", y, lines);
}

pub(super) fn memory(page: &mut Page, record: &RunRecord) {
    let mib = |window: &Window| window.coordinator_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let lines = vec![line(record, "coordinator", "line one", largest, mib)];
    if !largest(&lines[0].points).is_finite() {
        return;
    }
    let y = Axis::linear("MiB", highest(&lines));
    plot(page, record, "Memory", "resident", y, lines);
}
