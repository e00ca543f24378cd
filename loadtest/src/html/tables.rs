//! What is read rather than looked at.

use super::{charts, page::Page, plot::short};
use crate::{
    compare::{Comparison, Verdict},
    levels::{LevelOutcome, Measure, Severity},
    record::{MarkKind, RunRecord, Slice},
    report::Latency,
};

/// A cell: text, numbers to the right, or a judgement.
enum Cell {
    Text(String),
    Number(String),
    Good(String),
    Bad(String),
    Warn(String),
}

impl Cell {
    /// The tag that opens the cell, and that of the head of its column.
    const fn tags(&self) -> (&'static str, &'static str) {
        match self {
            Self::Text(_) => ("<td>", "<th scope=\"col\">"),
            Self::Number(_) => ("<td class=\"number\">", "<th scope=\"col\" class=\"number\">"),
            Self::Good(_) => ("<td class=\"good\">", "<th scope=\"col\">"),
            Self::Bad(_) => ("<td class=\"bad\">", "<th scope=\"col\">"),
            Self::Warn(_) => ("<td class=\"warn\">", "<th scope=\"col\">"),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Good(text) | Self::Bad(text) | Self::Warn(text) => text,
        }
    }
}

fn table(page: &mut Page, title: &'static str, heads: &[&'static str], rows: impl Iterator<Item = Vec<Cell>>) {
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.raw("<section>\n<h2>");
    page.text(title);
    page.raw("</h2>\n<div class=\"scroll\"><table>\n<thead><tr>");
    for (at, head) in heads.iter().enumerate() {
        // A head stands as its column does.
        page.raw(rows.first().and_then(|row| row.get(at)).map_or("<th scope=\"col\">", |cell| cell.tags().1));
        page.text(head);
        page.raw("</th>");
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for row in &rows {
        page.raw("<tr>");
        for cell in row {
            page.raw(cell.tags().0);
            page.text(cell.text());
            page.raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n</section>\n");
}

pub(super) fn marks(page: &mut Page, record: &RunRecord) {
    if record.marks.is_empty() {
        return;
    }
    let kind = |kind: MarkKind| match kind {
        MarkKind::Stage => "stage",
        MarkKind::Fault => "fault",
        MarkKind::Level => "service level",
        MarkKind::Change => "change",
        MarkKind::Rollback => "rollback",
    };
    let rows = charts::moments(record).into_iter().zip(&record.marks).enumerate();
    let rows = rows.map(|(at, (moment, mark))| {
        let number = Cell::Number((at + 1).to_string());
        let when = Cell::Number(format!("{:.1} s", moment.at));
        vec![number, when, Cell::Text(kind(mark.kind).to_owned()), Cell::Text(moment.text)]
    });
    table(page, "What happened", &["", "at", "kind", "what"], rows);
}

pub(super) fn change(page: &mut Page, record: &RunRecord) {
    let Some(change) = &record.change else { return };
    let at = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
    let rollback = match change.rollback_succeeded {
        None => Cell::Good("none was needed".to_owned()),
        Some(true) => Cell::Warn("✓ undone, and the service levels held again".to_owned()),
        Some(false) => Cell::Bad("✗ failed".to_owned()),
    };
    let text = |text: &Option<String>| Cell::Text(text.clone().unwrap_or_else(|| "-".to_owned()));
    let row = vec![
        Cell::Text(change.change.clone()),
        Cell::Number(at(change.made_at_s)),
        text(&change.violation),
        Cell::Number(at(change.undone_at_s)),
        Cell::Number(at(change.recovered_after_s)),
        rollback,
        text(&change.error),
    ];
    let heads = ["change", "made", "violation", "undone", "recovered after", "rollback", "error"];
    table(page, "Change under test", &heads, [row].into_iter());
}

pub(super) fn levels(page: &mut Page, record: &RunRecord) {
    if record.levels.is_empty() {
        return;
    }
    let heads = ["service level", "measure", "limit", "whole run", "worst second", "violations", "severity", "kept"];
    table(page, "Service levels", &heads, record.levels.iter().map(level));
}

fn level(outcome: &LevelOutcome) -> Vec<Cell> {
    let level = &outcome.level;
    let limits = [level.at_least.map(|limit| format!("≥ {limit}")), level.at_most.map(|limit| format!("≤ {limit}"))];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let value = |value: Option<f64>| Cell::Number(value.map_or_else(|| "-".to_owned(), precise));
    let stretch = |(from, to): &(f64, f64)| format!("{from:.0} to {to:.0} s");
    let violations: Vec<String> = outcome.violations.iter().map(stretch).collect();
    let kept = match (outcome.kept, level.severity) {
        (true, _) => Cell::Good("✓ yes".to_owned()),
        (false, Severity::Critical) => Cell::Bad("✗ no".to_owned()),
        (false, _) => Cell::Warn("✗ no".to_owned()),
    };
    let severity = match level.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    vec![
        Cell::Text(level.name.clone()),
        Cell::Text(measure(&level.measure)),
        Cell::Number(limits.join(", ")),
        value(outcome.value),
        value(outcome.worst),
        Cell::Text(if violations.is_empty() { "none".to_owned() } else { violations.join(", ") }),
        Cell::Text(severity.to_owned()),
        kept,
    ]
}

/// Shares near 1 are about their last digits.
fn precise(value: f64) -> String {
    if value.abs() < 1.0 { format!("{value:.4}") } else { short(value) }
}

fn measure(measure: &Measure) -> String {
    match measure {
        Measure::Compliance { phase: of, within_ms } => format!("share of {} within {within_ms} ms", of.words()),
        Measure::Percentile { phase: of, percent } => format!("p{percent} of {}, ms", of.words()),
        Measure::Availability => "availability, share".to_owned(),
        Measure::ErrorRate => "errors, share".to_owned(),
        Measure::Throughput => "completed a second".to_owned(),
        Measure::CompletedShare => "completed, share of offered".to_owned(),
        Measure::CoordinatorCpuCores => "processor, cores".to_owned(),
        Measure::CoordinatorMemoryMib => "memory, MiB".to_owned(),
        Measure::QueueDepth => "tasks waiting".to_owned(),
    }
}

pub(super) fn latencies(page: &mut Page, record: &RunRecord) {
    let name = |slice: &Slice| match slice {
        Slice::All => "all".to_owned(),
        Slice::Tenant(name) => format!("tenant {name}"),
        Slice::Priority(priority) => format!("priority {priority}"),
        Slice::Work(name) => format!("work {name}"),
    };
    let rows = record.latency_ms.iter().map(|one| {
        let Latency { p50, p90, p99, p999, max } = one.latency;
        let mut cells = vec![Cell::Text(name(&one.slice)), Cell::Text(one.phase.words().to_owned())];
        cells.push(Cell::Number(super::whole(one.count)));
        cells.extend([p50, p90, p99, p999, max].map(|ms| Cell::Number(short(ms))));
        cells
    });
    let heads = ["tasks", "phase", "count", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];
    table(page, "Latency by phase, tenant, priority and work", &heads, rows);
}

pub(super) fn comparison(page: &mut Page, comparison: &Comparison) {
    let rows = comparison.changes.iter().map(|change| {
        let words = change.verdict.words().to_owned();
        let verdict = match change.verdict {
            Verdict::Regression => Cell::Bad(format!("✗ {words}")),
            Verdict::Improvement => Cell::Good(format!("✓ {words}")),
            Verdict::Same => Cell::Good(words),
            Verdict::Unsure | Verdict::NotJudged => Cell::Warn(words),
        };
        vec![
            Cell::Text(format!("{}, {}", change.metric.name(), change.unit)),
            Cell::Number(short(change.a)),
            Cell::Number(short(change.b)),
            Cell::Number(format!("{:+.1} %", change.change_percent)),
            Cell::Number(change.interval_text()),
            verdict,
        ]
    });
    let heads = ["metric", "baseline", "this run", "change", "interval, 95 % together", "verdict"];
    table(page, "Comparison with the baseline", &heads, rows);
    page.raw("<p class=\"quiet\">");
    page.text(format_args!("baseline {}", comparison.a.runs.join(", ")));
    if !comparison.differences.is_empty() {
        page.text(format_args!("; these differ: {}", comparison.differences.join("; ")));
    }
    page.raw("</p>\n");
}

pub(super) fn origin(page: &mut Page, record: &RunRecord) {
    let machine = &record.machine;
    let build = &record.build;
    let optimized = if build.optimized { "optimized" } else { "not optimized" };
    let commit = build.commit.as_deref().unwrap_or("commit unknown");
    let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
    let rows = [
        ("program", format!("evenkeel {} · {commit} · {optimized}", build.version)),
        ("processor", format!("{} × {}", machine.cpus, machine.cpu)),
        ("memory", format!("{gib:.1} GiB")),
        ("operating system", machine.os.clone()),
        ("file system of the store", machine.file_system.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("fleet", format!("{} agents × {} slots", record.scenario.fleet.agents, record.scenario.fleet.slots)),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![Cell::Text(name.to_owned()), Cell::Text(value)]);
    table(page, "What it ran on", &["", ""], rows);
    page.raw("<h2>To run it again</h2>\n<pre>");
    page.text(command(&record.command));
    page.raw("</pre>\n");
}

/// As a shell reads it. Where the program was is of no use elsewhere.
fn command(arguments: &[String]) -> String {
    let program = |word: &&String| word.rsplit('/').next() == Some("evenkeel") || word.contains('/');
    let rest = if arguments.first().as_ref().is_some_and(program) { &arguments[1..] } else { arguments };
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=,%+@".contains(&byte))
    };
    let quoted = |word: &String| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let words: Vec<String> = ["evenkeel".to_owned()].into_iter().chain(rest.iter().map(quoted)).collect();
    words.join(" ")
}
