//! Runs one attempt within its limits.
//!
//! Whatever an executor does, exactly one outcome comes of it, and soon after it was told to stop: a panic is a failure,
//! an attempt that outlives its time or its cancellation gets a grace period and is then dropped.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_shared::{AttemptRef, Failure, FailureClass, Kind, Outcome, Usage};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use crate::{
    meter::{Exceeded, QuotaReport},
    task::{ExecutionError, Executor, TaskContext},
};

/// Time between telling an executor to stop and dropping it: enough to put a file in order, and little beside any
/// timeout that an operator would choose.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// Said of an attempt that took less: nothing would mean that it was not measured.
const RUN_MIN: Duration = Duration::from_micros(1);

/// An attempt that has stopped.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub attempt: AttemptRef,
    /// What it was to do.
    pub kind: Kind,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it ran.
    pub run: Duration,
    /// What it used, as far as anybody measured or said.
    pub usage: Option<Box<Usage>>,
    /// Upstream quotas that it found used up, and that were not said before.
    pub quotas: Vec<QuotaReport>,
}

/// Runs the attempt to its end, of an output of so many bytes at most.
pub(crate) async fn run(executor: &dyn Executor, task: TaskContext, output_bytes_max: usize) -> Ended {
    let begun = Instant::now();
    let (attempt, kind, meter) = (task.attempt, task.kind.clone(), task.meter().clone());
    let outcome = match outcome(executor, task).await {
        Outcome::Succeeded(output) if output.len() > output_bytes_max => {
            let message = format!("the output is {} bytes; at most {output_bytes_max} are allowed", output.len());
            Outcome::Failed(Failure::new(FailureClass::NonRetryable, message))
        }
        outcome => outcome,
    };
    let run = begun.elapsed().max(RUN_MIN);
    Ended { attempt, kind, outcome, run, usage: meter.usage(), quotas: meter.take_quotas() }
}

async fn outcome(executor: &dyn Executor, task: TaskContext) -> Outcome {
    let wall_max = task.budget.as_ref().and_then(|budget| budget.wall_max).filter(|&max| max <= task.timeout);
    let (limit, has_deadline) = (wall_max.unwrap_or(task.timeout), task.deadline.is_some());
    let cancelled = task.cancelled();
    // Whatever the executor started elsewhere hears that the attempt is over, however it ends.
    let _stop_all = cancelled.clone().drop_guard();
    let mut execution = AssertUnwindSafe(executor.execute(task)).catch_unwind();
    let stop = async {
        tokio::select! {
            () = tokio::time::sleep(limit) => true,
            () = cancelled.cancelled() => false,
        }
    };
    let out_of_time = tokio::select! {
        done = &mut execution => return finished(done),
        out_of_time = stop => out_of_time,
    };
    cancelled.cancel();
    // What it returns now does not count: it was told to stop.
    let stopped = timeout(STOP_GRACE, execution).await.is_ok();
    if out_of_time && let Some(limit) = wall_max {
        return Outcome::Failed(ExecutionError::budget_exceeded(Exceeded::WallTime { limit }).into());
    }
    if out_of_time {
        let which = if has_deadline { "attempt timeout or the task's deadline" } else { "attempt timeout" };
        let how = if stopped { "stopped" } else { "did not stop when told and was dropped" };
        return timed_out(format!("the {which} passed after {} ms; the executor {how}", limit.as_millis()));
    }
    Outcome::Cancelled
}

fn finished(done: Result<Result<Bytes, ExecutionError>, Box<dyn Any + Send>>) -> Outcome {
    match done {
        Ok(Ok(output)) => Outcome::Succeeded(output),
        Ok(Err(error)) => Outcome::Failed(error.into()),
        Err(panic) => {
            let message = format!("the executor panicked: {}", panic_message(panic.as_ref()));
            Outcome::Failed(Failure::new(FailureClass::Retryable, message))
        }
    }
}

fn timed_out(message: String) -> Outcome {
    Outcome::Failed(Failure::new(FailureClass::Timeout, message))
}

/// The text of a panic; `panic!` gives a `&str` or a `String`, anything else is opaque.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
