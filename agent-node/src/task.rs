//! What an executor sees: one attempt at a task, and how it says that it failed.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use evenkeel_shared::{
    AttemptRef, CostUnit, Failure, FailureClass, Kind, Micros, Priority, QuotaKey, TaskBudget, Tenant, Timestamp,
    TraceContext, Usage, Violation, wire::agent::Assignment,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::meter::{Exceeded, Meter};

/// Does the work of one kind of task.
///
/// One executor serves all attempts of its kind, at most as many at a time as the agent has slots. It must not block the
/// thread: work that computes or blocks belongs on [`tokio::task::spawn_blocking`]. Executions are at least once: an
/// attempt may run again elsewhere, so effects outside should be fenced with [`TaskContext::attempt`].
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Does the work and returns its output, at most 1 MiB.
    ///
    /// When [`TaskContext::cancelled`] fires it has a few seconds to stop by itself; then the future is dropped.
    ///
    /// # Errors
    /// What went wrong, and whether another attempt may help. A panic counts as a failure worth another attempt, unless the
    /// program is built with `panic = "abort"`.
    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError>;

    /// What sort of executor it is, for traces.
    fn name(&self) -> &'static str {
        "custom"
    }
}

/// One attempt at a task, as its executor sees it.
#[derive(Debug)]
pub struct TaskContext {
    /// The fencing token: which attempt at which task. Hand it to systems that can refuse an overtaken writer.
    pub attempt: AttemptRef,
    /// What is to be done.
    pub kind: Kind,
    /// With what.
    pub payload: Bytes,
    /// Whose work it is.
    pub tenant: Tenant,
    /// How urgent it is.
    pub priority: Priority,
    /// Longest time to run, from the start of this execution; the deadline is in it, as the coordinator's clock has it.
    pub timeout: Duration,
    /// When the task as a whole is given up, as a time of day. The agent's own clock need not agree.
    pub deadline: Option<Timestamp>,
    /// Tasks of one key may share state on one agent. Empty: none.
    pub affinity_key: String,
    /// The client's key, for the executor's own deduplication. Empty: none.
    pub idempotency_key: String,
    /// What it may cost and use. The agent ends what outlives `wall_max`; memory and processor time are enforced for programs
    /// ([`crate::executors::CommandExecutor`], [`crate::executors::ProgramsExecutor`]): within a process nobody can tell
    /// which task uses what.
    pub budget: Option<Box<TaskBudget>>,
    /// Upstream quotas that the task draws on.
    pub quota_keys: Vec<QuotaKey>,
    /// Where this execution is in its task's trace: what it does is to be below that. `None`: the task is in none.
    pub trace: Option<Box<TraceContext>>,
    cancelled: CancellationToken,
    meter: Arc<Meter>,
    reports: mpsc::Sender<Report>,
}

/// What a running attempt says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Report {
    /// How far it is.
    Progress(Progress),
    /// Its meter has heard of upstream quotas that are used up.
    Quotas(AttemptRef),
}

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    pub attempt: AttemptRef,
    pub fraction: f64,
    pub note: String,
    /// What it has used so far.
    pub usage: Option<Box<Usage>>,
}

impl TaskContext {
    /// The context of an assignment that starts now.
    ///
    /// The deadline is not looked at: it is a time of day, and the agent's clock may be wrong. How long there is until then
    /// by the coordinator's clock is in the timeout that it sends.
    pub(crate) fn new(assignment: Assignment, cancelled: CancellationToken, reports: mpsc::Sender<Report>) -> Self {
        Self {
            attempt: assignment.attempt,
            kind: assignment.kind,
            payload: assignment.payload,
            tenant: assignment.tenant,
            priority: assignment.priority,
            timeout: assignment.timeout,
            deadline: assignment.deadline,
            affinity_key: assignment.affinity_key,
            idempotency_key: assignment.idempotency_key,
            budget: assignment.budget,
            quota_keys: assignment.quota_keys,
            trace: assignment.trace,
            cancelled,
            meter: Arc::default(),
            reports,
        }
    }

