//! The page holds what the record says, and nothing of it as markup.

use std::slice;

use super::*;
use crate::{compare::compare, record::example::Example};

fn kept(example: &Example) -> KeptRun {
    let (record, histograms) = example.run();
    KeptRun { record, histograms: Some(histograms), path: "x.json".into() }
}

fn with_faults() -> KeptRun {
    kept(&Example { faults: true, seed: 2, ..Example::default() })
}

/// Every element that is opened is closed, in order.
fn check_elements(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.split_once("</style>").unwrap().1;
    open.extend(["html", "head"]);
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in {}", &rest[at.saturating_sub(80)..end]);
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_page_has_every_part_and_is_well_formed() {
    let (run, before) = (with_faults(), kept(&Example::default()));
    let comparison = compare(slice::from_ref(&before), slice::from_ref(&run), true).unwrap();
    let page = page(&run, Some(&before), Some(&comparison));
    for part in [
        "✗ no-go",
        "Latency",
        "Percentiles",
        "baseline",
        "Offered and completed",
        "Queue",
        "Agents",
        "Load by agent",
        "Processor",
        "Memory",
        "What happened",
        "Service levels",
        "Comparison with the baseline",
        "Latency by phase",
        "What it ran on",
        "evenkeel loadtest run --scenario smoke",
        "class=\"moment fault\"",
        "class=\"moment rollback\"",
        "class=\"band\"",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    check_elements(&page);
}

#[test]
fn nothing_of_a_record_is_markup() {
    let mut run = with_faults();
    let bad = "<script>alert('1')</script>\"&\u{1b}";
    let record = &mut run.record;
    record.scenario.name = bad.to_owned();
    record.scenario.description = bad.to_owned();
    record.id = bad.to_owned();
    record.reasons = vec![bad.to_owned()];
    record.command = vec!["loadtest".to_owned(), bad.to_owned()];
    record.machine.cpu = bad.to_owned();
    record.machine.file_system = Some(bad.to_owned());
    record.build.commit = Some(bad.to_owned());
    record.marks.iter_mut().for_each(|mark| mark.text = bad.to_owned());
    record.levels.iter_mut().for_each(|outcome| outcome.level.name = bad.to_owned());
    record.latency_ms.iter_mut().for_each(|one| one.slice = Slice::Tenant(bad.to_owned()));
    let page = page(&run, None, None);
    assert!(!page.contains("<script") && !page.contains('\u{1b}'));
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"));
    check_elements(&page);
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let page = page(&with_faults(), None, None);
    for reference in ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn a_run_in_which_nothing_happened_has_a_page_too() {
    let mut run = kept(&Example { seconds: 1, tasks_per_s: 1, ..Example::default() });
    run.histograms = None;
    let record = &mut run.record;
    record.windows.clear();
    record.latency_ms.clear();
    record.agent_load = Default::default();
    record.levels.clear();
    record.coordinator = None;
    let page = page(&run, None, None);
    check_elements(&page);
    assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
}

#[test]
fn a_long_run_is_thinned_out_and_keeps_its_peaks() {
    let mut run = kept(&Example { seconds: 5, ..Example::default() });
    let window = run.record.windows[0].clone();
    run.record.windows = (0..20_000)
        .map(|second| crate::record::Window {
            at_s: f64::from(second + 1),
            queue_depth: if second == 12_345 { 9_000 } else { 1 },
            ..window.clone()
        })
        .collect();
    let page = page(&run, None, None);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    assert!(page.contains("minutes since the start"));
    let peak = plot::Axis::linear("tasks", 9_000.0).up(9_000.0);
    assert!(page.contains(&format!(" {peak:.1}L")), "the peak of the queue is drawn");
}

#[test]
fn numbers_are_short_and_axes_hold_all_values() {
    for (value, text) in
        [(0.0, "0"), (0.05, "0.05"), (1.25, "1.2"), (12.0, "12"), (250.0, "250"), (12_500.0, "12.5k"), (2e6, "2M")]
    {
        assert_eq!(plot::short(value), text);
    }
    assert_eq!(whole(1_234_567), "1\u{202f}234\u{202f}567");
    let axis = plot::Axis::log("ms", [0.3, 812.0].into_iter());
    assert!(axis.low <= 0.3 && axis.high >= 812.0, "{axis:?}");
    for high in [0.0, 0.7, 3.0, 99.0, 101.0, f64::NAN] {
        let axis = plot::Axis::linear("x", high);
        assert!((high.is_nan() || axis.high >= high) && (2..=6).contains(&axis.ticks.len()), "{axis:?}");
    }
}
