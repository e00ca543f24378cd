//! The report of a run: one HTML page that needs nothing else, neither a network nor a script.
//!
//! Pictures are SVG that is written here, and colours are classes, so that the page is light or dark as the reader likes.
//! The colours are those of Okabe and Ito, which people with any form of colour blindness can tell apart; lines differ in
//! their dashes too. Everything that comes from a record (names of tenants, of scenarios, texts of errors) may hold markup,
//! so text goes into the page through [`Page::text`] alone, and raw pieces are constants of this module by their type.
//! Rejected: a plotting library, whose pages are megabytes of script that a reviewer cannot read.

mod charts;
mod heat;
mod page;
mod percentiles;
mod plot;
mod tables;

use self::page::Page;
use crate::{
    compare::Comparison,
    record::{Decision, KeptRun, Phase, RunRecord, Slice},
    report::Latency,
};

const STYLE: &str = include_str!("style.css");

/// The page about a run, beside a baseline if there is one.
#[must_use]
pub fn page(run: &KeptRun, baseline: Option<&KeptRun>, comparison: Option<&Comparison>) -> String {
    let record = &run.record;
    let mut page = Page::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    page.text(format_args!("{} · {}", record.scenario.name, verdict(record.verdict)));
    page.raw("</title>\n<style>\n");
    page.raw(STYLE);
    page.raw("</style>\n</head>\n<body>\n<main>\n");
    head(&mut page, record);
    figures(&mut page, record);
    page.raw("<section class=\"charts\">\n");
    charts::latency(&mut page, record);
    percentiles::curve(&mut page, run, baseline);
    charts::rates(&mut page, record);
    charts::queue(&mut page, record);
    charts::agents(&mut page, record);
    heat::map(&mut page, record);
    charts::processor(&mut page, record);
    charts::memory(&mut page, record);
    page.raw("</section>\n");
    tables::marks(&mut page, record);
    tables::change(&mut page, record);
    tables::levels(&mut page, record);
    if let Some(comparison) = comparison {
        tables::comparison(&mut page, comparison);
    }
    tables::latencies(&mut page, record);
    tables::origin(&mut page, record);
    page.raw("</main>\n</body>\n</html>\n");
    page.finish()
}

const fn verdict(decision: Decision) -> &'static str {
    match decision {
        Decision::Go => "go",
        Decision::NoGo => "no-go",
    }
}

fn head(page: &mut Page, record: &RunRecord) {
    page.raw("<header>\n<h1>");
    page.text(&record.scenario.name);
    page.raw(match record.verdict {
        Decision::Go => " <span class=\"badge good\">✓ go</span>",
        Decision::NoGo => " <span class=\"badge bad\">✗ no-go</span>",
    });
    page.raw("</h1>\n");
    if !record.reasons.is_empty() {
        page.raw("<ul class=\"reasons\">");
        for reason in &record.reasons {
            page.raw("<li>");
            page.text(reason);
            page.raw("</li>");
        }
        page.raw("</ul>\n");
    }
    page.raw("<p>");
    page.text(&record.scenario.description);
    page.raw("</p>\n<p class=\"quiet\">");
    let started_at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(record.started_at_ms);
    let started_at = humantime::format_rfc3339_seconds(started_at);
    page.text(format_args!("{} · started {started_at} · {:.0} s · seed {}", record.id, record.duration_s, record.seed));
    page.raw("</p>\n</header>\n");
}

/// Percentiles of a phase of all tasks, if there were any.
fn latency_of(record: &RunRecord, phase: Phase) -> Option<Latency> {
    let found = record.latency_ms.iter().find(|one| one.slice == Slice::All && one.phase == phase);
    found.map(|one| one.latency)
}

/// The figures that most readers come for.
fn figures(page: &mut Page, record: &RunRecord) {
    let totals = &record.totals;
    let rate = |count: u64| format!("{:.0} a second", count as f64 / record.scenario.duration_s.max(1.0));
    let mut all = vec![
        ("offered", whole(totals.offered), rate(totals.offered)),
        ("completed", whole(totals.completed), format!("{} failed, {} refused", totals.failed, totals.refused)),
    ];
    if let Some(latency) = latency_of(record, Phase::EndToEnd) {
        all.push(("p50 end to end", format!("{} ms", plot::short(latency.p50)), "from when it was due".to_owned()));
        all.push((
            "p99 end to end",
            format!("{} ms", plot::short(latency.p99)),
            format!("max {} ms", plot::short(latency.max)),
        ));
    }
    let broken = totals.lost + totals.duplicated + totals.mismatched;
    let beside = format!("{} lost, {} duplicated, {} mixed up", totals.lost, totals.duplicated, totals.mismatched);
    all.push(("broken promises", whole(broken), format!("{beside}, {} unverified", totals.unverified)));
    if let Some(usage) = &record.coordinator {
        let of_task = usage.cpu_s * 1e6 / totals.completed.max(1) as f64;
        all.push((
            "processor for a task",
            format!("{of_task:.0} µs"),
            format!("coordinator, {:.1} s in all", usage.cpu_s),
        ));
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        all.push(("memory", mib(usage.memory_peak_bytes), format!("{} idle", mib(usage.memory_idle_bytes))));
    }
    page.raw("<section class=\"figures\">\n");
    for (name, value, beside) in all {
        page.raw("<div class=\"figure\"><div class=\"quiet\">");
        page.text(name);
        page.raw(if name == "broken promises" && broken > 0 {
            "</div><div class=\"value bad\">"
        } else {
            "</div><div class=\"value\">"
        });
        page.text(value);
        page.raw("</div><div class=\"quiet\">");
        page.text(beside);
        page.raw("</div></div>\n");
    }
    page.raw("</section>\n");
}

/// With a space between thousands.
fn whole(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
