//! Runs told second by second, and what became of their levels.

use super::*;
use crate::{
    levels::Measure,
    record::{Phase, Slice},
};

/// A level on the end to end p99 of at most 100 ms, without grace.
fn p99() -> ServiceLevel {
    level(Measure::Percentile { phase: Phase::EndToEnd, percent: 99.0 }).at_most(100.0)
}

fn level(measure: Measure) -> ServiceLevel {
    ServiceLevel {
        name: "level".to_owned(),
        measure,
        at_most: None,
        at_least: None,
        severity: Severity::Critical,
        grace_s: 0.0,
        from_s: 0.0,
        stops_run: false,
        rolls_back: false,
        work: None,
        priority: None,
    }
}

impl ServiceLevel {
    fn at_most(mut self, limit: f64) -> Self {
        self.at_most = Some(limit);
        self
    }

    fn at_least(mut self, limit: f64) -> Self {
        self.at_least = Some(limit);
        self
    }

    fn grace_s(mut self, grace_s: f64) -> Self {
        self.grace_s = grace_s;
        self
    }

    fn judged_from(mut self, from_s: f64) -> Self {
        self.from_s = from_s;
        self
    }
}

/// A run of ten seconds of arrivals, told second by second.
struct Run {
    watch: Watch,
    at_s: f64,
    /// What happened, as "second: what".
    told: Vec<String>,
}

/// A second in which `offered` tasks were due and `latencies_ms` ended.
#[derive(Default)]
struct Second<'a> {
    offered: u64,
    latencies_ms: &'a [u64],
    refused: u64,
    down: bool,
    queue_depth: u64,
}

/// A second in which as many tasks ended as were due, with these latencies.
fn ended(latencies_ms: &[u64]) -> Second<'_> {
    Second { offered: latencies_ms.len() as u64, latencies_ms, ..Second::default() }
}

const GOOD: &[u64] = &[10, 20, 30];
const BAD: &[u64] = &[10, 20, 500];

impl Run {
    fn of(level: ServiceLevel) -> Self {
        let watch = Watch::new(&[level], 10.0, None).unwrap();
        Self { watch, at_s: 0.0, told: Vec::new() }
    }

    fn second(mut self, second: Second) -> Self {
        self.at_s += 1.0;
        let completed = second.latencies_ms.len() as u64;
        let window = Window {
            at_s: self.at_s,
            length_s: 1.0,
            offered: second.offered,
            accepted: second.offered - second.refused,
            refused: second.refused,
            completed,
            available: !second.down,
            queue_depth: second.queue_depth,
            ..Window::default()
        };
        let mut seen = Histograms::default();
        for ms in second.latencies_ms {
            seen.record(&Slice::All, Phase::EndToEnd, ms * 1_000);
            // Each kind of work its own: odd tens are urgent.
            let priority = if ms / 10 % 2 == 1 { 9 } else { 1 };
            seen.record(&Slice::Priority(priority), Phase::EndToEnd, ms * 1_000);
        }
        for event in self.watch.observe(&window, &seen) {
            let what = match event.what {
                Happening::Violated => "violated",
                Happening::Counted => "counted",
                Happening::Recovered { counted: true } => "recovered",
                Happening::Recovered { counted: false } => "recovered in time",
            };
            self.told.push(format!("{}: {what}", event.at_s));
        }
        self
    }

    fn seconds(mut self, latencies_ms: &[&[u64]]) -> Self {
        for latencies_ms in latencies_ms {
            self = self.second(ended(latencies_ms));
        }
        self
    }

    #[track_caller]
    fn check(self, told: &[&str], kept: bool) -> LevelOutcome {
        assert_eq!(self.told, told);
        let outcome = self.watch.finish(&Totals::default()).remove(0);
        assert_eq!(outcome.kept, kept, "{outcome:?}");
        outcome
    }
}

#[test]
fn a_level_without_grace_is_broken_by_one_second() {
    let outcome = Run::of(p99()).seconds(&[GOOD, BAD, GOOD]).check(&["2: counted", "3: recovered"], false);
    assert_eq!(outcome.violations, [(1.0, 2.0)]);
    assert!((outcome.worst.unwrap() - 500.0).abs() < 1.0, "{outcome:?}");
}

#[test]
fn a_violation_counts_once_it_has_lasted_for_the_grace() {
    // Four out of 400: the percentile of the whole run is within.
    let many = [10; 200];
    let run = || Run::of(p99().grace_s(3.0)).seconds(&[&many, &many]);
    run().seconds(&[BAD, BAD, GOOD]).check(&["3: violated", "5: recovered in time"], true);
    let outcome = run().seconds(&[BAD, BAD, BAD, GOOD]).check(&["3: violated", "5: counted", "6: recovered"], false);
    assert_eq!(outcome.violations, [(2.0, 5.0)]);
}

