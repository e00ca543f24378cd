//! Events of tasks and of the fleet, as printed: one line each.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Line,
    table::{self, Style, Tone},
    task::state_name,
    text, time, word,
};

/// Something that happened to a task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskEventView {
    /// Its place in the history; `task watch --after` takes it.
    pub position: u64,
    /// When.
    pub at_unix_ms: Option<i64>,
    /// The task.
    pub task_id: String,
    /// `accepted`, `assigned`, `started`, `progress`, `attempt_ended`, `requeued`, `finished` or `adopted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The state after it.
    pub state: &'static str,
    /// Which attempt.
    pub attempt: u32,
    /// Of which agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// 0 to 1.
    pub progress: f64,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl From<v1::TaskEvent> for TaskEventView {
    fn from(wire: v1::TaskEvent) -> Self {
        Self {
            position: wire.position,
            at_unix_ms: time(wire.at_unix_ms),
            kind: word(wire.r#type().as_str_name(), "TASK_EVENT_TYPE_"),
            state: state_name(wire.state),
            task_id: wire.task_id,
            attempt: wire.attempt,
            agent_id: text(wire.agent_id),
            progress: wire.progress,
            message: text(wire.message),
        }
    }
}

impl Line for TaskEventView {
    fn line(&self, style: &Style) -> String {
        let (kind, agent) = (&self.kind, self.agent_id.as_deref().unwrap_or("-"));
        let progress = if kind == "progress" { table::percent(self.progress) + " " } else { String::new() };
        let message = table::printable(self.message.as_deref().unwrap_or_default());
        let state = format!("{:<11}", self.state);
        let tone = if kind == "attempt_ended" && self.state != "succeeded" { Tone::Warn } else { Tone::Plain };
        let line = format!(
            "{}  {}  {}  {}  try {}  {agent}  {progress}{message}",
            table::at(self.at_unix_ms),
            table::printable(&self.task_id),
            table::tinted(&format!("{kind:<13}"), tone, style),
            state,
            self.attempt,
        );
        line.trim_end().to_owned()
    }
}

/// Something that happened in the fleet.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterEventView {
    /// Its place in the history; `events --after` takes it.
    pub position: u64,
    /// When.
    pub at_unix_ms: Option<i64>,
    /// The name of its kind, as `--type` takes it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The agent it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The task it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// In words.
    pub message: String,
}

impl From<v1::ClusterEvent> for ClusterEventView {
    fn from(wire: v1::ClusterEvent) -> Self {
        Self {
            position: wire.position,
            at_unix_ms: time(wire.at_unix_ms),
            kind: word(wire.r#type().as_str_name(), "CLUSTER_EVENT_TYPE_"),
            agent_id: text(wire.agent_id),
            task_id: text(wire.task_id),
            message: wire.message,
        }
    }
}

impl Line for ClusterEventView {
    fn line(&self, style: &Style) -> String {
        let tone = match self.kind.as_str() {
            "agent_lost" | "quarantine" | "panic_mode" => Tone::Bad,
            "agent_ejected" | "failover" => Tone::Warn,
            "agent_joined" | "agent_returned" => Tone::Good,
            _ => Tone::Plain,
        };
        let about = self.agent_id.as_deref().or(self.task_id.as_deref()).unwrap_or("-");
        format!(
            "{}  {}  {}  {}",
            table::at(self.at_unix_ms),
            table::tinted(&format!("{:<14}", self.kind), tone, style),
            table::printable(about),
            table::printable(&self.message),
        )
    }
}