    /// Fires when the attempt should stop: it was cancelled, its time is up, or the agent goes.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Says how far the attempt is: a fraction from 0 to 1, and a note of at most 1 KiB (the rest is cut).
    ///
    /// Costs little and never waits: a report that finds the agent busy is dropped, and of several the last one counts.
    pub fn progress(&self, fraction: f64, note: impl Into<String>) {
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        self.meter.progress(fraction, note.into());
        self.report();
    }

    /// Says that the attempt has cost so much, besides what it has said before: an `amount` of a `unit` such as "usd" or
    /// "tokens", rounded up to a millionth.
    ///
    /// It counts against the task's own maximum while it runs and is settled with the budgets that cover it when it ends,
    /// whether it succeeds or not. Costs little and never waits.
    ///
    /// # Errors
    /// A unit that is no name, one more than eight, or an amount that is negative or no number. Nothing is counted then.
    pub fn report_cost(&self, unit: &str, amount: f64) -> Result<(), Violation> {
        if !(amount.is_finite() && amount >= 0.0) {
            return Err(Violation::new("amount", format!("{amount} is no cost; use a number from 0")));
        }
        self.meter.cost(CostUnit::new(unit)?, Micros::from_units(amount))?;
        self.report();
        Ok(())
    }

    /// Says that an upstream quota is used up for so long (1 ms to a day): everything in the fleet that shares the key
    /// waits. Return the error from the executor, so that the attempt is made again when the quota is open.
    #[must_use]
    pub fn quota_exhausted(&self, key: &QuotaKey, retry_after: Duration, reason: impl Into<String>) -> ExecutionError {
        let reason = reason.into();
        let message = format!("the quota `{key}` is used up: {reason}");
        self.meter.quota(key.clone(), retry_after, reason);
        // A full channel loses nothing: what the meter holds is said with the attempt's end at the latest.
        let _ = self.reports.try_send(Report::Quotas(self.attempt));
        ExecutionError(Failure::new(FailureClass::QuotaExhausted, message))
    }

    /// What is measured of this attempt.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn report(&self) {
        // A full or closed channel loses a report that the next one would have replaced anyway.
        let _ = self.reports.try_send(Report::Progress(self.meter.report(self.attempt)));
    }

    /// The payload as trimmed text.
    ///
    /// # Errors
    /// A non-retryable error if it is not UTF-8.
    pub fn payload_text(&self) -> Result<&str, ExecutionError> {
        std::str::from_utf8(&self.payload)
            .map(str::trim)
            .map_err(|error| ExecutionError::non_retryable(format!("the payload is not UTF-8 text: {error}")))
    }
}

/// Why an execution failed.
///
/// Any [`std::error::Error`] becomes a retryable one with `?`; for that reason this type is not one itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionError(Failure);

impl ExecutionError {
    /// A failure that another attempt may not meet.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self(Failure::new(FailureClass::Retryable, message))
    }

    /// A failure that every attempt would meet.
    pub fn non_retryable(message: impl Into<String>) -> Self {
        Self(Failure::new(FailureClass::NonRetryable, message))
    }

    /// The attempt used more than its task's budget allows. No other attempt is made.
    #[must_use]
    pub fn budget_exceeded(exceeded: Exceeded) -> Self {
        Self(Failure::new(FailureClass::BudgetExceeded, exceeded.to_string()))
    }

    /// With the exit code of the program that failed.
    #[must_use]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// The failure as it is reported.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        error.0
    }
}

impl<E: std::error::Error> From<E> for ExecutionError {
    fn from(error: E) -> Self {
        Self::retryable(error.to_string())
    }
}

impl fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// A function as an executor.
pub(crate) struct KindFn<F>(pub F);

#[async_trait]
impl<F, R> Executor for KindFn<F>
where
    F: Fn(TaskContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Bytes, ExecutionError>> + Send + 'static,
{
    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        (self.0)(task).await
    }
}
