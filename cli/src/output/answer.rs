//! What becomes of requests about tasks, as printed: results, submissions, cancellations, redrives.

use std::time::Duration;

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Blob, Row,
    attempt::FailureView,
    table::{self, Cell, Tone},
    task::{preview, state_cell, state_name},
    text,
};

/// A task that is over.
#[derive(Clone, Debug, Serialize)]
pub struct FinishedView {
    /// Its id.
    pub task_id: String,
    /// The state it ended in.
    pub state: &'static str,
    /// Attempts made.
    pub attempts_made: u32,
    /// The agent that had it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Acceptance to end.
    pub latency_us: u64,
    /// The output, if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Blob>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
}

impl From<&v1::TaskFinished> for FinishedView {
    fn from(wire: &v1::TaskFinished) -> Self {
        Self {
            task_id: wire.task_id.clone(),
            state: state_name(wire.state),
            attempts_made: wire.attempts_made,
            agent_id: text(wire.agent_id.clone()),
            latency_us: wire.latency_us,
            output: Blob::new(&wire.output),
            failure: wire.failure.clone().map(Into::into),
        }
    }
}

impl Row for FinishedView {
    const HEADERS: &'static [&'static str] = &["task", "state", "tries", "agent", "latency", "output or failure"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.task_id),
            state_cell(self.state),
            Cell::number(self.attempts_made),
            Cell::text(self.agent_id.as_deref().unwrap_or_default()),
            Cell::number(table::duration(Duration::from_micros(self.latency_us))),
            Cell::text(preview(self.output.as_ref(), self.failure.as_ref())),
        ]
    }
}

/// An answer to `task submit`.
#[derive(Clone, Debug, Serialize)]
pub struct SubmittedView {
    /// The task.
    pub task_id: String,
    /// It had been accepted before, under the same key.
    pub duplicate: bool,
}

impl Row for SubmittedView {
    const HEADERS: &'static [&'static str] = &["task", "accepted"];

    fn cells(&self) -> Vec<Cell> {
        let accepted = if self.duplicate { "before, under the same key" } else { "now" };
        vec![Cell::text(&self.task_id), Cell::text(accepted)]
    }
}

/// An answer to `task cancel`.
#[derive(Clone, Debug, Serialize)]
pub struct CancelledView {
    /// The task.
    pub task_id: String,
    /// `cancelled`, or the state it had ended in before.
    pub state: &'static str,
}

impl Row for CancelledView {
    const HEADERS: &'static [&'static str] = &["task", "state"];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.task_id), state_cell(self.state)]
    }
}

/// An answer to `task redrive`, for one task.
#[derive(Clone, Debug, Serialize)]
pub struct RedrivenView {
    /// The task that is over.
    pub task_id: String,
    /// The new one that does its work again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_task_id: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Row for RedrivenView {
    const HEADERS: &'static [&'static str] = &["task", "new task", "error"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.task_id),
            Cell::text(self.new_task_id.as_deref().unwrap_or_default()),
            Cell::text(self.error.as_deref().unwrap_or_default()).tone(Tone::Bad),
        ]
    }
}
