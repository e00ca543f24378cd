//! A harness that cannot find a fault is worth nothing: each fault of a scripted coordinator is found for what it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scripted;

use std::time::Duration;

use evenkeel_loadtest::{Report, RunPlan, Silent, Target, TaskTime, Verdict};
use scripted::Fault;

const TASKS: u32 = 200;

async fn report(fault: Fault) -> Report {
    let plan = RunPlan {
        slots: 8,
        in_flight: Some(24),
        batch: 8,
        task_time: TaskTime::Fixed(Duration::from_millis(1)),
        // Only a run with a lost task waits for it.
        stall_timeout: Duration::from_secs(if matches!(fault, Fault::Forgets | Fault::ForgetsAndIsSilent) {
            1
        } else {
            30
        }),
        ..RunPlan::new(Target::Running { url: scripted::serve(fault).await, security: Default::default() }, 4, TASKS)
    };
    evenkeel_loadtest::run(plan, &Silent).await.unwrap()
}

/// A run with this fault in which every task still came to its one end.
async fn passed(fault: Fault) -> Report {
    let report = report(fault).await;
    assert_eq!(report.verdict(), Verdict::Passed, "{report:?}");
    assert_eq!((report.submitted, report.accepted, report.completed), (TASKS, TASKS, TASKS));
    report
}

/// A run with this fault that finds a promise broken.
async fn broken(fault: Fault) -> Report {
    let report = report(fault).await;
    assert_eq!(report.verdict(), Verdict::Broken, "{report:?}");
    report
}

#[tokio::test]
async fn a_run_without_a_fault_passes_and_counts_everything() {
    let report = passed(Fault::None).await;
    assert_eq!((report.agents, report.lost, report.duplicated, report.mismatched), (4, 0, 0, 0));
    assert_eq!((report.reconnects, report.retried, report.executions_extra), (0, 0, 0));
    assert_eq!((report.tasks_by_agent.min, report.tasks_by_agent.max), (TASKS / 4, TASKS / 4));
    assert_eq!(report.strategy, "round_robin");
    assert!(report.latency_ms.p50 >= 1.0 && report.throughput_per_s > 0.0, "{report:?}");
}

#[tokio::test]
async fn a_forgotten_task_is_lost() {
    assert_eq!(broken(Fault::Forgets).await.lost, 1);
}

#[tokio::test]
async fn a_task_that_nobody_answers_for_is_unverified_and_not_lost() {
    let report = report(Fault::ForgetsAndIsSilent).await;
    assert_eq!(report.verdict(), Verdict::Unverified, "{report:?}");
    assert_eq!((report.unverified, report.lost, report.completed), (1, 0, TASKS - 1));
}

#[tokio::test]
async fn a_task_that_ends_twice_is_duplicated() {
    assert_eq!(broken(Fault::EndsTwice).await.duplicated, 1);
}

#[tokio::test]
async fn a_task_recorded_of_two_agents_is_duplicated() {
    let report = broken(Fault::RecordsTwice).await;
    assert_eq!((report.duplicated, report.executions_extra), (1, 1));
}

#[tokio::test]
async fn another_tasks_output_does_not_fit() {
    assert_eq!(broken(Fault::MixesUp).await.mismatched, 1);
}

#[tokio::test]
async fn what_a_broken_stream_did_not_answer_is_the_same_task_when_it_is_sent_again() {
    let report = passed(Fault::BreaksStream).await;
    assert_eq!((report.reconnects, report.executions_extra), (1, 0));
}

#[tokio::test]
async fn a_task_put_off_is_sent_again() {
    assert_eq!(passed(Fault::PutsOff).await.retried, 1);
}

#[tokio::test]
async fn a_task_refused_is_no_broken_promise_and_no_success() {
    let report = report(Fault::Refuses).await;
    assert_eq!((report.verdict(), report.refused), (Verdict::Incomplete, 1));
    assert_eq!(report.first_refusal.as_deref(), Some("INVALID_ARGUMENT: as planned"));
}

#[tokio::test]
async fn an_end_that_is_not_told_is_asked_for() {
    assert_eq!(passed(Fault::KeepsSilent).await.notices_missed, 1);
}

#[tokio::test]
async fn agents_come_back_and_send_again_what_was_not_acknowledged() {
    passed(Fault::DropsAgents).await;
}