#[test]
fn a_second_that_heals_starts_the_grace_anew() {
    let many = [10; 1_000];
    let run = Run::of(p99().grace_s(3.0)).seconds(&[&many, BAD, BAD, &many, BAD, BAD, &many]);
    run.check(&["2: violated", "4: recovered in time", "5: violated", "7: recovered in time"], true);
}

#[test]
fn a_second_without_tasks_neither_breaks_nor_heals() {
    let run = Run::of(p99().grace_s(3.0)).seconds(&[BAD, &[], &[], GOOD]);
    run.check(&["1: violated", "4: recovered in time"], false);
    // It goes on, but is not taken for observed while nothing says so.
    let run = Run::of(p99().grace_s(3.0)).seconds(&[BAD, &[], &[], &[], BAD]);
    let outcome = run.check(&["1: violated", "5: counted"], false);
    assert_eq!(outcome.violations, [(0.0, 5.0)]);
}

#[test]
fn what_never_was_measured_is_kept_and_has_no_value() {
    let outcome = Run::of(p99()).seconds(&[&[], &[]]).check(&[], true);
    assert_eq!((outcome.value, outcome.worst), (None, None));
}

#[test]
fn a_coordinator_that_hangs_does_not_look_healthy() {
    let hangs = || Second { offered: 5, ..Second::default() };
    // In its first second the tasks may have been due at its end.
    let run = Run::of(p99()).seconds(&[GOOD]).second(hangs()).second(hangs()).second(hangs());
    let outcome = run.check(&["3: counted"], false);
    assert_eq!(outcome.worst, Some(2_000.0));
    let half = Measure::Compliance { phase: Phase::EndToEnd, within_ms: 1_500.0 };
    let run = Run::of(level(half).at_least(0.5)).seconds(&[GOOD]).second(hangs()).second(hangs()).second(hangs());
    let outcome = run.check(&["4: counted"], false);
    assert_eq!(outcome.worst, Some(0.0));
}

#[test]
fn a_stall_shorter_than_the_limit_says_nothing() {
    let slow = ServiceLevel { at_most: Some(5_000.0), ..p99() };
    let out = Second { offered: 1, ..Second::default() };
    Run::of(slow)
        .second(out)
        .seconds(&[&[], &[], &[]])
        .second(Second { latencies_ms: &[3_900], ..Second::default() })
        .check(&[], true);
}

#[test]
fn a_level_of_one_priority_hears_of_that_priority_alone() {
    let urgent = || ServiceLevel { priority: Some(9), ..p99() };
    // 500 ms counts as bulk, 510 ms as urgent.
    Run::of(urgent()).seconds(&[&[10, 500], &[10, 500]]).check(&[], true);
    Run::of(urgent()).seconds(&[&[10, 500], &[510]]).check(&["2: counted"], false);
}

#[test]
fn nothing_is_judged_before_its_time() {
    let outcome = Run::of(p99().judged_from(2.0)).seconds(&[BAD, BAD, GOOD, GOOD]).check(&[], true);
    assert!((outcome.value.unwrap() - 30.0).abs() < 0.1, "{outcome:?}");
}

#[test]
fn the_value_over_the_whole_run_counts_even_where_every_violation_was_short() {
    let outcome =
        Run::of(p99().grace_s(2.0)).seconds(&[GOOD, BAD, GOOD]).check(&["2: violated", "3: recovered in time"], false);
    assert!(outcome.violations.is_empty() && outcome.value.unwrap() > 100.0, "{outcome:?}");
}

#[test]
fn compliance_is_the_share_within() {
    let within = Measure::Compliance { phase: Phase::EndToEnd, within_ms: 100.0 };
    let outcome = Run::of(level(within).at_least(0.6))
        .seconds(&[BAD, &[10, 500], GOOD])
        .check(&["2: counted", "3: recovered"], false);
    assert_eq!(outcome.value, Some(6.0 / 8.0));
    assert_eq!(outcome.worst, Some(0.5));
}

#[test]
fn availability_is_the_share_of_time() {
    let down = || Second { down: true, ..Second::default() };
    let run = Run::of(level(Measure::Availability).at_least(0.7).grace_s(2.0))
        .seconds(&[GOOD, GOOD])
        .second(down())
        .seconds(&[GOOD]);
    let outcome = run.check(&["3: violated", "4: recovered in time"], true);
    assert_eq!(outcome.value, Some(0.75));
}

