//! A scenario finds each fault of a scripted coordinator for what it is, as a run of a number of tasks does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// What this program does not use of it is used by the other one.
#[allow(dead_code, reason = "faults.rs uses all of them")]
mod scripted;

use std::{sync::Arc, time::Duration};

use evenkeel_loadtest::{
    Silent, Target,
    drive::{self, ScenarioPlan},
    record::{Decision, RunRecord},
    scenario::Scenario,
};
use scripted::Fault;

/// One second of short tasks. No specialists and no failures: the scripted coordinator knows neither.
const SCENARIO: &str = r#"
name = "scripted"
description = "A second of short tasks."
duration_s = 1
fleet = { agents = 4, slots = 8 }
arrivals = { rate_per_s = 200, process = { kind = "poisson" } }
work = [{ name = "short", weight = 1, time = "fixed:1ms" }]
network = { tries_max = 3 }
"#;

async fn record(fault: Fault) -> RunRecord {
    let scenario = Scenario::parse(SCENARIO, "test").unwrap();
    let forgets = matches!(fault, Fault::Forgets | Fault::ForgetsAndIsSilent);
    let plan = ScenarioPlan {
        // Only a run with a lost task waits for it.
        stall_timeout: Duration::from_secs(if forgets { 1 } else { 30 }),
        ..ScenarioPlan::new(
            scenario,
            Target::Running { url: scripted::serve(fault).await, security: Default::default() },
        )
    };
    let record = drive::run(&plan, Arc::new(Silent)).await.unwrap().record;
    let totals = record.totals;
    assert!(totals.offered > 100, "{totals:?}");
    assert_eq!(totals.offered, totals.accepted + totals.refused, "{totals:?}");
    assert_eq!(totals.accepted, totals.completed + totals.failed + totals.lost + totals.unverified, "{totals:?}");
    record
}

/// A run with this fault in which every task still came to its one end.
async fn go(fault: Fault) -> RunRecord {
    let record = record(fault).await;
    assert_eq!(record.verdict, Decision::Go, "{:?}", record.reasons);
    assert_eq!(record.totals.completed, record.totals.offered, "{:?}", record.totals);
    record
}

/// A run with this fault that is no go, for a reason with this word.
async fn no_go(fault: Fault, reason: &str) -> RunRecord {
    let record = record(fault).await;
    assert_eq!(record.verdict, Decision::NoGo, "{:?}", record.totals);
    assert!(record.reasons.iter().any(|why| why.contains(reason)), "{:?}", record.reasons);
    record
}

#[tokio::test]
async fn without_a_fault_it_is_go() {
    let record = go(Fault::None).await;
    assert_eq!((record.totals.retried, record.totals.executions_extra), (0, 0));
    assert!(record.windows.iter().all(|window| !window.available), "this coordinator has no status");
}

#[tokio::test]
async fn a_forgotten_task_is_lost() {
    assert_eq!(no_go(Fault::Forgets, "lost").await.totals.lost, 1);
}

#[tokio::test]
async fn a_task_that_nobody_can_tell_of_is_unverified_and_not_lost() {
    let record = no_go(Fault::ForgetsAndIsSilent, "nobody can tell").await;
    assert_eq!((record.totals.lost, record.totals.unverified), (0, 1));
}

#[tokio::test]
async fn a_second_end_is_a_duplicate() {
    assert_eq!(no_go(Fault::EndsTwice, "more than once").await.totals.duplicated, 1);
}

#[tokio::test]
async fn a_second_recorded_result_is_a_duplicate() {
    let record = no_go(Fault::RecordsTwice, "more than once").await;
    assert_eq!((record.totals.duplicated, record.totals.executions_extra), (1, 1));
}

#[tokio::test]
async fn another_tasks_output_is_a_mismatch() {
    assert_eq!(no_go(Fault::MixesUp, "another task's end").await.totals.mismatched, 1);
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again() {
    assert!(go(Fault::BreaksStream).await.totals.retried > 0);
    assert!(go(Fault::PutsOff).await.totals.retried > 0);
}

#[tokio::test]
async fn what_is_refused_for_good_is_counted_and_not_sent_again() {
    let totals = record(Fault::Refuses).await.totals;
    assert_eq!((totals.refused, totals.retried), (1, 0));
}

#[tokio::test]
async fn an_end_that_is_not_told_is_asked_for() {
    go(Fault::KeepsSilent).await;
}

#[tokio::test]
async fn agents_that_lose_their_sessions_go_on() {
    go(Fault::DropsAgents).await;
}
