use super::*;
use crate::levels::{Measure, ServiceLevel};

fn outcome(severity: Severity, kept: bool) -> LevelOutcome {
    let level = ServiceLevel {
        name: "errors".to_owned(),
        measure: Measure::ErrorRate,
        at_most: Some(0.01),
        at_least: None,
        severity,
        grace_s: 1.0,
        from_s: 0.0,
        stops_run: false,
        rolls_back: false,
        work: None,
        priority: None,
    };
    let violations = if kept { Vec::new() } else { vec![(3.0, 5.0), (7.0, 9.0)] };
    LevelOutcome { level, value: Some(0.005), worst: Some(0.25), violations, kept }
}

fn change(made_at_s: Option<f64>, rollback_succeeded: Option<bool>, error: Option<&str>) -> ChangeOutcome {
    ChangeOutcome {
        change: "strategy random".to_owned(),
        made_at_s,
        violation: rollback_succeeded.map(|_| "latency: is bad".to_owned()),
        undone_at_s: None,
        recovered_after_s: rollback_succeeded.filter(|&succeeded| succeeded).map(|_| 2.0),
        rollback_succeeded,
        error: error.map(str::to_owned),
    }
}

/// That the verdict has exactly this reason; none is go.
#[track_caller]
fn check(totals: Totals, levels: &[LevelOutcome], change: Option<ChangeOutcome>, reason: Option<&str>) {
    let (decision, reasons) = decide(&totals, levels, change.as_ref());
    assert_eq!(reasons, reason.into_iter().collect::<Vec<_>>());
    assert_eq!(decision == Decision::Go, reason.is_none());
}

#[test]
fn a_run_that_kept_everything_is_go() {
    let totals = Totals { refused: 5, failed: 5, retried: 5, executions_extra: 5, ..Totals::default() };
    check(totals, &[outcome(Severity::Critical, true)], Some(change(Some(1.0), None, None)), None);
}

#[test]
fn a_broken_promise_is_no_go_with_or_without_levels() {
    let none = Totals::default;
    check(Totals { lost: 2, ..none() }, &[], None, Some("promises: 2 tasks accepted and lost"));
    check(Totals { duplicated: 1, ..none() }, &[], None, Some("promises: 1 tasks recorded more than once"));
    check(Totals { mismatched: 1, ..none() }, &[], None, Some("promises: 1 tasks answered with another task's end"));
    let unverified = "promises: 3 tasks accepted, and of their end nobody can tell";
    check(Totals { unverified: 3, ..none() }, &[], None, Some(unverified));
}

#[test]
fn only_critical_levels_decide() {
    let none = Totals::default();
    check(none, &[outcome(Severity::Warning, false), outcome(Severity::Info, false)], None, None);
    let reason =
        "errors: error rate was 0.5 %, at most 1 %; violated from 3.0 s to 5.0 s, and 1 times more, at worst 25 %";
    check(none, &[outcome(Severity::Critical, false)], None, Some(reason));
}

#[test]
fn a_change_that_had_to_be_undone_is_no_go_even_if_that_helped() {
    let none = Totals::default();
    let check = |change, reason| check(none, &[], Some(change), Some(reason));
    check(
        change(Some(5.0), Some(true), None),
        "change `strategy random`: rolled back after a violation (latency: is bad); the service levels \
         held again 2.0 s later",
    );
    check(
        change(Some(5.0), Some(false), Some("nobody answers")),
        "change `strategy random`: the rollback after a violation (latency: is bad) failed: nobody answers",
    );
    check(change(None, None, Some("not due")), "change `strategy random`: not made: not due");
}