#[test]
fn errors_are_a_share_of_what_is_offered_and_lost_tasks_are_errors() {
    let refused = || Second { offered: 4, refused: 1, latencies_ms: GOOD, ..Second::default() };
    let run = || Run::of(level(Measure::ErrorRate).at_most(0.3)).second(refused()).seconds(&[GOOD, GOOD]);
    assert_eq!(run().check(&[], true).value, Some(0.1));
    let outcome = run().watch.finish(&Totals { lost: 3, ..Totals::default() }).remove(0);
    assert_eq!((outcome.value, outcome.kept), (Some(0.4), false));
}

#[test]
fn throughput_is_not_judged_once_no_more_tasks_arrive() {
    let run = |limit| Run::of(level(Measure::Throughput).at_least(limit)).seconds(&[GOOD; 10]).seconds(&[&[], &[]]);
    assert_eq!(run(3.0).check(&[], true).value, Some(3.0));
    run(4.0).check(&["1: counted"], false);
}

#[test]
fn a_run_that_is_stopped_owes_no_throughput() {
    let mut run = Run::of(level(Measure::Throughput).at_least(3.0)).seconds(&[GOOD; 3]);
    run.watch.close(3.0);
    run.seconds(&[&[], &[]]).check(&[], true);
}

#[test]
fn the_completed_share_is_of_ten_seconds() {
    let half = || Second { offered: 6, latencies_ms: GOOD, ..Second::default() };
    let mut run = Run::of(level(Measure::CompletedShare).at_least(0.9));
    for _ in 0..9 {
        run = run.second(half());
    }
    assert!(run.told.is_empty(), "nine seconds are no span");
    let run = run.second(half());
    assert_eq!(run.told, ["10: counted"]);
    // The drain brings the rest, and is not judged.
    let outcome = run.second(Second { latencies_ms: &[10; 30], ..Second::default() }).check(&["10: counted"], false);
    assert_eq!((outcome.value, outcome.worst), (Some(1.0), Some(0.5)));
}

#[test]
fn the_completed_share_forgets_what_is_longer_ago() {
    let level = level(Measure::CompletedShare).at_least(0.9);
    let watch = Watch::new(&[level], 100.0, None).unwrap();
    let mut run = Run { watch, at_s: 0.0, told: Vec::new() }.second(Second { offered: 10, ..Second::default() });
    for _ in 0..11 {
        run = run.seconds(&[GOOD]);
    }
    assert_eq!(run.told, ["10: counted", "11: recovered"]);
}

#[test]
fn a_queue_is_judged_by_its_depth_and_known_only_of_a_coordinator_that_answers() {
    let deep = |down| Second { queue_depth: 50, down, ..Second::default() };
    let level = || level(Measure::QueueDepth).at_most(20.0);
    let outcome = Run::of(level()).second(deep(false)).seconds(&[GOOD]).check(&["1: counted", "2: recovered"], false);
    assert_eq!((outcome.value, outcome.worst), (Some(25.0), Some(50.0)));
    Run::of(level()).second(deep(true)).check(&[], true);
}

#[test]
fn a_level_with_both_limits_is_broken_on_either_side() {
    let band = level(Measure::QueueDepth).at_least(10.0).at_most(20.0);
    let depth = |queue_depth| Second { queue_depth, ..Second::default() };
    let run = Run::of(band).second(depth(15)).second(depth(5)).second(depth(20)).second(depth(21));
    let outcome = run.check(&["2: counted", "3: recovered", "4: counted"], false);
    assert_eq!(outcome.worst, Some(5.0));
}

#[test]
fn violations_that_never_end_are_joined() {
    let mut run = Run::of(p99());
    for _ in 0..VIOLATIONS_MAX + 50 {
        run = run.seconds(&[BAD, GOOD]);
    }
    let outcome = run.watch.finish(&Totals::default()).remove(0);
    assert_eq!(outcome.violations.len(), VIOLATIONS_MAX);
    assert_eq!(outcome.violations.last().unwrap().1, 499.0);
}

#[test]
fn an_event_says_what_is_wrong_and_since_when() {
    let level = ServiceLevel { stops_run: true, name: "latency".to_owned(), ..p99().grace_s(2.0) };
    let mut watch = Watch::new(&[level], 10.0, None).unwrap();
    let mut seen = Histograms::default();
    seen.record(&Slice::All, Phase::EndToEnd, 212_000);
    let window = |at_s| Window { at_s, length_s: 1.0, completed: 1, ..Window::default() };
    let first = watch.observe(&window(1.0), &seen).remove(0);
    assert!(!first.stops_run && first.text.contains("counts from 2 s on"), "{first:?}");
    assert_eq!(watch.violated().collect::<Vec<_>>(), ["latency"]);
    let event = watch.observe(&window(2.0), &seen).remove(0);
    assert_eq!(event.text, "latency: p99 of end to end is 212.1 ms, at most 100 ms, violated since 0.0 s");
    assert!(event.stops_run && !event.rolls_back);
}
