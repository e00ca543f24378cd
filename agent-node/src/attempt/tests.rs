use evenkeel_shared::{CostUnit, Micros, QuotaKey, TaskBudget, Timestamp};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{executors::testing::task, task::KindFn};

/// Runs a function as an attempt that has so long, and gives what came of it.
async fn run_for<F, R>(limit: Duration, function: F) -> Outcome
where
    F: Fn(TaskContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Bytes, ExecutionError>> + Send + 'static,
{
    let (mut task, _token) = task("x");
    task.timeout = limit;
    run(&KindFn(function), task, 4).await.outcome
}

fn check_failed(outcome: Outcome, class: FailureClass, message: &str) {
    match outcome {
        Outcome::Failed(failure) => {
            assert_eq!(failure.class, class, "{}", failure.message);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
        other => panic!("{other:?} is no failure"),
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(5);

#[tokio::test]
async fn what_the_executor_returns_is_the_outcome() {
    let done = run_for(LONG, |task| async move { Ok(task.payload) }).await;
    assert_eq!(done, Outcome::Succeeded("x".into()));
    let failed = run_for(LONG, |_| async { Err(ExecutionError::non_retryable("no").exit_code(3)) }).await;
    let failure = Failure { exit_code: Some(3), ..Failure::new(FailureClass::NonRetryable, "no") };
    assert_eq!(failed, Outcome::Failed(failure));
}

#[tokio::test]
async fn an_output_above_the_limit_is_a_lasting_failure() {
    let done = run_for(LONG, |_| async { Ok("12345".into()) }).await;
    check_failed(done, FailureClass::NonRetryable, "5 bytes; at most 4");
}

#[tokio::test]
async fn a_panic_is_a_failure_with_its_message() {
    check_failed(run_for(LONG, |_| async { panic!("plain") }).await, FailureClass::Retryable, "plain");
    check_failed(run_for(LONG, |_| async { panic!("n = {}", 7) }).await, FailureClass::Retryable, "n = 7");
    let opaque = run_for(LONG, |_| async { std::panic::panic_any(7) }).await;
    check_failed(opaque, FailureClass::Retryable, "no message");
    // A function that panics before it gives a future counts too.
    let early = run_for(LONG, |task| {
        assert!(task.payload.is_empty(), "early");
        async { Ok(Bytes::new()) }
    });
    check_failed(early.await, FailureClass::Retryable, "early");
}

#[tokio::test]
async fn time_is_up_for_those_who_listen() {
    let done = run_for(SHORT, |task| async move {
        task.cancelled().cancelled().await;
        Ok("late".into())
    });
    check_failed(done.await, FailureClass::Timeout, "5 ms; the executor stopped");
}

#[tokio::test]
async fn those_who_do_not_listen_are_dropped_after_the_grace() {
    let begun = Instant::now();
    let done = run_for(SHORT, |_| std::future::pending()).await;
    check_failed(done, FailureClass::Timeout, "was dropped");
    assert!(begun.elapsed() >= STOP_GRACE);
}

#[tokio::test]
async fn an_agent_whose_clock_is_ahead_does_not_cut_an_attempt_short() {
    let (reports, _) = tokio::sync::mpsc::channel(1);
    let mut work = crate::executors::testing::assignment(1, "x");
    work.deadline = Some(Timestamp::ZERO.plus(SHORT));
    let task = TaskContext::new(work, CancellationToken::new(), reports);
    assert_eq!(
        run(&KindFn(|task: TaskContext| async move { Ok(task.payload) }), task, 4).await.outcome,
        Outcome::Succeeded("x".into())
    );
}

#[tokio::test]
async fn a_cancelled_attempt_is_cancelled_whatever_it_returns() {
    let (task, token) = task("");
    token.cancel();
    let stubborn = KindFn(|task: TaskContext| async move {
        task.cancelled().cancelled().await;
        tokio::task::yield_now().await;
        Ok(Bytes::from("done"))
    });
    assert_eq!(run(&stubborn, task, 4).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn what_an_attempt_left_behind_hears_that_it_is_over() {
    let (task, token) = task("");
    run(&KindFn(|task: TaskContext| async move { Ok(task.payload) }), task, 4).await;
    assert!(token.is_cancelled());
}

#[tokio::test]
async fn the_wall_time_of_a_budget_is_final_and_a_shorter_timeout_is_not() {
    for (wall_max, class, message) in [
        (SHORT, FailureClass::BudgetExceeded, "5 ms of wall time"),
        (SHORT * 1_000, FailureClass::Timeout, "5 ms; the executor stopped"),
    ] {
        let mut task = task("").0;
        task.timeout = if class == FailureClass::Timeout { SHORT } else { SHORT * 1_000 };
        task.budget = Some(Box::new(TaskBudget { wall_max: Some(wall_max), ..TaskBudget::default() }));
        let waits = KindFn(|task: TaskContext| async move {
            task.cancelled().cancelled().await;
            Ok(Bytes::new())
        });
        check_failed(run(&waits, task, 4).await.outcome, class, message);
    }
}

#[tokio::test]
async fn what_an_attempt_reports_goes_out_with_its_end() {
    let reports = KindFn(|task: TaskContext| async move {
        task.report_cost("usd", 0.5)?;
        task.report_cost("usd", 0.25)?;
        assert!(task.report_cost("usd", -1.0).is_err() && task.report_cost("two words", 1.0).is_err());
        let key = QuotaKey::new("openai/a").unwrap();
        Err::<Bytes, _>(task.quota_exhausted(&key, Duration::from_secs(3), "full"))
    });
    let ended = run(&reports, task("").0, 4).await;
    assert_eq!(ended.usage.unwrap().cost[&CostUnit::usd()], Micros::from_units(0.75));
    assert_eq!(ended.quotas.len(), 1);
    check_failed(ended.outcome, FailureClass::QuotaExhausted, "the quota `openai/a` is used up: full");
}
