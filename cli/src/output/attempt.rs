//! Attempts of tasks, as printed: where they ran and why there, what they used, how they ended.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_proto::v1;
use evenkeel_shared::{Micros, wire::enums};
use serde::Serialize;

use super::{
    Row,
    table::{self, Cell},
    task::{preview, state_cell},
    time,
};

/// A failure of an attempt or a task.
#[derive(Clone, Debug, Serialize)]
pub struct FailureView {
    /// `retryable`, `non_retryable`, `timeout`, `rejected` or `agent_lost`.
    pub class: &'static str,
    /// What happened.
    pub message: String,
    /// Exit code of a program, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// One assignment of a task to an agent.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptView {
    /// 1 is the first.
    pub attempt: u32,
    /// The assignment, as text: it does not fit into JavaScript's numbers.
    pub assignment_id: String,
    /// To whom.
    pub agent_id: String,
    /// When it was given.
    pub assigned_unix_ms: Option<i64>,
    /// When it began to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_unix_ms: Option<i64>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_unix_ms: Option<i64>,
    /// How it ended: `succeeded`, `failed`, `timed_out`, `cancelled`, `agent_lost`, `rejected`, `handed_back`, `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<&'static str>,
    /// Why, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// Time of execution as the agent measured it.
    pub run_us: u64,
    /// What it used and cost, as far as its agent knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// Why it went to this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionView>,
}

/// What an attempt used and cost.
#[derive(Clone, Debug, Serialize)]
pub struct UsageView {
    /// Processor time of its program.
    pub cpu_ms: u64,
    /// The most memory that its program had at once.
    pub memory_max_bytes: u64,
    /// As its executor reported, by unit.
    pub cost: BTreeMap<String, f64>,
}

/// Why an assignment went where it went.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionView {
    /// The strategy that decided.
    pub strategy: String,
    /// Its score of the agent; higher is better.
    pub score: f64,
    /// Agents that had room.
    pub agents_with_room: u32,
    /// Taken ahead of a slot becoming free.
    pub prefetched: bool,
    /// Preferred rules given up.
    pub preferences_given_up: u32,
    /// Time in the queue before.
    pub queued_us: u64,
}

impl From<v1::Failure> for FailureView {
    fn from(wire: v1::Failure) -> Self {
        let failure = evenkeel_shared::wire::task::failure(wire);
        Self { class: failure.class.name(), message: failure.message, exit_code: failure.exit_code }
    }
}

impl FailureView {
    /// What happened, in one line.
    pub(super) fn summary(&self) -> String {
        match self.exit_code {
            Some(code) => format!("{} (exit code {code})", self.message),
            None => self.message.clone(),
        }
    }
}

impl From<v1::Attempt> for AttemptView {
    fn from(wire: v1::Attempt) -> Self {
        Self {
            attempt: wire.attempt,
            assignment_id: wire.assignment_id.to_string(),
            agent_id: wire.agent_id,
            assigned_unix_ms: time(wire.assigned_unix_ms),
            started_unix_ms: time(wire.started_unix_ms),
            ended_unix_ms: time(wire.ended_unix_ms),
            end: enums::attempt_end(wire.end).map(|end| end.name()),
            failure: wire.failure.map(Into::into),
            run_us: wire.run_us,
            usage: wire.usage.map(Into::into),
            decision: wire.decision.map(Into::into),
        }
    }
}

impl From<v1::Usage> for UsageView {
    fn from(wire: v1::Usage) -> Self {
        let cost = wire.cost_micros.into_iter().map(|(unit, micros)| (unit, Micros(micros).units()));
        Self { cpu_ms: wire.cpu_ms, memory_max_bytes: wire.memory_max_bytes, cost: cost.collect() }
    }
}

impl From<v1::Decision> for DecisionView {
    fn from(wire: v1::Decision) -> Self {
        Self {
            strategy: wire.strategy,
            score: wire.score,
            agents_with_room: wire.agents_with_room,
            prefetched: wire.prefetched,
            preferences_given_up: wire.preferences_given_up,
            queued_us: wire.queued_us,
        }
    }
}

impl UsageView {
    /// `tokens=1500 usd=0.12`.
    fn cost_words(&self) -> String {
        let words: Vec<String> = self.cost.iter().map(|(unit, amount)| format!("{unit}={amount}")).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(" ") }
    }
}

impl Row for AttemptView {
    const HEADERS: &'static [&'static str] =
        &["try", "agent", "assigned", "end", "ran", "cost", "score", "queued", "failure"];

    fn cells(&self) -> Vec<Cell> {
        let decision = self.decision.as_ref();
        vec![
            Cell::number(self.attempt),
            Cell::text(&self.agent_id),
            Cell::text(table::at(self.assigned_unix_ms)),
            state_cell(self.end.unwrap_or("running")),
            Cell::number(table::duration(Duration::from_micros(self.run_us))),
            Cell::text(self.usage.as_ref().map_or_else(|| "-".to_owned(), UsageView::cost_words)),
            Cell::number(decision.map_or("-".to_owned(), |decision| format!("{:.3}", decision.score))),
            Cell::number(decision.map_or("-".to_owned(), |d| table::duration(Duration::from_micros(d.queued_us)))),
            Cell::text(preview(None, self.failure.as_ref())),
        ]
    }
}
