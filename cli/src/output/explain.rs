//! Why a task is where it is, as printed.

use std::collections::BTreeMap;

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    attempt::AttemptView,
    table::{self, Cell, Style, Tone},
    task::{state_cell, state_name},
    text,
};

/// Why a task is where it is.
#[derive(Clone, Debug, Serialize)]
pub struct ExplanationView {
    /// The task.
    pub task_id: String,
    /// Its state.
    pub state: &'static str,
    /// The whole in one sentence.
    pub summary: String,
    /// Tasks ahead of it that compete for the same agents, while it is queued.
    pub queue_position: u32,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// What it reserves instead of what it asked for, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserves: Option<String>,
    /// The strategy in force.
    pub strategy: String,
    /// Agents in the fleet.
    pub agents_considered: u32,
    /// How many of them were refused for each reason.
    pub refused_by_reason: BTreeMap<String, u32>,
    /// The agents, best first.
    pub candidates: Vec<CandidateView>,
    /// The decisions already made.
    pub attempts: Vec<AttemptView>,
}

/// What the strategy thinks of one agent.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateView {
    /// The agent.
    pub agent_id: String,
    /// It could take the task now.
    pub eligible: bool,
    /// Its score; higher is better.
    pub score: f64,
    /// Why it is refused, as a word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// And as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<v1::Explanation> for ExplanationView {
    fn from(wire: v1::Explanation) -> Self {
        let candidate = |wire: v1::Candidate| CandidateView {
            agent_id: wire.agent_id,
            eligible: wire.eligible,
            score: wire.score,
            refusal: text(wire.refusal),
            detail: text(wire.detail),
        };
        Self {
            task_id: wire.task_id,
            state: state_name(wire.state),
            summary: wire.summary,
            queue_position: wire.queue_position,
            waiting_for: text(wire.waiting_for),
            reserves: text(wire.reserves),
            strategy: wire.strategy,
            agents_considered: wire.agents_considered,
            refused_by_reason: wire.refused_by_reason.into_iter().collect(),
            candidates: wire.candidates.into_iter().map(candidate).collect(),
            attempts: wire.attempts.into_iter().map(Into::into).collect(),
        }
    }
}

impl Row for CandidateView {
    const HEADERS: &'static [&'static str] = &["agent", "eligible", "score", "refused for", "detail"];

    fn cells(&self) -> Vec<Cell> {
        let eligible = if self.eligible { Cell::text("yes").tone(Tone::Good) } else { Cell::text("no") };
        vec![
            Cell::text(&self.agent_id),
            eligible,
            Cell::number(format!("{:.3}", self.score)),
            Cell::text(self.refusal.as_deref().unwrap_or_default()),
            Cell::text(self.detail.as_deref().unwrap_or_default()),
        ]
    }
}

impl Show for ExplanationView {
    fn show(&self, style: &Style) -> String {
        let refused: Vec<String> = self.refused_by_reason.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let mut pairs = vec![
            ("task", Cell::text(&self.task_id)),
            ("state", state_cell(self.state)),
            ("strategy", Cell::text(&self.strategy)),
        ];
        if self.agents_considered > 0 {
            pairs.push(("agents", Cell::text(self.agents_considered.to_string())));
        }
        if self.state == "queued" {
            pairs.push(("ahead of it", Cell::text(self.queue_position.to_string())));
        }
        let optional = [
            ("waiting for", self.waiting_for.clone()),
            ("refused", text(refused.join(", "))),
            ("size", self.reserves.clone()),
        ];
        pairs.extend(optional.into_iter().filter_map(|(name, value)| Some((name, Cell::text(value?)))));
        let mut parts = vec![table::printable(&self.summary), table::pairs(&pairs, style)];
        if !self.candidates.is_empty() {
            parts.push(table::grid(&self.candidates, style));
        }
        if !self.attempts.is_empty() {
            parts.push(table::grid(&self.attempts, style));
        }
        parts.join("\n\n")
    }
}
